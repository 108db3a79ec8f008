package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatebook/internal/access"
)

// errStale ends a transaction whose premise no longer holds.
var errStale = errors.New("changed meanwhile")

// approvalBody is what of an approval never changes.
type approvalBody struct {
	Operation access.Operation `json:"operation"`
	Decision  access.Decision  `json:"decision"`
}

const pending = `SELECT count(*) FROM approvals WHERE slot IS NOT NULL AND state = ? AND principal = ? AND expires > ?`

// CreateApproval stores a new question and puts messages into the queue, in one durable step. It gives false, having
// done nothing, where another open approval holds slot, or its principal has most questions open.
func (s *Store) CreateApproval(ctx context.Context, a access.Approval, slot string, most int, messages ...[]byte) (bool, error) {
	return changed("storing approval", s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var n int
		err := tx.QueryRowContext(ctx, pending, access.ApprovalPending, a.Operation.Principal.Key(), nanos(a.Created)).Scan(&n)
		if err == nil && n >= most {
			err = errStale
		}
		if err == nil {
			err = insertApproval(ctx, tx, a, slot)
		}
		if err != nil {
			return err
		}
		return s.queue(ctx, tx, a.Created, messages)
	}))
}

func insertApproval(ctx context.Context, tx *sql.Tx, a access.Approval, slot string) error {
	body, err := json.Marshal(approvalBody{a.Operation, a.Decision})
	if err != nil {
		return err
	}
	card, err := json.Marshal(a.Card)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO approvals
		(id, binding, slot, principal, session, state, scope, created, expires, valid_until, used_by, body, card)
		VALUES (?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		a.ID, a.Binding.String(), slot, a.Operation.Principal.Key(), a.Operation.Session, a.State, a.Scope,
		nanos(a.Created), nanos(a.Expires), nanos(a.ValidUntil), a.UsedBy, string(body), string(card))
	return err
}

// ReplaceApproval makes was into now: its state, scope, validity, use and further answers. use, where not empty, is the
// operation that runs under it. All of it and the messages are one durable step. It gives false, having done nothing,
// where the approval is no longer as was, another open one holds slot, or use already ran under it: states only move
// forward and answers are only added, so that state and number of answers tell one version from another.
func (s *Store) ReplaceApproval(ctx context.Context, was, now access.Approval, slot string, use access.OperationID, at time.Time, messages ...[]byte) (bool, error) {
	return changed("changing approval", s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := replaceApproval(ctx, tx, was, now, slot); err != nil {
			return err
		}
		if use != "" {
			if _, err := tx.ExecContext(ctx, `INSERT INTO approval_uses (approval, operation) VALUES (?, ?)`, was.ID, use); err != nil {
				return err
			}
		}
		return s.queue(ctx, tx, at, messages)
	}))
}

func replaceApproval(ctx context.Context, tx *sql.Tx, was, now access.Approval, slot string) error {
	r, err := tx.ExecContext(ctx, `UPDATE approvals
		SET state = ?, scope = ?, valid_until = ?, used_by = ?, slot = nullif(?, '')
		WHERE id = ? AND state = ? AND (SELECT count(*) FROM answers WHERE approval = approvals.id) = ?`,
		now.State, now.Scope, nanos(now.ValidUntil), now.UsedBy, slot, was.ID, was.State, len(was.Answers))
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n != 1 {
		return cmp.Or(err, errStale)
	}
	return addAnswers(ctx, tx, was, now)
}

func changed(doing string, err error) (bool, error) {
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, errStale), taken(err):
		return false, nil
	}
	return false, fmt.Errorf("%s: %w", doing, err)
}

// Approvals gives the approvals that f selects, newest first, each with its answers as of one moment.
func (s *Store) Approvals(ctx context.Context, f access.ApprovalFilter) ([]access.Approval, error) {
	out, err := s.approvals(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("reading approvals: %w", err)
	}
	return out, nil
}

func (s *Store) approvals(ctx context.Context, f access.ApprovalFilter) ([]access.Approval, error) {
	c := approvalConditions(f)
	card := "card"
	if f.Brief {
		card = "'{}'"
	}
	rows, err := s.read.QueryContext(ctx, `SELECT id, binding, state, scope, created, expires, valid_until, used_by, body, `+card+`,
		(SELECT json_group_array(json(body)) FROM (SELECT body FROM answers WHERE approval = approvals.id ORDER BY n))
		FROM approvals WHERE `+c.where()+` ORDER BY id DESC LIMIT ?`, append(c.args, limit(f.Limit))...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []access.Approval
	for rows.Next() {
		a, err := scanApproval(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, rows.Err()
}

func approvalConditions(f access.ApprovalFilter) conditions {
	var c conditions
	if f.ID != "" {
		c.add("id = ?", f.ID)
	}
	if !f.Binding.IsZero() {
		c.add("binding = ?", f.Binding.String())
	}
	if f.Principal != "" {
		c.add("principal = ?", f.Principal)
	}
	if f.Session != "" {
		c.add("session = ?", f.Session)
	}
	if f.Before != "" {
		c.add("id < ?", f.Before)
	}
	if !f.Due.IsZero() {
		at := nanos(f.Due)
		c.add("slot IS NOT NULL AND (state = ? AND expires <= ? OR state = ? AND valid_until <= ?)",
			access.ApprovalPending, at, access.ApprovalGranted, at)
	}
	if len(f.States) > 0 {
		states := make([]any, len(f.States))
		for i, st := range f.States {
			states[i] = st
		}
		c.add("state IN (?"+strings.Repeat(", ?", len(states)-1)+")", states...)
	}
	return c
}

func scanApproval(rows *sql.Rows) (access.Approval, error) {
	var a access.Approval
	var binding, body, card, answers string
	var created, expires, until int64
	if err := rows.Scan(&a.ID, &binding, &a.State, &a.Scope, &created, &expires, &until, &a.UsedBy, &body, &card, &answers); err != nil {
		return a, err
	}
	a.Created, a.Expires, a.ValidUntil = timeOf(created), timeOf(expires), timeOf(until)
	var b approvalBody
	err := errors.Join(a.Binding.UnmarshalText([]byte(binding)), json.Unmarshal([]byte(body), &b),
		json.Unmarshal([]byte(card), &a.Card), json.Unmarshal([]byte(answers), &a.Answers))
	if err != nil {
		return a, fmt.Errorf("approval %s: %w", a.ID, err)
	}
	a.Operation, a.Decision = b.Operation, b.Decision
	if len(a.Answers) == 0 {
		a.Answers = nil
	}
	return a, nil
}

// CountPending counts the questions of a principal that are open at now.
func (s *Store) CountPending(ctx context.Context, principal string, now time.Time) (int, error) {
	var n int
	err := s.read.QueryRowContext(ctx, pending, access.ApprovalPending, principal, nanos(now)).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting approvals: %w", err)
	}
	return n, nil
}

// ApprovalUses gives the operations that ran under an approval.
func (s *Store) ApprovalUses(ctx context.Context, id access.ApprovalID) ([]access.OperationID, error) {
	return list[access.OperationID](ctx, s.read, `SELECT operation FROM approval_uses WHERE approval = ? ORDER BY operation`, id)
}

// list gives the rows of a query of one column.
func list[T any](ctx context.Context, db *sql.DB, query string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// limit bounds a page.
func limit(n int) int {
	const most = 100
	if n <= 0 || n > most {
		return most
	}
	return n
}
