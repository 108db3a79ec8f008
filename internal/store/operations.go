package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatebook/internal/access"
)

const (
	knownOperation  = `SELECT seq, time, session, message, outcome IS NOT NULL, refused IS NOT NULL FROM operations WHERE id = ?`
	insertOperation = `INSERT INTO operations
		(time, session, principal, name, target, verb, namespace, resource, effect, risk, running, approval, names, message, command, body, decision, outcome, refused, documents, id, seq)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`
	replaceOperation = `UPDATE operations SET
		time = ?, session = ?, principal = ?, name = ?, target = ?, verb = ?, namespace = ?, resource = ?, effect = ?, risk = ?, running = ?,
		approval = ?, names = ?, message = ?, command = ?, body = ?, decision = ?, outcome = ?, refused = ?, documents = ? WHERE id = ?`
	endOperation = `UPDATE operations SET running = 0, outcome = ?, message = ? WHERE seq = ?`
)

// documents are the large parts of an operation, which lists leave out.
type documents struct {
	Object map[string]any `json:"object,omitempty"`
	Stored map[string]any `json:"stored,omitempty"`
}

// known is what the index has of an operation.
type known struct {
	seq, time      int64
	session        access.SessionID
	message        string
	ended, refused bool
}

// find gives what the index has of an operation; false where that is nothing.
func (b *batch) find(id access.OperationID) (k known, ok bool, err error) {
	err = b.do.known.QueryRowContext(b.ctx, id).Scan(&k.seq, &k.time, &k.session, &k.message, &k.ended, &k.refused)
	if errors.Is(err, sql.ErrNoRows) {
		return k, false, nil
	}
	return k, err == nil, err
}

func (b *batch) putOperation(r *access.Record) error {
	row, err := b.operationRow(r)
	if err != nil {
		return err
	}
	seq := nanos(r.Operation.Time)
	for ; ; seq++ {
		res, err := b.do.insert.ExecContext(b.ctx, append(row, seq)...)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 1 {
			break
		}
		k, there, err := b.find(r.Operation.ID)
		if err != nil {
			return err
		}
		if there {
			return b.replaceOperation(r, k, row)
		}
		// Another has this very time: take the next.
	}
	b.texts = append(b.texts, seq)
	b.count(r, 1, r.Refused != nil)
	return nil
}

func (b *batch) replaceOperation(r *access.Record, k known, row []any) error {
	if k.ended && r.Outcome == nil {
		return nil
	}
	b.texts = append(b.texts, k.seq)
	b.count(r, 0, r.Refused != nil && !k.refused)
	_, err := b.do.replace.ExecContext(b.ctx, row...)
	return err
}

// operationRow gives the columns in the order of replaceOperation, and of insertOperation but for seq. They are good until the next row.
func (b *batch) operationRow(r *access.Record) ([]any, error) {
	op := &r.Operation
	namespace, resource, names, docs, err0 := describe(op)
	command := op.Command
	op.Command = "" // has a column of its own
	body, decision, outcome, err1 := b.encode(r)
	refused, err2 := optional(r.Refused)
	if err := errors.Join(err0, err1, err2); err != nil {
		return nil, err
	}
	message := ""
	switch {
	case r.Refused != nil:
		message = strings.TrimSpace(r.Refused.Message + "\n" + r.Refused.Advice)
	case r.Outcome != nil:
		message = r.Outcome.Message
	}
	return append(b.row[:0], nanos(op.Time), op.Session, op.Principal.Key(), op.Principal.Name, op.Target.Name, op.Verb, namespace, resource,
		int64(r.Decision.Effect), int64(r.Decision.Risk), r.Outcome == nil, r.Approval, names, message, command,
		body, decision, outcome, refused, docs, op.ID), nil
}

// describe says what op acts on, and moves its documents out of it, but not out of what it points at.
func describe(op *access.Operation) (namespace, resource, names string, docs any, err error) {
	namespace, resource, names = op.ActsOn()
	if k := op.Kubernetes; k != nil && (k.Object != nil || k.Stored != nil) {
		bare := *k
		bare.Object, bare.Stored = nil, nil
		op.Kubernetes = &bare
		docs, err = optional(&documents{k.Object, k.Stored})
	}
	return namespace, resource, names, docs, err
}

// encode gives a record's parts as JSON; outcome is nil where there is none.
func (b *batch) encode(r *access.Record) (body, decision string, outcome any, err error) {
	out, err1 := r.Operation.AppendJSON(b.scratch[:0])
	first := len(out)
	out, err2 := r.Decision.AppendJSON(out)
	second := len(out)
	var err3 error
	if r.Outcome != nil {
		out, err3 = r.Outcome.AppendJSON(out)
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return "", "", nil, err
	}
	b.scratch = out
	all := string(out)
	if r.Outcome != nil {
		outcome = all[second:]
	}
	return all[:first], all[first:second], outcome, nil
}

func optional[T any](v *T) (any, error) {
	if v == nil {
		return nil, nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

func (b *batch) endOperation(id access.OperationID, out access.Outcome) error {
	k, there, err := b.find(id)
	if err != nil || !there {
		return err
	}
	body, err := json.Marshal(out)
	if err != nil {
		return err
	}
	if _, err := b.do.end.ExecContext(b.ctx, string(body), out.Message, k.seq); err != nil {
		return err
	}
	if out.Message != k.message {
		b.texts = append(b.texts, k.seq)
	}
	if out.Answer != nil {
		if err := b.putCalls(k.session, id, out.Answer); err != nil {
			return err
		}
	}
	b.touch(k.session, timeOf(k.time).Add(max(0, out.Duration)))
	return nil
}

// Operation gives one operation whole, with the objects it was decided on; false where there is none.
func (s *Store) Operation(ctx context.Context, id access.OperationID) (access.Record, bool, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT `+recordColumns+`, o.documents FROM operations o WHERE o.id = ?`, id)
	if err != nil {
		return access.Record{}, false, fmt.Errorf("reading operation: %w", err)
	}
	defer rows.Close()
	if !rows.Next() {
		return access.Record{}, false, rows.Err()
	}
	var docs sql.NullString
	r, err := scanRecord(rows, &docs)
	if err == nil && docs.Valid && r.Operation.Kubernetes != nil {
		var d documents
		err = json.Unmarshal([]byte(docs.String), &d)
		r.Operation.Kubernetes.Object, r.Operation.Kubernetes.Stored = d.Object, d.Stored
	}
	if err != nil {
		return access.Record{}, false, fmt.Errorf("reading operation: %w", err)
	}
	return r, true, nil
}

const recordColumns = `o.id, o.command, o.approval, o.body, o.decision, o.outcome, o.refused`

func scanRecord(rows *sql.Rows, more ...any) (access.Record, error) {
	var r access.Record
	var command, body, decision string
	var outcome, refused sql.NullString
	if err := rows.Scan(append([]any{&r.Operation.ID, &command, &r.Approval, &body, &decision, &outcome, &refused}, more...)...); err != nil {
		return r, err
	}
	err := errors.Join(json.Unmarshal([]byte(body), &r.Operation), json.Unmarshal([]byte(decision), &r.Decision))
	if outcome.Valid {
		err = errors.Join(err, json.Unmarshal([]byte(outcome.String), &r.Outcome))
	}
	if refused.Valid {
		err = errors.Join(err, json.Unmarshal([]byte(refused.String), &r.Refused))
	}
	r.Operation.Command = command
	return r, err
}

// Running gives the operations that have begun and of which no end is known, oldest first: after a crash, those that
// were cut off.
func (s *Store) Running(ctx context.Context, began time.Time) ([]access.OperationID, error) {
	return list[access.OperationID](ctx, s.read, `SELECT id FROM operations WHERE running = 1 AND seq <= ? ORDER BY seq`, nanos(began))
}
