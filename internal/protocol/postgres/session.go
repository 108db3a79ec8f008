package postgres

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/credential"
	"gatebook/internal/gate"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
	"gatebook/internal/recording"
	wire "gatebook/internal/wire/postgres"
)

const (
	stream     = recording.Body
	toClient   = recording.ToClient
	fromClient = recording.FromClient
)

// session is one client's connection. One goroutine reads the client, decides and forwards (request.go, extended.go); another reads the
// server, masks and delivers (forward.go and deliver.go). What they share is below mu: the answers that are awaited, in order.
type session struct {
	h   *Handler
	t   Target
	by  protocol.Caller
	ctx context.Context
	cut context.CancelCauseFunc

	raw    net.Conn // below TLS
	client net.Conn
	source source
	in     *wire.Reader
	up     *credential.DatabaseConn
	from   *wire.Reader
	// link is the permit of the connection itself.
	link    gate.Permit
	began   time.Time
	endOnce sync.Once
	// scope is what is hidden in answers that are of no statement, sent in what is recorded of requests.
	scope    *mask.Scope
	sent     *mask.Scope
	key      uint64
	database string
	aside    aside
	// application is what the client calls itself.
	application string
	delivered   int64

	// Of the goroutine that reads the client.
	names    names
	masks    maskSet // that of the last decision
	skipping bool    // until Sync, after a refusal
	open     bool    // something was forwarded since the last Sync
	parsing  *prepared
	parse    []byte // its message, which waits for its Bind
	queued   []byte // for the server
	queuedBy gate.Permit
	copyOf   *operation // whose COPY has data that is not yet recorded

	writing sync.Mutex // around each write to the client, of whole messages

	mu       sync.Mutex
	cond     sync.Cond // the state below has changed
	awaited  []*entry
	room     [8]*entry // for awaited
	status   byte      // of the transaction: I, T or E
	ended    bool
	role     string
	login    string // the role that RESET ROLE goes back to
	unsure   bool   // which role is in force
	settings settings
	defined  bool // something was defined in the open transaction
	holding  context.CancelCauseFunc
	// takenBack: the client has taken back what it asked last, as cancel requests do.
	takenBack atomic.Bool
	// gen counts pipelines, from 1; failedGen is the last that failed at the server.
	gen, failedGen int
	idleGen        int          // the last after which no transaction was open
	copying        *operation   // a COPY from the client, which the server has begun to take
	copied         bool         // the client has ended it
	bound          []*operation // of portals that are there
	busy           bool         // something that the server said is not delivered yet
}

// source is the client's connection, of which something may have been read ahead while a statement was held.
type source struct {
	conn  net.Conn
	ahead bytes.Buffer
	err   error
}

func (s *source) Read(p []byte) (int, error) {
	if s.ahead.Len() > 0 {
		return s.ahead.Read(p)
	}
	if s.err != nil {
		return 0, s.err
	}
	return s.conn.Read(p)
}

// cutGrace is how long a client that is being cut has to take what it is told.
const cutGrace = 500 * time.Millisecond

// serve runs both directions until one ends, and then the other.
func (s *session) serve() {
	done := make(chan error, 1)
	go func() {
		err := s.guard(s.serveUpstream)
		if s.link.Context().Err() != nil { // the server was let go, and how that looks from here is no matter
			err = context.Cause(s.link.Context())
		}
		s.cut(err)
		s.wake(true)
		done <- err
	}()
	stop := context.AfterFunc(s.link.Context(), func() { s.cut(context.Cause(s.link.Context())) })
	defer stop()
	// What the client goroutine waits for ends with the context: reading (see ServeConn), and answers.
	wake := context.AfterFunc(s.ctx, func() {
		s.wake(true)
		s.client.SetWriteDeadline(time.Now().Add(cutGrace))
	})
	defer wake()
	err := s.guard(s.serveClient)
	s.cut(err)
	s.farewell()
	s.up.Close()
	<-done
}

// guard makes a panic the end of this connection alone.
func (s *session) guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.h.o.Log.Error("a connection of PostgreSQL failed", "address", s.raw.RemoteAddr(), "panic", v)
			err = access.Refuse(access.CodeInternal, nil, "the gateway failed")
		}
	}()
	return f()
}

// wake has every waiter look again; ended: there will be no more answers.
func (s *session) wake(ended bool) {
	s.mu.Lock()
	s.ended = s.ended || ended
	s.mu.Unlock()
	s.cond.Broadcast()
}

// errGone says that the client has left as clients do.
var errGone = errors.New("the client has left")

// farewell tells a client that is cut off why, where that is not that it has gone.
func (s *session) farewell() {
	var why *access.Refusal
	if errors.As(context.Cause(s.ctx), &why) {
		own := *why
		s.fatal(&own)
	}
}

// fatal ends a connection in words. A write that is under way has its deadline, and ends by it where the client does not listen.
func (s *session) fatal(why *access.Refusal) {
	var b wire.Builder
	b.Report(wire.ErrorResponse, refusalFields("FATAL", why))
	s.writing.Lock()
	defer s.writing.Unlock()
	s.client.SetWriteDeadline(time.Now().Add(cutGrace))
	if _, err := s.client.Write(b.Bytes); err != nil {
		s.h.o.Log.Debug("a refusal did not reach its client", "error", err)
	}
}

// send writes whole messages to the client.
func (s *session) send(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if _, err := s.client.Write(b); err != nil {
		return errors.Join(errGone, err)
	}
	return nil
}

// leave ends what is open: every operation, and the connection's own.
func (s *session) leave() {
	s.h.mu.Lock()
	delete(s.h.sessions, s.key)
	s.h.mu.Unlock()
	why := "the connection ended"
	var r *access.Refusal
	if errors.As(context.Cause(s.ctx), &r) {
		why = r.Message
	}
	s.mu.Lock()
	left := s.awaited
	s.awaited = nil
	s.mu.Unlock()
	for _, e := range left {
		for _, o := range e.ops {
			o.end(s, why)
		}
		if e.binds != nil {
			e.binds.end(s, why)
		}
	}
	for _, o := range s.bound {
		o.end(s, why)
	}
	s.endLink(access.Outcome{ExitCode: -1, ResponseBytes: s.delivered, Truncated: cutOff(context.Cause(s.ctx))})
}

// cutOff is empty where the client left by itself.
func cutOff(err error) string {
	var r *access.Refusal
	if errors.As(err, &r) {
		return r.Message
	}
	return ""
}

func (s *session) endLink(out access.Outcome) {
	s.endOnce.Do(func() {
		out.Duration = s.h.o.Now().Sub(s.began)
		if err := s.link.End(out); err != nil {
			s.h.o.Log.Error("ending the record of a connection", "operation", s.link.Operation().ID, "error", err)
		}
	})
}

// serveClient takes the client's messages one by one. nil or errGone: it left.
func (s *session) serveClient() error {
	for {
		m, ok, err := s.in.Buffered()
		if !ok && err == nil {
			if err = s.flush(); err == nil {
				m, err = s.in.Next()
			}
		}
		if err != nil {
			return s.clientError(err)
		}
		if m.Type == wire.Terminate {
			return errGone
		}
		if err := s.message(m); err != nil {
			return err
		}
	}
}

func (s *session) clientError(err error) error {
	switch {
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	case errors.Is(err, wire.ErrLarge):
		return access.Refuse(access.CodeTooLarge, err, "a message is longer than limits.sqlMessageBytes (%d)", s.h.o.Limits.MessageBytes)
	case errors.Is(err, wire.ErrLength), errors.Is(err, wire.ErrField):
		return access.Refuse(access.CodeMalformed, err, "the client's message cannot be read")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errGone
	}
	return errors.Join(errGone, err)
}
