package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"gatebook/internal/recording"
)

func addVerify(parent *cobra.Command) {
	var r reading
	var data, ledger, public string
	var known []string
	var asJSON bool
	cmd := &cobra.Command{Use: "verify", Short: "Prove that the book is whole, offline", Args: cobra.NoArgs,
		Long: "Checks the ledger, every sealed recording against it and, with a key (--key), every operation's frames. Give\n" +
			"checkpoints that were kept elsewhere (gatebook checkpoint) by --checkpoint: only they show that the end was cut\n" +
			"off or everything was rewritten. It names what was touched, and then ends with 3. What the gateway has not sealed\n" +
			"yet (recording.sealAge and sealBytes) is in its journal alone, and is not covered.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data != "" {
				for _, d := range []struct {
					v    *string
					name string
				}{{&ledger, "ledger"}, {&r.archive, "archive"}, {&public, "ledger.pub"}} {
					if *d.v == "" {
						*d.v = filepath.Join(data, d.name)
					}
				}
			}
			if ledger == "" || r.archive == "" || public == "" {
				return usageError{errors.New("say where the book is: --data FOLDER, or --ledger, --archive and --public-key")}
			}
			book, done, err := r.book(ledger, public, known)
			if err != nil {
				return err
			}
			defer done()
			v, err := book.Verify()
			if err != nil {
				return fmt.Errorf("the book could not be checked: %w", err)
			}
			return printVerification(cmd.OutOrStdout(), v, len(book.Identities) > 0, len(known), asJSON)
		}}
	f := cmd.Flags()
	f.StringVar(&data, "data", "", "the gateway's data folder, or a copy of it")
	f.StringVar(&ledger, "ledger", "", "the ledger's folder")
	f.StringVar(&r.archive, "archive", "", "the archive's folder")
	f.StringVar(&public, "public-key", "", "the ledger's public key: a file, or the key itself")
	f.StringVar(&r.Key, "key", os.Getenv("GATEBOOK_KEY"), "file with the age identity that opens recordings (GATEBOOK_KEY)")
	f.StringSliceVar(&known, "checkpoint", nil, "a checkpoint that was kept elsewhere, a file; may be given again")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	parent.AddCommand(cmd)
}

// book opens the book for checking. done releases it.
func (r *reading) book(ledger, public string, known []string) (*recording.Book, func(), error) {
	b := &recording.Book{Ledger: ledger}
	text, err := os.ReadFile(public)
	switch {
	case err == nil:
		public = string(text)
	case !strings.Contains(public, "+"): // no key, which is name+hash+base64
		return nil, nil, usageError{fmt.Errorf("reading the ledger's public key: %w", err)}
	}
	if b.Verifier, err = note.NewVerifier(strings.TrimSpace(public)); err != nil {
		return nil, nil, usageError{fmt.Errorf("reading the ledger's public key: %w", err)}
	}
	for _, k := range known {
		c, err := os.ReadFile(k)
		if err != nil {
			return nil, nil, usageError{fmt.Errorf("reading a checkpoint: %w", err)}
		}
		b.Known = append(b.Known, c)
	}
	if b.Identities, err = r.identities(); err != nil {
		return nil, nil, err
	}
	folder, done, err := r.openArchive()
	if err != nil {
		return nil, nil, err
	}
	b.Archive = folder
	return b, done, nil
}

func printVerification(w io.Writer, v *recording.Verification, opened bool, known int, asJSON bool) error {
	if asJSON {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\n", b)
	} else {
		for _, f := range v.Findings {
			fmt.Fprintf(w, "TOUCHED  %s\n", inert(f.String()))
		}
		fmt.Fprintf(w, "%d operations, %d notes, %d sealed recordings under the ledger", v.Operations, v.Notes, v.Segments)
		switch {
		case opened && len(v.Unopened) > 0:
			fmt.Fprintf(w, "; %d compared frame by frame; %d sessions not opened by this key\n", v.Compared, len(v.Unopened))
		case opened:
			fmt.Fprintf(w, "; %d compared frame by frame\n", v.Compared)
		default:
			fmt.Fprintln(w, "; their content was not compared: give --key")
		}
		if known == 0 {
			fmt.Fprintln(w, "No checkpoint from elsewhere was given: that the end was cut off, or all was rewritten, would not be seen.")
		}
	}
	if n := len(v.Findings); n > 0 {
		return brokenError{fmt.Errorf("the book was touched in %d places", n)}
	}
	if !asJSON {
		fmt.Fprintln(w, "The book is whole.")
	}
	return nil
}

func addCheckpoint(parent *cobra.Command) {
	var c connection
	cmd := &cobra.Command{Use: "checkpoint", Short: "Print the ledger's signed head, to be kept elsewhere", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			x, err := c.open()
			if err != nil {
				return err
			}
			defer x.Close()
			b, err := x.Stream(cmd.Context(), http.MethodGet, "ledger/checkpoint", nil, nil)
			if err != nil {
				return err
			}
			defer b.Close()
			_, err = io.Copy(cmd.OutOrStdout(), b)
			return err
		}}
	c.flags(cmd)
	parent.AddCommand(cmd)
}
