package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"gatebook/internal/archive"
	"gatebook/internal/journal"
	"gatebook/internal/ledger"
	"gatebook/internal/recording"
	"gatebook/internal/store"
)

// indexDelay is how long an operation may take to be found; who looks for it does not feel that.
const indexDelay = 50 * time.Millisecond

// openBook opens index, ledger, journal and archive, and recovers what an earlier process left.
func (g *gateway) openBook(ctx context.Context) (err error) {
	archiveFolder := g.cfg.Recording.Archive
	if archiveFolder == "" {
		archiveFolder = g.folder("archive")
	}
	for _, d := range []string{g.cfg.Data, g.folder("journal"), g.folder("ledger"), g.folder("sealing"), g.folder("spool"), archiveFolder} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("making the data folder: %w", err)
		}
	}
	if g.keys, err = loadKeys(g.cfg.Data, g.cfg.Recording.Origin, g.cfg.Recording.Auditors); err != nil {
		return err
	}
	if g.journal, err = journal.Open(g.folder("journal"), journal.Options{}); err != nil {
		return err
	}
	g.onClose(g.journal.Close)
	if g.store, err = store.Open(ctx, g.folder("index.db"), store.Options{Live: g.cfg.Sessions.Idle, Log: g.log}); err != nil {
		return err
	}
	g.onClose(g.store.Close)
	if g.ledger, err = ledger.Open(g.folder("ledger"), ledger.Options{Origin: g.cfg.Recording.Origin, Signer: g.keys.signer}); err != nil {
		return err
	}
	g.onClose(g.ledger.Close)
	if g.archive, err = archive.OpenFolder(archiveFolder); err != nil {
		return err
	}
	g.onClose(g.archive.Close)
	if err := g.archive.Clean(time.Now()); err != nil {
		g.log.Warn("what interrupted writes left in the archive could not be removed", "error", err)
	}
	if len(g.cfg.Recording.Auditors) == 0 && g.operator == nil { // up says it at the terminal
		g.log.Warn("the key that opens recordings is on this machine; set recording.auditors, and keep theirs elsewhere", "key", g.folder("auditor.key"))
	}
	var past states
	g.recorder, err = recording.Open(recording.Options{
		Journal: g.journal, Ledger: g.ledger, Archive: g.archive, Dir: g.folder("sealing"), Recipients: g.keys.auditors, Index: g.store, IndexDelay: indexDelay,
		Durability: recording.Durability(g.cfg.Recording.Durability), SealBytes: g.cfg.Recording.SealBytes, SealAge: g.cfg.Recording.SealAge, Log: g.log,
		Indexed: func() (uint64, error) { return g.store.Passed(ctx) }, Notes: past.note,
	})
	if err != nil {
		return indexLost(err)
	}
	g.onClose(g.recorder.Close)
	g.watchBehind()
	return past.apply(ctx, g.store)
}

// awaitIndex waits until the index has what an earlier process put on record last: what is open, and what budgets have
// used, is read from it.
func (g *gateway) awaitIndex(ctx context.Context) error {
	for began, said := time.Now(), time.Now(); ; {
		behind := g.recorder.Behind().IndexFrames
		if behind == 0 {
			return nil
		}
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			g.log.Warn("waiting for the index, which follows the journal", "frames", behind, "for", time.Since(began).Round(time.Second))
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
