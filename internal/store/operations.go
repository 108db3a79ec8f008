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
	knownOperation  = `SELECT seq, outcome IS NOT NULL, refused IS NOT NULL FROM operations WHERE id = ?`
	insertOperation = `INSERT INTO operations
		(session, time, principal, name, target, verb, namespace, resource, effect, risk, running, approval, names, message, command, body, decision, outcome, refused, documents, id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	replaceOperation = `UPDATE operations SET
		session = ?, time = ?, principal = ?, name = ?, target = ?, verb = ?, namespace = ?, resource = ?, effect = ?, risk = ?, running = ?,
		approval = ?, names = ?, message = ?, command = ?, body = ?, decision = ?, outcome = ?, refused = ?, documents = ? WHERE id = ?`
	endOperation = `UPDATE operations SET running = 0, outcome = ?, message = ? WHERE id = ? RETURNING seq, session, time`

	// The text index holds no text of its own: what it forgets must be what it was told.
	insertText = `INSERT INTO operations_text (rowid, command, name, names, message)
		SELECT seq, command, name, names, message FROM operations WHERE seq = ?`
	deleteText = `INSERT INTO operations_text (operations_text, rowid, command, name, names, message)
		SELECT 'delete', seq, command, name, names, message FROM operations WHERE seq = ?`
)

// documents are the large parts of an operation, which lists leave out.
type documents struct {
	Object map[string]any `json:"object,omitempty"`
	Stored map[string]any `json:"stored,omitempty"`
}

func (b batch) putOperation(r *access.Record) error {
	var seq int64
	var ended, refused bool
	err := b.tx.StmtContext(b.ctx, b.known).QueryRowContext(b.ctx, r.Operation.ID).Scan(&seq, &ended, &refused)
	isNew := errors.Is(err, sql.ErrNoRows)
	if err != nil && !isNew {
		return err
	}
	if ended && r.Outcome == nil {
		return nil
	}
	row, err := operationRow(r)
	if err != nil {
		return err
	}
	if err := b.count(r, isNew, refused); err != nil {
		return err
	}
	if !isNew {
		if err := b.exec(b.un, seq); err != nil {
			return err
		}
		if err := b.exec(b.replace, row...); err != nil {
			return err
		}
		return b.exec(b.text, seq)
	}
	res, err := b.tx.StmtContext(b.ctx, b.insert).ExecContext(b.ctx, row...)
	if err != nil {
		return err
	}
	if seq, err = res.LastInsertId(); err != nil {
		return err
	}
	return b.exec(b.text, seq)
}

// operationRow gives the columns in the order of insertOperation and replaceOperation.
func operationRow(r *access.Record) ([]any, error) {
	op := r.Operation
	namespace, resource, names, docs, err0 := describe(&op)
	op.Command = "" // has a column of its own
	body, err1 := json.Marshal(op)
	decision, err2 := json.Marshal(r.Decision)
	outcome, err3 := optional(r.Outcome)
	refused, err4 := optional(r.Refused)
	if err := errors.Join(err0, err1, err2, err3, err4); err != nil {
		return nil, err
	}
	message := ""
	switch {
	case r.Refused != nil:
		message = strings.TrimSpace(r.Refused.Message + "\n" + r.Refused.Advice)
	case r.Outcome != nil:
		message = r.Outcome.Message
	}
	return []any{op.Session, nanos(op.Time), op.Principal.Key(), op.Principal.Name, op.Target.Name, op.Verb, namespace, resource,
		int64(r.Decision.Effect), int64(r.Decision.Risk), r.Outcome == nil, r.Approval, names, message, r.Operation.Command,
		string(body), string(decision), outcome, refused, docs, op.ID}, nil
}

// describe says what op acts on, and moves its documents out of it.
func describe(op *access.Operation) (namespace, resource, names string, docs any, err error) {
	k := op.Kubernetes
	if k == nil {
		return "", "", op.Target.Name, nil, nil
	}
	bare := *k
	bare.Object, bare.Stored = nil, nil
	op.Kubernetes = &bare
	resource = k.Resource
	if k.Subresource != "" {
		resource += "/" + k.Subresource
	}
	names = strings.Join([]string{op.Target.Name, k.Group, resource, k.Namespace, k.Name, k.Kind, k.Path, k.ProxyPath}, " ")
	if k.Object != nil || k.Stored != nil {
		docs, err = optional(&documents{k.Object, k.Stored})
	}
	return k.Namespace, resource, names, docs, err
}

func optional[T any](v *T) (any, error) {
	if v == nil {
		return nil, nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

func (b batch) endOperation(id access.OperationID, out access.Outcome) error {
	var seq, begun int64
	var session string
	var ended, refused bool
	err := b.tx.StmtContext(b.ctx, b.known).QueryRowContext(b.ctx, id).Scan(&seq, &ended, &refused)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	} else if err != nil {
		return err
	}
	body, err := json.Marshal(out)
	if err != nil {
		return err
	}
	if err := b.exec(b.un, seq); err != nil {
		return err
	}
	err = b.tx.StmtContext(b.ctx, b.end).QueryRowContext(b.ctx, string(body), out.Message, id).Scan(&seq, &session, &begun)
	if err != nil {
		return err
	}
	if err := b.exec(b.text, seq); err != nil {
		return err
	}
	return b.exec(b.ended, begun+int64(max(0, out.Duration)), session)
}

// Operation gives one operation whole, with the objects it was decided on; false where there is none.
func (s *Store) Operation(ctx context.Context, id access.OperationID) (access.Record, bool, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT `+recordColumns+`, documents FROM operations WHERE id = ?`, id)
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

const recordColumns = `id, command, approval, body, decision, outcome, refused`

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
	return list[access.OperationID](ctx, s.read, `SELECT id FROM operations WHERE running = 1 AND time <= ? ORDER BY id`, nanos(began))
}
