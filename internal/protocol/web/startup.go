package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
)

// Gate is what decides, records and permits.
type Gate interface {
	Admit(ctx context.Context, r gate.Request) (gate.Permit, error)
	Reject(op *access.Operation, why *access.Refusal)
}

// Upstream is the service, and the hosts beside it that its target names. A request's URL without a host goes to the
// service. Its errors are *access.Refusal.
type Upstream interface {
	RoundTrip(p gate.Permit, r *http.Request) (*http.Response, error)
	Tunnel(p gate.Permit, address string) (net.Conn, error)
	// Base is the service's URL; empty: there is none, and the target is for proxying alone.
	Base() string
}

// Limits bound what one request may take. A limit that is exceeded refuses by its name. Zero: the default.
type Limits struct {
	// RequestBodyBytes bounds a request's body, also once it is decompressed: 10 MiB.
	RequestBodyBytes int64
	// RequestMemoryBytes is the part of a body kept in memory, 256 KiB; a longer one waits on disk, but for JSON and forms,
	// which are decoded in memory.
	RequestMemoryBytes int64
	// MessageBytes bounds a message of WebSocket or gRPC: 4 MiB.
	MessageBytes int
}

// Options join the handler of one target to the rest. Target, Gate, Upstream and Masks are required.
type Options struct {
	Target   access.Target
	Gate     Gate
	Upstream Upstream
	Masks    *mask.Engine
	Limits   Limits
	// Hold is how long a client can be held for an approval: 90 seconds.
	Hold time.Duration
	// Opaque lets through answers that are archives or otherwise compressed by their nature, in which nothing can be masked.
	Opaque bool
	// SpoolDir is where long request bodies wait, in files without a name; empty: the system's temporary folder.
	SpoolDir string
	// DigestKey makes operation digests keyed, as in kubernetes. Empty: plain SHA-256.
	DigestKey []byte
	Now       func() time.Time
	Log       *slog.Logger
}

// Handler serves one target. It is safe for concurrent use.
type Handler struct {
	o      Options
	base   *url.URL
	tokens []mask.Rule
}

// New makes a Handler.
func New(o Options) (*Handler, error) {
	if o.Gate == nil || o.Upstream == nil || o.Masks == nil || o.Target.Name == "" {
		return nil, errors.New("web handler: target, gate, upstream and masks are required")
	}
	base, err := url.Parse(o.Upstream.Base())
	if err != nil {
		return nil, fmt.Errorf("web handler: %w", err)
	}
	o.Target.Protocol = "web"
	o.setDefaults()
	return &Handler{o: o, base: base, tokens: tokenRules()}, nil
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		v *int64
		n int64
	}{{&o.Limits.RequestBodyBytes, 10 << 20}, {&o.Limits.RequestMemoryBytes, 256 << 10}} {
		if *d.v == 0 {
			*d.v = d.n
		}
	}
	if o.Limits.MessageBytes == 0 {
		o.Limits.MessageBytes = 4 << 20
	}
	if o.Hold == 0 {
		o.Hold = 90 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Token takes the token off the request: from Proxy-Authorization where there is one, else from Authorization. Either is
// a bearer token, or Basic with the token as password and, as user, anything or a traceparent. What else stands in
// Authorization is the client's own credential for the service, and does not pass.
func (h *Handler) Token(r *http.Request) string { return takeToken(r) }

func takeToken(r *http.Request) string {
	own, proxy := r.Header["Authorization"], r.Header["Proxy-Authorization"]
	r.Header.Del("Authorization")
	r.Header.Del("Proxy-Authorization")
	if len(proxy) > 0 {
		own = proxy
	}
	if len(own) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(own[0], " ")
	token = strings.TrimSpace(token)
	switch strings.ToLower(scheme) {
	case "bearer":
		return token
	case "basic":
		req := http.Request{Header: http.Header{"Authorization": own}}
		user, password, ok := req.BasicAuth()
		if !ok {
			return ""
		}
		if protocol.IsTrace(user) && !strings.Contains(password, traceMark) {
			password += traceMark + user
		}
		return password
	}
	return ""
}

// traceMark parts a token from a traceparent, as the server reads it.
const traceMark = "~"
