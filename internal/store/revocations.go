package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"gatebook/internal/access"
)

// PutRevocation stores a revocation, or replaces the one of the same ID.
func (s *Store) PutRevocation(ctx context.Context, r access.Revocation) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("storing revocation: %w", err)
	}
	err = s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO revocations (id, until, body) VALUES (?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET until = excluded.until, body = excluded.body`, r.ID, nanos(r.Until), string(body))
		return err
	})
	if err != nil {
		return fmt.Errorf("storing revocation: %w", err)
	}
	return nil
}

// Revocations gives those that have not lapsed at now, oldest first.
func (s *Store) Revocations(ctx context.Context, now time.Time) ([]access.Revocation, error) {
	bodies, err := list[string](ctx, s.read, `SELECT body FROM revocations WHERE until = 0 OR until > ? ORDER BY id`, nanos(now))
	if err != nil {
		return nil, fmt.Errorf("reading revocations: %w", err)
	}
	out := make([]access.Revocation, len(bodies))
	for i, b := range bodies {
		if err := json.Unmarshal([]byte(b), &out[i]); err != nil {
			return nil, fmt.Errorf("reading revocations: %w", err)
		}
	}
	return out, nil
}

// DeleteRevocation forgets a revocation that was taken back; false where there is none of that ID.
func (s *Store) DeleteRevocation(ctx context.Context, id string) (bool, error) {
	var n int64
	err := s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, `DELETE FROM revocations WHERE id = ?`, id)
		if err == nil {
			n, err = r.RowsAffected()
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("taking back revocation: %w", err)
	}
	return n > 0, nil
}
