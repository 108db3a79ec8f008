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
	if r.Operation.Model == nil {
		return nil
	}
	if err := b.putConversation(&r.Operation); err != nil {
		return err
	}
	// A request that was refused has brought them all the same: the calls are over.
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

// CausedElsewhere gives the operations of other sessions of the same principal that are said to be caused by the session's
// calls.
func (s *Store) CausedElsewhere(ctx context.Context, session access.SessionID) ([]access.OperationID, error) {
	ids, err := list[access.OperationID](ctx, s.read, `SELECT DISTINCT o.id FROM calls c JOIN causes k ON k.call = c.id JOIN operations o ON o.id = k.operation
		JOIN sessions s ON s.id = c.session WHERE c.session = ? AND o.session <> c.session AND o.principal = s.principal AND k.body ->> '$.calls[0].turn' = c.turn
		ORDER BY o.seq LIMIT 1000`, session)
	if err != nil {
		return nil, fmt.Errorf("reading what a session caused elsewhere: %w", err)
	}
	return ids, nil
}

const callColumns = `c.session, c.id, c.turn, c.tool, c.input, c.emitted,
	coalesce((SELECT min(r.time) FROM calls d JOIN call_results r ON r.session = d.session AND r.call = d.id AND r.time >= d.emitted WHERE d.turn = c.turn), 0)`

// Calls gives the session's tool calls, in the order of their emission. Those of one turn end together.
func (s *Store) Calls(ctx context.Context, session access.SessionID) ([]access.Call, error) {
	return s.calls(ctx, `SELECT `+callColumns+` FROM calls c WHERE c.session = ? ORDER BY c.emitted, c.id`, session)
}

// RecentTurns gives the calls of models since then, at these targets, in order, with their answers.
func (s *Store) RecentTurns(ctx context.Context, since time.Time, targets []string) ([]access.Record, error) {
	names, err := json.Marshal(targets)
	if err != nil {
		return nil, err
	}
	rows, err := s.read.QueryContext(ctx, `SELECT `+recordColumns+` FROM operations o
		WHERE o.seq >= ? AND o.target IN (SELECT value FROM json_each(?)) ORDER BY o.seq`, nanos(since), string(names))
	if err != nil {
		return nil, fmt.Errorf("reading calls of models: %w", err)
	}
	defer rows.Close()
	var out []access.Record
	for rows.Next() {
		r, err := scanRecord(rows)
		if err != nil {
			return nil, fmt.Errorf("reading calls of models: %w", err)
		}
		out = append(out, r)
	}
	return out, rows.Err()
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
