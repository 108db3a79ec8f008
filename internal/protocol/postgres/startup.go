package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/credential"
	"gatebook/internal/gate"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
	"gatebook/internal/protocol/postgres/grammar"
	wire "gatebook/internal/wire/postgres"
)

// Gate is what decides, records and permits.
type Gate interface {
	Admit(ctx context.Context, r gate.Request) (gate.Permit, error)
	Lookup(ctx context.Context, parent, op *access.Operation) (gate.Permit, error)
	Reject(op *access.Operation, why *access.Refusal)
}

// Upstream is one server. Its errors are *access.Refusal.
type Upstream interface {
	Dial(p gate.Permit, database string, params map[string]string) (*credential.DatabaseConn, error)
	Cancel(p gate.Permit, c *credential.DatabaseConn) error
	// Role is the one that the gateway logs in as; Name the database where the client says none.
	Role() string
	Name() string
}

// Target is one server behind the listener.
type Target struct {
	Target   access.Target
	Upstream Upstream
	// Estimate has who is asked for an approval see how many rows the planner takes a statement to reach.
	Estimate bool
}

// Limits bound what one client can make the gateway hold. One that is exceeded refuses by its name. Zero: the default.
type Limits struct {
	// MessageBytes bounds one message of either side, such as a row: 64 MiB.
	MessageBytes int
	// StatementBytes bounds a statement's text: 1 MiB.
	StatementBytes int
	// Login bounds the time until a client has logged in: 20 s.
	Login time.Duration
	// Names bounds the prepared statements and portals that one connection keeps: 10,000.
	Names int
}

// Options join the listener's handler to the rest. Targets, Gate, Masks and TLS are required.
type Options struct {
	// Targets by name, and Hosts: the target that a TLS server name stands for.
	Targets map[string]Target
	Hosts   map[string]string
	Gate    Gate
	Masks   *mask.Engine
	// TLS has the gateway's certificate.
	TLS    *tls.Config
	Limits Limits
	// Hold is how long a statement can wait for an approval; 10 minutes where it is 0.
	Hold time.Duration
	// Compiled is the folder in which the parser of SQL is kept as machine code, to start at once the next time; empty: it is not. What
	// is in it is run.
	Compiled string
	// DigestKey makes operation digests keyed. Empty: plain SHA-256.
	DigestKey []byte
	Now       func() time.Time
	Log       *slog.Logger
}

// Handler serves all PostgreSQL targets of one listener. It is safe for concurrent use.
type Handler struct {
	o       Options
	tls     *tls.Config
	grammar *grammar.Grammar
	// digesters are *digester that nobody uses.
	digesters sync.Pool

	mu       sync.Mutex
	sessions map[uint64]*session     // by process and key, for cancel requests
	catalogs map[string]*keptCatalog // by target and database
}

// New makes a Handler.
func New(o Options) (*Handler, error) {
	if o.Gate == nil || o.Masks == nil || o.TLS == nil || len(o.Targets) == 0 {
		return nil, errors.New("postgres handler: targets, gate, masks and TLS are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Hold == 0 {
		o.Hold = 10 * time.Minute
	}
	l := &o.Limits
	for _, d := range []struct {
		v *int
		n int
	}{{&l.MessageBytes, 64 << 20}, {&l.StatementBytes, 1 << 20}, {&l.Names, 10_000}} {
		if *d.v == 0 {
			*d.v = d.n
		}
	}
	if l.Login == 0 {
		l.Login = 20 * time.Second
	}
	tc := o.TLS.Clone()
	tc.NextProtos = []string{alpn}
	g := grammar.New(o.Compiled)
	go func() {
		if err := g.Wait(); err != nil {
			o.Log.Error("the parser of SQL cannot be made: no statement is let through", "error", err)
		}
	}()
	return &Handler{o: o, tls: tc, grammar: g, sessions: map[uint64]*session{}, catalogs: map[string]*keptCatalog{}}, nil
}

// Ready reports whether statements are read without delay: the grammar takes seconds to be compiled. Clients that come before
// are let in, and wait with their first statement.
func (h *Handler) Ready() bool {
	return h.grammar.Ready()
}

// alpn is PostgreSQL's protocol in TLS (protocol.html, section 55.2.9). A client that begins with TLS has to name it.
const alpn = "postgresql"

// ServeConn speaks with one client until either leaves or ctx ends.
func (h *Handler) ServeConn(ctx context.Context, raw net.Conn, d protocol.Door) {
	defer raw.Close()
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	if err := raw.SetDeadline(time.Now().Add(h.o.Limits.Login)); err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { raw.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, first, err := h.open(ctx, raw)
	switch {
	case err != nil:
		h.o.Log.Debug("a client of PostgreSQL did not get in", "address", raw.RemoteAddr(), "error", err)
		return
	case first.Kind == wire.Cancel:
		h.cancel(first)
		return
	}
	s := &session{h: h, ctx: ctx, cut: cut, client: conn, raw: raw}
	s.in = wire.NewReader(&s.source, h.o.Limits.MessageBytes)
	s.source.conn = conn
	s.cond.L = &s.mu
	s.gen = 1
	s.names.init()
	if why := s.logIn(first, d); why != nil {
		h.o.Log.Info("a client of PostgreSQL was not let in", "address", raw.RemoteAddr(), "code", why.Code, "message", why.Message, "cause", why.Cause)
		s.fatal(why)
		return
	}
	defer s.leave()
	s.serve()
}

// errPlain says that a client spoke without TLS, and has been told.
var errPlain = errors.New("no TLS")

// open brings the connection to TLS, and reads what comes first in it. Nothing is read beyond the request for TLS, so that what
// somebody put behind it in clear becomes part of the handshake, which then fails (CVE-2021-23214).
func (h *Handler) open(ctx context.Context, raw net.Conn) (net.Conn, wire.First, error) {
	var head [1]byte
	if _, err := raw.Read(head[:]); err != nil {
		return nil, wire.First{}, err
	}
	p := &begun{Conn: raw, head: head[:]}
	if head[0] == 0x16 { // a TLS handshake's record (RFC 8446, section 5.1)
		return h.secure(ctx, p, true)
	}
	for range 2 {
		first, err := wire.ReadFirst(p)
		if err != nil {
			return nil, first, err
		}
		switch first.Kind {
		case wire.GSSRequest: // the client then asks for TLS, or goes
			_, err = raw.Write([]byte{'N'})
		case wire.TLSRequest:
			if _, err = raw.Write([]byte{'S'}); err == nil {
				return h.secure(ctx, raw, false)
			}
		case wire.Cancel: // libpq before 17 sends it in clear; what it proves is that its sender was given the key
			return raw, first, nil
		default:
			var b wire.Builder
			b.Report(wire.ErrorResponse, refusalFields("FATAL", access.Refuse(access.CodeUnauthenticated, nil, "the gateway speaks TLS alone; connect with sslmode=verify-full")))
			_, err = raw.Write(b.Bytes)
			err = errors.Join(errPlain, err)
		}
		if err != nil {
			return nil, first, err
		}
	}
	return nil, wire.First{}, errors.New("a client asked for encryption again and again")
}

func (h *Handler) secure(ctx context.Context, raw net.Conn, direct bool) (net.Conn, wire.First, error) {
	t := tls.Server(raw, h.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, wire.First{}, err
	}
	if direct && t.ConnectionState().NegotiatedProtocol != alpn {
		return nil, wire.First{}, fmt.Errorf("TLS without asking for it first needs ALPN %q", alpn)
	}
	first, err := wire.ReadFirst(t)
	if err == nil && first.Kind != wire.Startup && first.Kind != wire.Cancel {
		err = errors.New("a request for encryption within TLS")
	}
	return t, first, err
}

// begun is a connection whose first byte has been read.
type begun struct {
	net.Conn
	head []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.head) > 0 && len(p) > 0 {
		n := copy(p, b.head)
		b.head = b.head[n:]
		return n, nil
	}
	return b.Conn.Read(p)
}

// route finds the target and the database: TARGET or TARGET/DATABASE as the client's database, or the TLS server name's target and
// the client's database as it is.
func (h *Handler) route(host, database string) (Target, string, *access.Refusal) {
	if name, ok := h.o.Hosts[strings.ToLower(host)]; ok {
		t := h.o.Targets[name]
		if database == "" || database == name {
			database = t.Upstream.Name()
		}
		return t, database, nil
	}
	name, rest, _ := strings.Cut(database, "/")
	t, ok := h.o.Targets[name]
	if !ok {
		why := access.Refuse(access.CodeMalformed, nil, "there is no target %q", name)
		why.Advice = "Give the target as the database: dbname=TARGET or dbname=TARGET/DATABASE."
		return Target{}, "", why
	}
	if rest == "" {
		rest = t.Upstream.Name()
	}
	if rest == "" {
		return Target{}, "", access.Refuse(access.CodeMalformed, nil, "target %q has no database of its own; connect to %s/DATABASE", name, name)
	}
	return t, rest, nil
}
