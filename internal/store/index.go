package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"gatebook/internal/access"
)

// statements are those that run for every operation, prepared once.
type statements struct {
	known, insert, replace, end *sql.Stmt
}

func (p *statements) prepare(ctx context.Context, db *sql.DB) error {
	for to, query := range map[**sql.Stmt]string{
		&p.known: knownOperation, &p.insert: insertOperation, &p.replace: replaceOperation, &p.end: endOperation,
	} {
		var err error
		if *to, err = db.PrepareContext(ctx, query); err != nil {
			return err
		}
	}
	return nil
}

// batch is one transaction of the index. What it adds up to for the sessions and for the text search is written at its
// end, once.
type batch struct {
	ctx      context.Context
	tx       *sql.Tx
	do       statements // of this transaction
	sessions map[access.SessionID]*tally
	texts    []int64 // the operations whose text changed
	scratch  []byte
	record   access.Record // that is being put
	row      [22]any
}

// PutBatch takes entries in order, as one durable step; it costs one sync however many there are. What it was told
// before changes nothing.
func (s *Store) PutBatch(entries []access.IndexEntry) error {
	err := s.update(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		bound := func(p *sql.Stmt) *sql.Stmt { return tx.StmtContext(ctx, p) }
		b := &batch{ctx: ctx, tx: tx, sessions: map[access.SessionID]*tally{},
			do: statements{bound(s.index.known), bound(s.index.insert), bound(s.index.replace), bound(s.index.end)}}
		for _, e := range fold(entries) {
			if err := b.put(e); err != nil {
				return err
			}
		}
		return errors.Join(b.putSessions(), b.putTexts())
	})
	if err != nil {
		return fmt.Errorf("indexing: %w", err)
	}
	return nil
}

// fold gives the entries with the ends of operations that began in them put where they began, as one entry of both: most operations
// are short, and cost one row instead of two changes of it.
func fold(entries []access.IndexEntry) []access.IndexEntry {
	out := make([]access.IndexEntry, 0, len(entries))
	begun := make(map[access.OperationID]int, len(entries)/2)
	for _, e := range entries {
		if e.End != nil {
			if i, ok := begun[e.End.ID]; ok && out[i].Record.Outcome == nil && out[i].End == nil {
				out[i].End = e.End
				continue
			}
		}
		if e.Record != nil {
			begun[e.Record.Operation.ID] = len(out)
		}
		out = append(out, e)
	}
	return out
}

func (b *batch) put(e access.IndexEntry) error {
	switch {
	case e.Session != nil:
		b.session(*e.Session)
		return nil
	case e.Record != nil:
		b.record = *e.Record // the caller's stays as it is
		if e.End != nil {
			b.record.Outcome = &e.End.Outcome
		}
		return errors.Join(b.putOperation(&b.record), b.attribute(&b.record))
	case e.Cause != nil:
		return b.putCause(e.Cause)
	case e.End != nil:
		return b.endOperation(e.End.ID, e.End.Outcome)
	case e.Passed != nil:
		return b.passed(*e.Passed)
	}
	return errors.New("an entry without content")
}

// putTexts brings the text search up to date. It is one statement, since the search flushes at each.
func (b *batch) putTexts() error {
	if len(b.texts) == 0 {
		return nil
	}
	seqs, err := json.Marshal(b.texts)
	if err != nil {
		return err
	}
	_, err = b.tx.ExecContext(b.ctx, `INSERT OR REPLACE INTO operations_text (rowid, command, name, names, message)
		SELECT seq, command, name, names, message FROM operations WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq`, string(seqs))
	return err
}
