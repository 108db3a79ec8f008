// Package server listens, terminates TLS, establishes who calls, and hands each request to the handler of the target
// that it names. It guarantees that a request whose framing could be read in two ways is none; that no handler sees a
// request without a verified principal, nor the credential that established it; that a request which names no target reaches none; that a stream ends with its token; and that a shutdown lets what runs come to its
// end within the time given, then cuts it.
package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/guard"
	"gatebook/internal/protocol"
	"gatebook/internal/wire/http1"
)

// Own is the path below which Gatebook's own API lives, on every host.
const Own = "/gatebook/"

// targets is the path below which each target is served by name.
const targets = "/t/"

// Options describe a server. All but Own, Log and the limits are required.
type Options struct {
	// Authenticate turns a bearer token into a principal, or gives an *access.Refusal.
	Authenticate func(ctx context.Context, token string) (access.Principal, error)
	// Session tells which run of an agent the principal is in; conversation is what the client says of it, if anything.
	Session func(p access.Principal, conversation string) access.SessionID
	// Targets by name.
	Targets map[string]protocol.Handler
	// Hosts gives the target that a host name serves at its root, if any.
	Hosts map[string]string
	// Proxy answers requests that take the gateway for an HTTP proxy: CONNECT, and those in absolute form. Nil: they are refused.
	Proxy protocol.Handler
	// Own answers below /gatebook/; it authenticates by itself.
	Own http.Handler
	// TLS of the listener.
	TLS *tls.Config
	Log *slog.Logger

	HeaderBytes   int
	HeaderTimeout time.Duration
	BodyTimeout   time.Duration
	Streams       int
}

// Server is one listener's worth of handlers.
type Server struct {
	o    Options
	http *http.Server
	live sync.WaitGroup
	ctx  context.Context
	cut  context.CancelCauseFunc
	// accepting ends when a shutdown begins.
	accepting context.Context
	refuse    context.CancelFunc
}

// New makes a server. It listens to nothing yet.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o}
	s.ctx, s.cut = context.WithCancelCause(context.Background())
	s.accepting, s.refuse = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s,
		TLSConfig:         o.TLS,
		ReadHeaderTimeout: o.HeaderTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    o.HeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: o.Streams},
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ConnState:         http1.Watch,
	}
	return s
}

// Serve answers on l until Shutdown, and returns nil then.
func (s *Server) Serve(l net.Listener) error {
	err := s.http.Serve(shakeHands(l, s.o.TLS, s.o.HeaderTimeout, s.o.Log))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving on %s: %w", l.Addr(), err)
}

// last is how long a handler has to leave after its context was cut.
const last = 5 * time.Second

// Shutdown stops accepting, waits for what runs until ctx ends, and then cuts it. Upgraded streams count as running.
func (s *Server) Shutdown(ctx context.Context) {
	s.refuse()
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		if err := s.http.Shutdown(ctx); err != nil {
			s.o.Log.Warn("cutting requests that did not end in time", "error", err)
		}
		s.live.Wait() // upgraded connections are not the HTTP server's any more
	}()
	select {
	case <-idle:
	case <-ctx.Done():
		s.cut(access.Refuse(access.CodeDraining, nil, "the gateway is shutting down"))
		select {
		case <-idle:
		case <-time.After(last):
			s.o.Log.Error("some requests did not leave after they were cut")
		}
	}
	if err := s.http.Close(); err != nil {
		s.o.Log.Warn("closing the listener", "error", err)
	}
}

// ServeHTTP routes one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.live.Add(1)
	defer s.live.Done()
	s.timeBody(w, r)
	if v := r.Header["Host"]; len(v) > 0 && (len(v) > 1 || v[0] != r.Host) || len(r.Header["Content-Length"]) > 1 { // of HTTP/2: beside :authority, and beside its framing
		answerError(w, http.StatusBadRequest, errors.New("the request names two hosts or lengths"))
		return
	}
	if why := s.misdirected(r); why != nil {
		w.Header().Set("Connection", "close")
		answerError(w, http.StatusMisdirectedRequest, why)
		return
	}
	if isForProxy(r) {
		if s.o.Proxy == nil {
			w.Header().Set("Connection", "close")
			answerError(w, http.StatusForbidden, errors.New("this gateway is no HTTP proxy: no target has proxy.hosts; ask for a path instead of a URL"))
			return
		}
		s.serve(w, r, s.o.Proxy)
		return
	}
	if s.o.Own != nil && strings.HasPrefix(r.URL.Path, Own) && strings.HasPrefix(r.URL.EscapedPath(), Own) {
		s.o.Own.ServeHTTP(w, r)
		return
	}
	h, err := s.route(r)
	if err != nil {
		answerError(w, http.StatusNotFound, err)
		return
	}
	s.serve(w, r, h)
}

// isForProxy reports whether a request takes the gateway for an HTTP proxy (RFC 9112, sections 3.2.2 and 3.2.3).
func isForProxy(r *http.Request) bool { return r.Method == http.MethodConnect || r.URL.Host != "" }

// misdirected refuses a request whose Host names another target than the TLS connection was made for (RFC 9110, section
// 7.4): the certificate that the client saw was not for what it is about to reach.
func (s *Server) misdirected(r *http.Request) error {
	if r.TLS == nil || r.TLS.ServerName == "" || isForProxy(r) {
		return nil
	}
	host := strings.ToLower(hostOf(r.Host))
	name := strings.ToLower(r.TLS.ServerName)
	if host == name || s.o.Hosts[host] == "" && s.o.Hosts[name] == "" {
		return nil
	}
	return fmt.Errorf("the connection was made to %q, and the request is for %q", name, host)
}

func hostOf(hostPort string) string {
	if h, _, err := net.SplitHostPort(hostPort); err == nil {
		return h
	}
	return hostPort
}

// serve answers a request for h, once it is known who sends it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, h protocol.Handler) {
	raw := bearer
	if c, ok := h.(protocol.Carrier); ok {
		raw = c.Token
	}
	conversation := ""
	if c, ok := h.(protocol.Conversant); ok {
		conversation = c.Conversation(r)
	}
	token := raw(r)
	by, err := s.authenticate(r.Context(), token, conversation)
	if err != nil {
		var why *access.Refusal
		if !errors.As(err, &why) {
			why = access.Refuse(access.CodeUnauthenticated, err, "the credential could not be checked")
		}
		s.o.Log.Info("not authenticated", "address", r.RemoteAddr, "path", r.URL.Path, "message", why.Message, "cause", why.Cause)
		h.Refuse(w, r, why)
		return
	}
	if by.Address = r.RemoteAddr; by.Trace == "" {
		by.Trace = traceHeader(r)
	}
	ctx, cut := context.WithCancelCause(r.Context())
	defer cut(nil)
	timer := time.AfterFunc(recheck, func() {
		if err := guard.Run(func() { s.recheck(ctx, token, cut) }); err != nil {
			s.o.Log.Error("asking about a token again", "error", err)
			cut(access.Refuse(access.CodeInternal, err, "the gateway failed"))
		}
	})
	defer timer.Stop()
	h.Serve(w, r.WithContext(ctx), by)
}

// traceMark parts a token from the traceparent that a client appends to it. It is in no token's alphabet (RFC 7515).
const traceMark = "~"

// authenticate verifies a token as it came, with or without a trace behind it.
func (s *Server) authenticate(ctx context.Context, raw, conversation string) (protocol.Caller, error) {
	token, trace, _ := strings.Cut(raw, traceMark)
	p, err := s.o.Authenticate(ctx, token)
	if err != nil {
		return protocol.Caller{}, err
	}
	if !protocol.IsTrace(trace) {
		trace = ""
	}
	return protocol.Caller{Principal: p, Session: s.o.Session(p, conversation), Trace: trace}, nil
}

// traceHeader is the request's traceparent (W3C Trace Context, section 3.2), where there is just one.
func traceHeader(r *http.Request) string {
	if v := r.Header["Traceparent"]; len(v) == 1 && protocol.IsTrace(v[0]) {
		return v[0]
	}
	return ""
}

// recheck is how often a token is asked about again while a request under it goes on.
const recheck = 10 * time.Second

// recheck cuts a long request whose token was taken back since, be it by its issuer: a deleted pod's streams end as its
// token does. That an issuer cannot be asked just now cuts nothing that runs.
func (s *Server) recheck(ctx context.Context, raw string, cut context.CancelCauseFunc) {
	token, _, _ := strings.Cut(raw, traceMark)
	t := time.NewTicker(recheck)
	defer t.Stop()
	for {
		_, err := s.o.Authenticate(ctx, token)
		var why *access.Refusal
		if errors.As(err, &why) && why.Code == access.CodeRevoked {
			cut(why)
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// route finds the target's handler, by host or by path, and takes the prefix that named it off the path.
func (s *Server) route(r *http.Request) (protocol.Handler, error) {
	if name, ok := s.o.Hosts[strings.ToLower(hostOf(r.Host))]; ok {
		return s.o.Targets[name], nil
	}
	raw := r.URL.RawPath // as it came; empty where its escaping is the usual one
	if raw == "" {
		raw = r.URL.EscapedPath()
	}
	rest, ok := strings.CutPrefix(raw, targets)
	if !ok {
		return nil, fmt.Errorf("nothing is served at %q; targets are below %sNAME, which kubectl proxy keeps with --append-server-path alone, "+
			"or at the root of a host name of their own", r.URL.Path, targets)
	}
	name, path, _ := strings.Cut(rest, "/")
	h, ok := s.o.Targets[name]
	if !ok {
		return nil, fmt.Errorf("there is no target %q", name)
	}
	path = "/" + path
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, fmt.Errorf("the path is not properly escaped: %w", err)
	}
	u := *r.URL
	u.Path, u.RawPath = plain, path
	r.URL = &u
	return h, nil
}

// bearer takes the request's token off it; RFC 6750, section 2.1. Two Authorization headers are none.
func bearer(r *http.Request) string {
	v := r.Header["Authorization"]
	r.Header.Del("Authorization")
	if len(v) != 1 {
		return ""
	}
	scheme, token, ok := strings.Cut(v[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func answerError(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// What cannot be written any more has no reader.
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure",
		"reason": strings.ReplaceAll(http.StatusText(code), " ", ""), "code": code, "message": "gatebook: " + err.Error()})
}
