package postgres

import (
	"errors"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	wire "gatebook/internal/wire/postgres"
)

// relay is the way back: it reads the server's messages (this file), knows what each answers (answer.go, copyout.go, report.go), masks
// (rows.go), records and delivers them (deliver.go). It works in chunks: what the server has said so far is recorded and written to
// the client at once.
type relay struct {
	s *session
	// run are messages that belong to one operation, not yet masked by known values nor recorded; out are masked and recorded.
	run   []byte
	runOf *operation
	// runMasked: run was masked as a stream.
	runMasked bool
	out       []byte
	// over are operations that end with what is in run and out, or after it; passed are what the server passed over.
	over   []*operation
	passed []*entry
	busy   bool // as the session's
	// now is the first of what is awaited, as far as that is known.
	now *entry
	// rows is the operation whose rows come one after another.
	rows         *operation
	placeholders *mask.Placeholders
	// touched: a statement of the open transaction reaches what is masked, and so may what is checked only at its end.
	touched bool
	// settles are changes of the role and of settings that have come to their end, to be settled once the transaction's state is known.
	settles []func(idle bool)
}

// chunkBytes is from where on what was read is delivered: the longest record of TLS more still fits into one frame of the recording.
const chunkBytes = 47 << 10

func (s *session) serveUpstream() error {
	r := &relay{s: s, placeholders: s.scope.Placeholders()}
	defer r.leave()
	var failed error
	s.up.BeforeWaiting(func() error { // nothing that has come waits for what has not
		failed = r.deliver()
		return failed
	})
	for {
		m, ok, err := s.from.Buffered()
		if !ok && err == nil {
			if err = s.from.Fill(); err == nil {
				continue
			}
		}
		if err != nil {
			return errors.Join(failed, r.lost(err), r.deliver())
		}
		r.begin()
		err = r.message(m)
		if err == nil && len(r.run)+len(r.out) > chunkBytes {
			err = r.deliver()
		}
		if err != nil {
			return errors.Join(err, r.deliver())
		}
	}
}

func (r *relay) lost(err error) error {
	switch {
	case errors.Is(err, wire.ErrLarge):
		return access.Refuse(access.CodeTooLarge, err, "the database's answer holds a message longer than limits.sqlMessageBytes (%d)", r.s.h.o.Limits.MessageBytes)
	case errors.Is(err, wire.ErrLength):
		return access.Refuse(access.CodeUpstream, err, "the database's answer cannot be read")
	}
	return access.Refuse(access.CodeUpstream, err, "the connection to target %q ended", r.s.t.Target.Name)
}

// message takes one message of the server, or many rows at once.
func (r *relay) message(m wire.Message) error {
	if m.Type == wire.DataRow && r.rows != nil {
		return r.row(r.rows, m)
	}
	r.rows = nil
	switch m.Type {
	case wire.NoticeResponse, wire.NotificationResponse:
		e, err := r.head()
		if err != nil {
			return err
		}
		if m.Type == wire.NoticeResponse && r.withholds(e) {
			return r.report(e.op(), m, true)
		}
		return r.add(nil, m.Raw) // with what is known masked, whatever the statement's masks are
	case wire.ParameterStatus:
		return r.parameter(m)
	}
	e, err := r.head()
	if err != nil {
		return err
	}
	if e == nil {
		if m.Type == wire.ErrorResponse { // the server shuts down, or has cut us off
			return r.add(nil, m.Raw)
		}
		return unexpected(m)
	}
	if m.Type == wire.ErrorResponse {
		return r.failure(e, m)
	}
	if m.Type == wire.ReadyForQuery {
		return r.ready(m)
	}
	switch e.kind {
	case wire.Query, wire.Execute, wire.FunctionCall:
		return r.result(e, m)
	case wire.Parse:
		return r.simple(e, m, wire.ParseComplete)
	case wire.Bind:
		return r.simple(e, m, wire.BindComplete)
	case wire.Close:
		return r.simple(e, m, wire.CloseComplete)
	case wire.Describe:
		return r.description(e, m)
	}
	return unexpected(m)
}

func unexpected(m wire.Message) error {
	return access.Refuse(access.CodeUpstream, nil, "the database sent a message of type %q that answers nothing", m.Type)
}

// parameter passes on a change of a parameter, but for one after which text would be read in another way.
func (r *relay) parameter(m wire.Message) error {
	name, v, err := wire.ReadPair(m.Body)
	if err == nil {
		err = r.s.readable(map[string]string{name: v})
	}
	if err != nil {
		return asRefusal(err, access.CodeUpstream)
	}
	r.s.mu.Lock()
	if _, ok := r.s.settings.told[name]; ok {
		r.s.settings.told[name] = v
	}
	r.s.mu.Unlock()
	return r.add(nil, m.Raw)
}
