package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// PutKnownValues replaces what the masker exported: keyed hashes, never values.
func (s *Store) PutKnownValues(ctx context.Context, body []byte) error {
	err := s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO known_values (one, body) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET body = excluded.body`, body)
		return err
	})
	if err != nil {
		return fmt.Errorf("storing known values: %w", err)
	}
	return nil
}

// KnownValues gives what PutKnownValues stored last; nil where nothing was.
func (s *Store) KnownValues(ctx context.Context) ([]byte, error) {
	var body []byte
	err := s.read.QueryRowContext(ctx, `SELECT body FROM known_values`).Scan(&body)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("reading known values: %w", err)
	}
	return body, nil
}
