package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gatebook/internal/access"
)

// putConversation keeps the session that a conversation was in first.
func (b *batch) putConversation(op *access.Operation) error {
	if op.Model.Conversation == "" || op.Principal.Workload.PodUID != "" {
		return nil
	}
	_, err := b.tx.ExecContext(b.ctx, `INSERT INTO conversations (principal, conversation, session) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
		op.Principal.Key(), op.Model.Conversation, op.Session)
	return err
}

// Conversation gives the session that a principal's conversation is; empty where it is not known.
func (s *Store) Conversation(ctx context.Context, principal, conversation string) (access.SessionID, error) {
	var id access.SessionID
	err := s.read.QueryRowContext(ctx, `SELECT session FROM conversations WHERE principal = ? AND conversation = ?`, principal, conversation).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("reading a conversation's session: %w", err)
	}
	return id, nil
}

// OpenSession is one that a principal who is no pod was in not long ago.
type OpenSession struct {
	Principal string // a Principal.Key
	ID        access.SessionID
	Last      time.Time
	// Conversing says that it is a conversation's.
	Conversing bool
}

// OpenSessions gives the latest session of each principal that is no pod, where it was used since then.
func (s *Store) OpenSessions(ctx context.Context, since time.Time) ([]OpenSession, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT principal, id, max(last), EXISTS (SELECT 1 FROM conversations c WHERE c.session = sessions.id)
		FROM sessions WHERE last >= ? AND body ->> '$.workload.podUid' IS NULL GROUP BY principal`, nanos(since))
	if err != nil {
		return nil, fmt.Errorf("reading open sessions: %w", err)
	}
	defer rows.Close()
	var out []OpenSession
	for rows.Next() {
		var o OpenSession
		var last int64
		if err := rows.Scan(&o.Principal, &o.ID, &last, &o.Conversing); err != nil {
			return nil, fmt.Errorf("reading open sessions: %w", err)
		}
		o.Last = timeOf(last)
		out = append(out, o)
	}
	return out, rows.Err()
}
