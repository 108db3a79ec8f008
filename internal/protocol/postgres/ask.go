package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/credential"
	"gatebook/internal/gate"
	"gatebook/internal/protocol/postgres/grammar"
	wire "gatebook/internal/wire/postgres"
)

// question is what the gateway itself asks the database.
type question struct {
	text    string
	message []byte // what is sent, which ends as a Query or a Sync does
	// patience bounds it in the database; the whole may take half as long again.
	patience time.Duration
	settings map[string]string
	// over keeps the connection for questions with the same settings; nil: it has one of its own.
	over *aside
}

// aside is a connection of the gateway's own beside a client's, which is kept for a while: where one definition follows another, each
// statement asks. It ends with the client's connection at the latest.
type aside struct {
	mu   sync.Mutex
	c    *asked
	idle *time.Timer
}

type asked struct {
	up   *credential.DatabaseConn
	from *wire.Reader
}

// asideAge is how long it is kept without being used.
const asideAge = 10 * time.Second

func (a *aside) take() *asked {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.c
	if a.c = nil; a.idle != nil {
		a.idle.Stop()
	}
	return c
}

func (a *aside) keep(c *asked) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.c, a.idle = c, time.AfterFunc(asideAge, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.c == c {
			a.c = nil
			c.up.Close()
		}
	})
}

// drop ends it, where it is there.
func (a *aside) drop() {
	if c := a.take(); c != nil {
		c.up.Close()
	}
}

// ask asks over a connection that can only read, as an operation that the gateway itself makes.
func (s *session) ask(q question, row func([]string) error) (err error) {
	began := s.h.o.Now()
	op := s.newOperation("lookup", nil)
	op.SQL.Kinds, op.SQL.Effect, op.SQL.Text = []string{"select"}, grammar.Read, s.conceal(strings.TrimSpace(q.text))
	op.Command = op.SQL.Text
	op.Digest = s.digest("lookup", string(q.message))
	ctx, cancel := context.WithTimeout(s.link.Context(), q.patience*3/2)
	defer cancel()
	p, err := s.h.o.Gate.Lookup(ctx, s.link.Operation(), op)
	if err != nil {
		return err
	}
	out := access.Outcome{ExitCode: -1}
	defer func() {
		if err != nil {
			out.Code, out.Message = 1, "the database did not say"
		}
		out.Duration = s.h.o.Now().Sub(began)
		err = errors.Join(err, p.End(out))
	}()
	if c := q.over.take(); c != nil {
		if out.Rows, err = c.ask(p, q, row); err == nil || out.Rows > 0 {
			return err
		} // the server may have ended it since
	}
	c, err := s.dialAside(p, q)
	if err != nil {
		return err
	}
	out.Rows, err = c.ask(p, q, row)
	return err
}

// dialAside connects for a question: under its permit, or where the connection is to be kept, under that of the client's.
func (s *session) dialAside(p gate.Permit, q question) (*asked, error) {
	settings := map[string]string{"client_encoding": "UTF8", "standard_conforming_strings": "on", "application_name": "gatebook", "default_transaction_read_only": "on",
		// Somebody may hold what is asked about, this session itself among them.
		"lock_timeout": "2s", "statement_timeout": strconv.FormatInt(q.patience.Milliseconds(), 10)}
	maps.Copy(settings, q.settings)
	if q.over != nil {
		p = s.link
	}
	up, err := s.t.Upstream.Dial(p, s.database, settings)
	if err != nil {
		return nil, err
	}
	return &asked{up: up, from: wire.NewReader(up, s.h.o.Limits.MessageBytes)}, nil
}

// ask asks under p, and keeps or ends the connection.
func (c *asked) ask(p gate.Permit, q question, row func([]string) error) (rows int64, err error) {
	stop := context.AfterFunc(p.Context(), func() { c.up.Close() })
	if err = c.up.Write(p, q.message); err == nil {
		rows, err = c.answer(row)
	}
	stop()
	if err != nil || q.over == nil {
		c.up.Close()
	} else {
		q.over.keep(c)
	}
	return rows, err
}

// answer reads the rows up to the end.
func (c *asked) answer(row func([]string) error) (rows int64, err error) {
	for {
		m, err := c.from.Next()
		if err != nil {
			return rows, err
		}
		switch m.Type {
		case wire.DataRow:
			var cells []string
			err := wire.Cells(m.Body, func(_ int, cell []byte) { cells = append(cells, string(cell)) })
			if err == nil {
				err = row(cells)
			}
			if err != nil {
				return rows, err
			}
			rows++
		case wire.ErrorResponse:
			return rows, fmt.Errorf("the database refuses: %s", messageOf(m, false))
		case wire.ReadyForQuery:
			return rows, nil
		}
	}
}
