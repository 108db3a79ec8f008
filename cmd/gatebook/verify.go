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
			"yet (recording.sealAge and sealBytes) is in its journal alone: it is counted, its checksums are compared, and nothing\n" +
			"proves it. The index is no part of the book. What was not covered is said, each time.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			journal, ofBook := "", public == ""
			if data != "" {
				journal = filepath.Join(data, "journal")
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
			if ofBook && err == nil {
				if err = asWritten(public, book.Verifier); err != nil {
					done()
				}
			}
			if bad := (keyError{}); ofBook && errors.As(err, &bad) && isFolder(ledger) { // there is a book, and the key is of it
				return printVerification(cmd.OutOrStdout(), &recording.Verification{Findings: []recording.Finding{{Kind: recording.FoundKey, Entry: -1, Name: "ledger.pub", Detail: bad.Error()}}}, asJSON)
			}
			if err != nil {
				return err
			}
			book.Journal = journal
			defer done()
			v, err := book.Verify()
			if err != nil {
				return fmt.Errorf("the book could not be checked: %w", err)
			}
			return printVerification(cmd.OutOrStdout(), v, asJSON)
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

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// keyError is a public key that cannot be read.
type keyError struct{ error }

// asWritten checks that the book's public key is, byte by byte, what the gateway wrote: a hash in capitals, or another space at its end,
// is read as the same key, and was touched all the same.
func asWritten(path string, v note.Verifier) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	parts := strings.SplitN(strings.TrimSpace(string(text)), "+", 3)
	if want := fmt.Sprintf("%s+%08x+%s\n", v.Name(), v.KeyHash(), parts[len(parts)-1]); string(text) != want {
		return keyError{fmt.Errorf("the ledger's public key is %q, and was written as %q", text, want)}
	}
	return nil
}

// book opens the book for checking. done releases it.
func (r *reading) book(ledger, public string, known []string) (*recording.Book, func(), error) {
	b := &recording.Book{Ledger: ledger}
	text, err := os.ReadFile(public)
	switch {
	case err == nil:
		public = string(text)
	case !strings.Contains(public, "+"): // no key, which is name+hash+base64
		return nil, nil, usageError{keyError{fmt.Errorf("reading the ledger's public key: %w", err)}}
	}
	if b.Verifier, err = note.NewVerifier(strings.TrimSpace(public)); err != nil {
		return nil, nil, usageError{keyError{fmt.Errorf("reading the ledger's public key: %w", err)}}
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

func printVerification(w io.Writer, v *recording.Verification, asJSON bool) error {
	if asJSON {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\n", b)
	} else {
		printFindings(w, v)
	}
	if n := len(v.Findings); n > 0 {
		return brokenError{fmt.Errorf("the book was touched in %d places", n)}
	}
	return nil
}

// printFindings says that the book is whole only where nothing of it was left out.
func printFindings(w io.Writer, v *recording.Verification) {
	for _, f := range v.Findings {
		fmt.Fprintf(w, "TOUCHED  %s\n", inert(f.String()))
	}
	fmt.Fprintf(w, "%d operations, %d notes, %d sealed recordings under the ledger; %d compared frame by frame\n", v.Operations, v.Notes, v.Segments, v.Compared)
	for _, s := range v.NotCovered {
		fmt.Fprintf(w, "NOT COVERED  %s\n", inert(s))
	}
	switch {
	case len(v.Findings) > 0:
	case v.Complete:
		fmt.Fprintln(w, "The book is whole.")
	default:
		fmt.Fprintln(w, "What was checked is as it was recorded; of the book, see above, not all could be checked.")
	}
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
