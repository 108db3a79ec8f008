package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gatebook/internal/access"
)

// queue puts messages into the outbox, within the step that they tell of.
func (s *Store) queue(ctx context.Context, tx *sql.Tx, now time.Time, messages [][]byte) error {
	for _, body := range messages {
		if _, err := tx.ExecContext(ctx, `INSERT INTO messages (id, created, due, attempts, body) VALUES (?, ?, ?, 0, ?)`,
			access.NewID(now), nanos(now), nanos(now), body); err != nil {
			return err
		}
	}
	if len(messages) == 0 {
		return nil
	}
	r, err := tx.ExecContext(ctx, `DELETE FROM messages WHERE id <=
		(SELECT id FROM messages ORDER BY id DESC LIMIT 1 OFFSET ?)`, s.o.MaxMessages)
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil {
		return err
	} else if n > 0 {
		s.o.Log.Error("messages dropped: the receiver has been out of reach for too long", "dropped", n, "kept", s.o.MaxMessages)
	}
	return nil
}

// NextMessage gives the message that is due first, be it only later; false where there is none.
func (s *Store) NextMessage(ctx context.Context) (access.Message, bool, error) {
	var m access.Message
	var created, due int64
	err := s.read.QueryRowContext(ctx, `SELECT id, body, attempts, created, due FROM messages ORDER BY due, id LIMIT 1`).Scan(&m.ID, &m.Body, &m.Attempts, &created, &due)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return access.Message{}, false, nil
	case err != nil:
		return access.Message{}, false, fmt.Errorf("reading messages: %w", err)
	}
	m.Created, m.Due = timeOf(created), timeOf(due)
	return m, true, nil
}

// DelayMessage counts an attempt that failed, and makes the message due again at next.
func (s *Store) DelayMessage(ctx context.Context, id string, next time.Time) error {
	return s.message(ctx, `UPDATE messages SET attempts = attempts + 1, due = ? WHERE id = ?`, nanos(next), id)
}

// FinishMessage forgets a message that was delivered or given up.
func (s *Store) FinishMessage(ctx context.Context, id string) error {
	return s.message(ctx, `DELETE FROM messages WHERE id = ?`, id)
}

func (s *Store) message(ctx context.Context, query string, args ...any) error {
	err := s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("changing a message: %w", err)
	}
	return nil
}
