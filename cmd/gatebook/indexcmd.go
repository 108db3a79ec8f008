package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatebook/internal/access"
	"gatebook/internal/config"
	"gatebook/internal/journal"
	"gatebook/internal/recording"
	"gatebook/internal/store"
)

func addIndex(parent *cobra.Command) {
	c := &cobra.Command{Use: "index", Short: "Make a gateway's index anew from its book"}
	c.AddCommand(indexRebuild())
	parent.AddCommand(c)
}

func indexRebuild() *cobra.Command {
	var r rebuilding
	cmd := &cobra.Command{Use: "rebuild --config FILE --key FILE", Short: "Make a lost index anew from the sealed recordings, with the auditor's key", Args: cobra.NoArgs,
		Long: "Makes index.db anew, while the gateway is stopped: operations, sessions, approvals and revocations, from the archive, and\n" +
			"at the gateway's next start from its journal. The book is checked against its ledger first. The index that is there, if\n" +
			"any, is kept beside it. Lost for good are the values known to be secret, which are known again once the gateway has seen\n" +
			"them, and notices that were not sent yet.",
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd.Context(), cmd.OutOrStdout()) }}
	f := cmd.Flags()
	f.StringVar(&r.config, "config", "", "the gateway's configuration file")
	f.StringVar(&r.Key, "key", os.Getenv("GATEBOOK_KEY"), "file with the auditor's key (GATEBOOK_KEY; default: auditor.key in the data folder)")
	f.BoolVar(&r.incomplete, "incomplete", false, "go on although the book is not whole: what is missing of it will be forgotten, revocations too")
	return cmd
}

type rebuilding struct {
	reading
	config     string
	incomplete bool
	states     states
}

func (r *rebuilding) run(ctx context.Context, out io.Writer) (err error) {
	if r.config == "" {
		return usageError{errors.New("give the gateway's configuration: --config FILE")}
	}
	cfg, err := config.LoadFile(r.config)
	if err != nil {
		return usageError{err}
	}
	if r.archive = cfg.Recording.Archive; r.archive == "" {
		r.archive = filepath.Join(cfg.Data, "archive")
	}
	if r.Key == "" {
		r.Key = filepath.Join(cfg.Data, "auditor.key")
	}
	j, err := journal.Open(filepath.Join(cfg.Data, "journal"), journal.Options{}) // nobody else has it meanwhile
	if errors.Is(err, journal.ErrLocked) {
		return fmt.Errorf("stop the gateway first: %w", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	if err := r.check(cfg.Data); err != nil {
		return err
	}
	made := filepath.Join(cfg.Data, "index.db.new")
	if err := removeIndex(made); err != nil {
		return err
	}
	said, err := r.fill(ctx, made)
	if err != nil {
		return errors.Join(err, removeIndex(made))
	}
	if err := swapIndex(cfg.Data, time.Now()); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, said)
	return err
}

// check has the book whole, as far as its ledger goes.
func (r *rebuilding) check(data string) error {
	book, done, err := r.book(filepath.Join(data, "ledger"), filepath.Join(data, "ledger.pub"), nil)
	if err != nil {
		return err
	}
	defer done()
	book.Identities = nil // the files, not what is in them
	v, err := book.Verify()
	if err != nil {
		return fmt.Errorf("the book could not be checked: %w", err)
	}
	for _, f := range v.Findings {
		if f.Kind != recording.FoundAdded && !r.incomplete {
			return brokenError{fmt.Errorf("the book is not whole (%s), so revocations may be missing; see gatebook verify, or go on with --incomplete", inert(f.String()))}
		}
	}
	return nil
}

// fill makes the index, and says what is in it.
func (r *rebuilding) fill(ctx context.Context, path string) (said string, err error) {
	ids, err := r.identities()
	if err != nil {
		return "", err
	}
	book, done, err := r.openArchive()
	if err != nil {
		return "", err
	}
	defer done()
	s, err := store.Open(ctx, path, store.Options{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	approvals := 0
	var at access.SessionID
	sessions, err := recording.Reindex(book, s, func(e recording.Event) error {
		if e.Session != at { // all that happens to an approval is in one session
			if err := r.states.applyApprovals(ctx, s); err != nil {
				return err
			}
		}
		at = e.Session
		if strings.HasPrefix(e.Name, noteApproval) {
			approvals++
		}
		return r.states.note(e.Name, e.Data)
	}, ids...)
	if err != nil {
		return "", keyHint(err)
	}
	if err := r.states.apply(ctx, s); err != nil {
		return "", err
	}
	trusted := store.Trusted
	if err := s.PutBatch([]access.IndexEntry{{Passed: &trusted}}); err != nil {
		return "", err
	}
	return fmt.Sprintf("index.db is made anew: %d sessions, %d changes of approvals, %d revocations of which %d were taken back.\n"+
		"Values known to be secret are lost with the old one: they are recognised again once the gateway has seen them.",
		sessions, approvals, len(r.states.revoked), len(r.states.undone)), nil
}

// indexFiles are SQLite's.
func indexFiles() []string { return []string{"", "-wal", "-shm"} }

func removeIndex(path string) error {
	for _, suffix := range indexFiles() {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing an index: %w", err)
		}
	}
	return nil
}

// swapIndex puts the new index in the place of the old one, which is kept.
func swapIndex(data string, now time.Time) error {
	index := filepath.Join(data, "index.db")
	for _, suffix := range indexFiles() {
		err := os.Rename(index+suffix, index+".before-"+now.UTC().Format("20060102T150405Z")+suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keeping the old index: %w", err)
		}
	}
	if err := os.Rename(index+".new", index); err != nil {
		return fmt.Errorf("putting the new index in place: %w", err)
	}
	d, err := os.Open(data)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
