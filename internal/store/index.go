package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"gatebook/internal/access"
)

// statements are those that run for every operation, prepared once.
type statements struct {
	session, target, counted, ended       *sql.Stmt
	known, insert, replace, end, text, un *sql.Stmt
}

func (p *statements) prepare(ctx context.Context, db *sql.DB) error {
	for _, s := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&p.session, putSession}, {&p.target, putTarget}, {&p.counted, countOperation}, {&p.ended, touchSession},
		{&p.known, knownOperation}, {&p.insert, insertOperation}, {&p.replace, replaceOperation}, {&p.end, endOperation},
		{&p.text, insertText}, {&p.un, deleteText},
	} {
		var err error
		if *s.to, err = db.PrepareContext(ctx, s.sql); err != nil {
			return err
		}
	}
	return nil
}

// batch is one transaction of the index.
type batch struct {
	ctx context.Context
	tx  *sql.Tx
	*statements
}

func (b batch) exec(s *sql.Stmt, args ...any) error {
	_, err := b.tx.StmtContext(b.ctx, s).ExecContext(b.ctx, args...)
	return err
}

// PutBatch takes entries in order, as one durable step; it costs one sync however many there are. What it was told
// before changes nothing.
func (s *Store) PutBatch(entries []access.IndexEntry) error {
	err := s.update(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		b := batch{ctx, tx, &s.index}
		for _, e := range entries {
			if err := b.put(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("indexing: %w", err)
	}
	return nil
}

func (b batch) put(e access.IndexEntry) error {
	switch {
	case e.Session != nil:
		return b.putSession(*e.Session)
	case e.Record != nil:
		return b.putOperation(e.Record)
	case e.End != nil:
		return b.endOperation(e.End.ID, e.End.Outcome)
	}
	return errors.New("an entry without content")
}

// PutSession inserts a session, or keeps the earlier Started and the later Last.
func (s *Store) PutSession(x access.Session) error {
	return s.PutBatch([]access.IndexEntry{{Session: &x}})
}

// PutOperation inserts an operation that has begun or was refused, or replaces it, unless what is there has an
// outcome and r has none.
func (s *Store) PutOperation(r access.Record) error {
	return s.PutBatch([]access.IndexEntry{{Record: &r}})
}

// EndOperation gives an operation its outcome. An id that is not there is no error.
func (s *Store) EndOperation(id access.OperationID, out access.Outcome) error {
	return s.PutBatch([]access.IndexEntry{{End: &access.Ended{ID: id, Outcome: out}}})
}
