package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"gatebook/internal/ledger"
	"gatebook/internal/store"
)

const (
	pruneEvery = time.Hour
	// pruneStep is how much is removed in one transaction: some ten milliseconds of the index's one writer.
	pruneStep = 200
	// prunePause leaves the writer to the operations, most of the time.
	prunePause = 100 * time.Millisecond
)

// pruned is the note of what is about to be removed.
type pruned struct {
	What   string    `json:"what"`
	Before time.Time `json:"before"`
	Count  int       `json:"count"`
	Kept   string    `json:"kept"` // the retention that says so
}

// keepHouse removes what retention lets go, until ctx ends.
func (g *gateway) keepHouse(ctx context.Context) {
	t := time.NewTicker(pruneEvery)
	defer t.Stop()
	for {
		if err := g.prune(ctx, time.Now()); err != nil && ctx.Err() == nil {
			g.log.Error("what retention lets go could not be removed; it is tried again", "error", err, "in", pruneEvery)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// prune removes what has been kept for long enough, and of that only what is in the book for good.
func (g *gateway) prune(ctx context.Context, now time.Time) error {
	settled, r := g.recorder.Settled(), g.cfg.Retention
	var errs []error
	for _, p := range []struct {
		what store.Prunable
		keep time.Duration
	}{{store.Operations, r.Index}, {store.Sessions, r.Index}, {store.Approvals, r.Approvals}, {store.Revocations, r.Approvals}, {store.Notices, r.Notices}} {
		before := now.Add(-p.keep)
		if settled.Before(before) {
			before = settled
		}
		errs = append(errs, g.pruneIndex(ctx, p.what, before, p.keep))
	}
	return errors.Join(append(errs, g.pruneCut(now.Add(-r.Cut)))...)
}

func (g *gateway) pruneIndex(ctx context.Context, what store.Prunable, before time.Time, keep time.Duration) error {
	n, err := g.store.CountPrunable(ctx, what, before)
	if err != nil || n == 0 {
		return err
	}
	if err := g.recorder.Note("", "retention", pruned{string(what), before, n, keep.String()}); err != nil {
		return fmt.Errorf("recording what is about to be pruned: %w", err)
	}
	for left := n; left > 0; { // no more than was recorded
		done, err := g.store.Prune(ctx, what, before, min(pruneStep, left))
		if err != nil || done == 0 {
			return err
		}
		left -= done
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(prunePause):
		}
	}
	g.log.Info("pruned", "what", what, "count", n, "before", before)
	return nil
}

// pruneCut removes what crashes left of the ledger.
func (g *gateway) pruneCut(before time.Time) error {
	left, err := ledger.Leftovers(g.folder("ledger"), before)
	if err != nil || len(left) == 0 {
		return err
	}
	if err := g.recorder.Note("", "retention", pruned{"cut", before, len(left), g.cfg.Retention.Cut.String()}); err != nil {
		return fmt.Errorf("recording what is about to be pruned: %w", err)
	}
	root, err := os.OpenRoot(g.folder("ledger"))
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range left {
		errs = append(errs, root.RemoveAll(name))
	}
	return errors.Join(append(errs, root.Close())...)
}
