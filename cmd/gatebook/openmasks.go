package main

import (
	"context"
	"fmt"
	"time"

	"gatebook/internal/mask"
)

// openMasks makes the mask engine, which remembers across restarts what it knew to be secret.
func (g *gateway) openMasks(ctx context.Context) (err error) {
	words, err := vocabulary()
	if err != nil {
		return err
	}
	if g.masks, err = mask.New(mask.Options{Key: g.keys.mask, MinValueBytes: g.cfg.Masking.MinValueBytes, Vocabulary: words}); err != nil {
		return err
	}
	g.watchMasks()
	known, err := g.store.KnownValues(ctx)
	if err != nil {
		return err
	}
	if len(known) > 0 {
		if err := g.masks.Import(known); err != nil {
			return fmt.Errorf("reading the values known to be secret: %w", err)
		}
	}
	g.run(ctx, g.keepKnown)
	return nil
}

// keepKnown keeps what is known to be secret, as keyed hashes, whenever there is more of it.
func (g *gateway) keepKnown(ctx context.Context) {
	t := time.NewTicker(2 * time.Second)
	defer t.Stop()
	kept := g.masks.Stats().Changes
	for done := false; !done; {
		select {
		case <-t.C:
		case <-ctx.Done():
			done = true
		}
		s := g.masks.Stats()
		if s.Changes == kept {
			continue
		}
		if s.Refused > 0 {
			g.log.Warn("there are more secret values than can be recognised", "known", s.Patterns, "refused", s.Refused)
		}
		if err := g.putKnown(ctx); err != nil {
			g.log.Error("values known to be secret could not be kept for the next start", "error", err)
			continue
		}
		kept = s.Changes
	}
}

// putKnown keeps what is known now. One at a time, so that nothing older comes after what is newer.
func (g *gateway) putKnown(ctx context.Context) error {
	g.keeping.Lock()
	defer g.keeping.Unlock()
	blob, err := g.masks.Export()
	if err != nil {
		return err
	}
	return g.store.PutKnownValues(context.WithoutCancel(ctx), blob)
}

// forget makes a value known no longer, also after a restart.
func (g *gateway) forget(ctx context.Context, value []byte) (int, error) {
	n := g.masks.Forget(value)
	return n, g.putKnown(ctx)
}
