package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gatebook/internal/access"
)

// putCalls keeps the tool calls in a model's answer, and putResults what came back of earlier ones.
func (b *batch) putCalls(session access.SessionID, turn access.OperationID, a *access.ModelAnswer) error {
	for _, c := range a.Calls {
		if _, err := b.tx.ExecContext(b.ctx, `INSERT INTO calls (session, id, turn, tool, input, emitted) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			session, c.ID, turn, c.Name, c.Input, nanos(c.Emitted)); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) putResults(op *access.Operation) error {
	for _, id := range op.Model.Results {
		if _, err := b.tx.ExecContext(b.ctx, `INSERT INTO call_results (session, call, time) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
			op.Session, id, nanos(op.Time)); err != nil {
			return err
		}
	}
	return nil
}

// putCause keeps what caused an operation, beside what was kept of it before.
func (b *batch) putCause(c *access.Cause) error {
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	call := ""
	if len(c.Calls) == 1 {
		call = c.Calls[0].Call
	}
	_, err = b.tx.ExecContext(b.ctx, `INSERT INTO causes (operation, time, rung, call, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		c.Operation, nanos(c.Time), int64(c.Rung), call, string(body))
	return err
}

// attribute keeps what an operation tells of tool calls.
func (b *batch) attribute(r *access.Record) error {
	if c := r.Operation.Cause; c != nil && len(c.Calls)+len(c.Flags) > 0 { // the rest is with the operation alone
		if err := b.putCause(c); err != nil {
			return err
		}
	}
	if r.Operation.Model == nil || r.Refused != nil { // what was refused brought nothing to the model
		return nil
	}
	if err := b.putResults(&r.Operation); err != nil || r.Outcome == nil || r.Outcome.Answer == nil {
		return err
	}
	return b.putCalls(r.Operation.Session, r.Operation.ID, r.Outcome.Answer)
}

// Causes gives what was found of what caused the operation, in the order in which it was; nothing where it never named a
// call.
func (s *Store) Causes(ctx context.Context, id access.OperationID) ([]access.Cause, error) {
	bodies, err := list[string](ctx, s.read, `SELECT body FROM causes WHERE operation = ? ORDER BY time, rung`, id)
	out := make([]access.Cause, len(bodies))
	for i := 0; i < len(bodies) && err == nil; i++ {
		err = json.Unmarshal([]byte(bodies[i]), &out[i])
	}
	if err != nil {
		return nil, fmt.Errorf("reading causes: %w", err)
	}
	return out, nil
}

const callColumns = `c.session, c.id, c.turn, c.tool, c.input, c.emitted,
	coalesce((SELECT min(r.time) FROM calls d JOIN call_results r ON r.session = d.session AND r.call = d.id WHERE d.turn = c.turn), 0)`

// Calls gives the session's tool calls, in the order of their emission. Those of one turn end together.
func (s *Store) Calls(ctx context.Context, session access.SessionID) ([]access.Call, error) {
	return s.calls(ctx, `SELECT `+callColumns+` FROM calls c WHERE c.session = ? ORDER BY c.emitted, c.id`, session)
}

// RecentCalls gives the tool calls of all sessions that were emitted since.
func (s *Store) RecentCalls(ctx context.Context, since time.Time) ([]access.Call, error) {
	return s.calls(ctx, `SELECT `+callColumns+` FROM calls c WHERE c.emitted >= ? ORDER BY c.emitted, c.id`, nanos(since))
}

func (s *Store) calls(ctx context.Context, query string, args ...any) ([]access.Call, error) {
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("reading tool calls: %w", err)
	}
	defer rows.Close()
	var out []access.Call
	for rows.Next() {
		var c access.Call
		var emitted, ended int64
		if err := rows.Scan(&c.Session, &c.ID, &c.Turn, &c.Name, &c.Input, &emitted, &ended); err != nil {
			return nil, fmt.Errorf("reading tool calls: %w", err)
		}
		c.Emitted, c.Ended = timeOf(emitted), timeOf(ended)
		out = append(out, c)
	}
	return out, rows.Err()
}
