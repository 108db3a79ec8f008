package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gatebook/internal/access"
)

const (
	putSession = `INSERT INTO sessions (id, principal, name, body, started, last, operations, refused, risk) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET started = min(started, excluded.started), last = max(last, excluded.last),
		operations = operations + excluded.operations, refused = refused + excluded.refused, risk = max(risk, excluded.risk)`
	touchSession = `UPDATE sessions SET last = max(last, ?) WHERE id = ?`
	putTarget    = `INSERT INTO session_targets (session, target) VALUES (?, ?) ON CONFLICT DO NOTHING`
)

// tally is what a batch adds to one session.
type tally struct {
	access.Session      // Principal is nobody where only operations ended
	operations, refused int
	risk                access.Risk
	targets             map[string]bool
}

func (b *batch) tally(id access.SessionID) *tally {
	t := b.sessions[id]
	if t == nil {
		t = &tally{targets: map[string]bool{}}
		t.ID = id
		b.sessions[id] = t
	}
	return t
}

// touch says that a session was alive at that time.
func (b *batch) touch(id access.SessionID, at time.Time) *tally {
	t := b.tally(id)
	if at.After(t.Last) {
		t.Last = at
	}
	return t
}

func (b *batch) session(x access.Session) *tally {
	t := b.touch(x.ID, x.Last)
	if t.Principal.IsZero() {
		t.Principal = x.Principal
	}
	if t.Started.IsZero() || x.Started.Before(t.Started) {
		t.Started = x.Started
	}
	return t
}

// count adds an operation to its session.
func (b *batch) count(r *access.Record, operations int, refused bool) {
	op := &r.Operation
	last := op.Time
	if r.Outcome != nil {
		last = last.Add(max(0, r.Outcome.Duration))
	}
	t := b.session(access.Session{ID: op.Session, Principal: op.Principal, Started: op.Time, Last: last})
	t.operations += operations
	if refused {
		t.refused++
	}
	t.risk = max(t.risk, r.Decision.Risk)
	t.targets[op.Target.Name] = true
}

func (b *batch) putSessions() error {
	for _, t := range b.sessions {
		if err := b.putSession(t); err != nil {
			return err
		}
		for target := range t.targets {
			if _, err := b.tx.ExecContext(b.ctx, putTarget, t.ID, target); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *batch) putSession(t *tally) error {
	if t.Principal.IsZero() {
		_, err := b.tx.ExecContext(b.ctx, touchSession, nanos(t.Last), t.ID)
		return err
	}
	body, err := json.Marshal(t.Principal)
	if err != nil {
		return err
	}
	_, err = b.tx.ExecContext(b.ctx, putSession, t.ID, t.Principal.Key(), t.Principal.Name, string(body),
		nanos(t.Started), nanos(t.Last), t.operations, t.refused, int64(t.risk))
	return err
}

// SessionFilter selects sessions, the latest started first. The zero filter selects all.
type SessionFilter struct {
	ID           access.SessionID
	Principal    string // a Principal.Name, or a Principal.Key
	Target       string
	MinRisk      access.Risk
	Since, Until time.Time // of its operations
	// Limit is the most to give; at most and by default 100.
	Limit int
	// Cursor is what the page before gave.
	Cursor string
	// Now tells live sessions from those that have ended.
	Now time.Time
}

// Sessions gives a page of sessions and the cursor of the next page, empty where this is the last.
func (s *Store) Sessions(ctx context.Context, f SessionFilter) ([]access.SessionSummary, string, error) {
	c, err := sessionConditions(f)
	if err != nil {
		return nil, "", err
	}
	n := limit(f.Limit)
	rows, err := s.read.QueryContext(ctx, `SELECT id, body, started, last, operations, refused, risk,
		(SELECT count(*) FROM operations WHERE session = sessions.id AND running = 1),
		(SELECT json_group_array(target) FROM session_targets WHERE session = sessions.id)
		FROM sessions WHERE `+c.where()+` ORDER BY started DESC, id DESC LIMIT ?`, append(c.args, n+1)...)
	if err != nil {
		return nil, "", fmt.Errorf("reading sessions: %w", err)
	}
	defer rows.Close()
	var out []access.SessionSummary
	for rows.Next() {
		x, err := s.scanSession(rows, f.Now)
		if err != nil {
			return nil, "", fmt.Errorf("reading sessions: %w", err)
		}
		out = append(out, x)
	}
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("reading sessions: %w", err)
	}
	if len(out) <= n {
		return out, "", nil
	}
	last := out[n-1]
	return out[:n], cursor(last.Started, string(last.ID)), nil
}

func (s *Store) scanSession(rows *sql.Rows, now time.Time) (access.SessionSummary, error) {
	var x access.SessionSummary
	var body, targets string
	var started, last int64
	if err := rows.Scan(&x.ID, &body, &started, &last, &x.Operations, &x.Refused, (*int64Risk)(&x.Risk), &x.Running, &targets); err != nil {
		return x, err
	}
	x.Started, x.Last = timeOf(started), timeOf(last)
	x.Live = x.Running > 0 || now.Sub(x.Last) < s.o.Live
	if err := json.Unmarshal([]byte(body), &x.Principal); err != nil {
		return x, err
	}
	return x, json.Unmarshal([]byte(targets), &x.Targets)
}

// int64Risk scans a risk from its number.
type int64Risk access.Risk

func (r *int64Risk) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("risk is a %T", v)
	}
	*r = int64Risk(n)
	return nil
}

func sessionConditions(f SessionFilter) (conditions, error) {
	var c conditions
	if f.ID != "" {
		c.add("id = ?", f.ID)
	}
	if f.Principal != "" {
		c.add("(principal = ? OR name = ?)", f.Principal, f.Principal)
	}
	if f.Target != "" {
		c.add("id IN (SELECT session FROM session_targets WHERE target = ?)", f.Target)
	}
	if f.MinRisk > 0 {
		c.add("risk >= ?", int64(f.MinRisk))
	}
	if !f.Since.IsZero() {
		c.add("last >= ?", nanos(f.Since))
	}
	if !f.Until.IsZero() {
		c.add("started < ?", nanos(f.Until))
	}
	return c, c.after(f.Cursor)
}

// cursor names the last row of a page that is sorted by a time and an id.
func cursor(t time.Time, id string) string { return fmt.Sprintf("%d.%s", nanos(t), id) }

// after selects what comes behind a cursor.
func (c *conditions) after(cursor string) error {
	if cursor == "" {
		return nil
	}
	at, id, ok := strings.Cut(cursor, ".")
	t, err := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil {
		return ErrCursor
	}
	c.add("(started, id) < (?, ?)", t, id)
	return nil
}
