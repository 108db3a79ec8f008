package store

import (
	"context"
	"fmt"
	"math"
)

// Trusted is the progress of an index that is taken to have all that the journal no longer holds: one that was rebuilt,
// or that a version made that kept no progress.
const Trusted = uint64(math.MaxInt64)

func (b *batch) passed(frames uint64) error {
	_, err := b.tx.ExecContext(b.ctx, `UPDATE progress SET frames = ?`, int64(min(frames, Trusted)))
	return err
}

// Passed gives below which frame of the recording the index has everything; 0 for a new one.
func (s *Store) Passed(ctx context.Context) (uint64, error) {
	var n int64
	if err := s.read.QueryRowContext(ctx, `SELECT frames FROM progress`).Scan(&n); err != nil {
		return 0, fmt.Errorf("reading the index's progress: %w", err)
	}
	return uint64(n), nil
}
