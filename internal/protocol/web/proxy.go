package web

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/protocol"
)

// ProxyTarget is a target that is reached by using the gateway as an HTTP proxy.
type ProxyTarget struct {
	Handler *Handler
	Hosts   Hosts
	// Intercept terminates the TLS of tunnels, so that each request inside is an operation of its own. Otherwise the tunnel
	// is one operation, whose bytes are recorded as they are: encrypted.
	Intercept bool
}

// ProxyOptions describe the proxy. Targets, and Certificate where one of them intercepts, are required.
type ProxyOptions struct {
	// Targets; of several that name a host the first counts.
	Targets []ProxyTarget
	// Certificate gives the gateway's own certificate for a host.
	Certificate func(host string) (*tls.Certificate, error)
	// Limits of requests inside intercepted tunnels, as those of the listener.
	HeaderBytes   int
	HeaderTimeout time.Duration
	BodyTimeout   time.Duration
	Streams       int
	Log           *slog.Logger
}

// Proxy is the gateway as an HTTP proxy: it answers CONNECT, and requests in absolute form. It is safe for concurrent use.
type Proxy struct{ o ProxyOptions }

// NewProxy makes a Proxy.
func NewProxy(o ProxyOptions) (*Proxy, error) {
	if len(o.Targets) == 0 {
		return nil, errors.New("web proxy: there is no target")
	}
	if o.HeaderTimeout == 0 {
		o.HeaderTimeout = 20 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Proxy{o}, nil
}

// Token takes the token off the request, as Handler.Token does.
func (p *Proxy) Token(r *http.Request) string {
	if len(r.Header["Proxy-Authorization"]) == 0 { // what a client has to say to a service is no word to its proxy
		r.Header.Del("Authorization")
		return ""
	}
	return takeToken(r)
}

// Refuse answers with a problem; who shows no token is asked for one as proxies do (RFC 9110, section 11.7).
func (p *Proxy) Refuse(w http.ResponseWriter, r *http.Request, why *access.Refusal) {
	code := status(why)
	if code == http.StatusUnauthorized {
		code = http.StatusProxyAuthRequired
		w.Header().Set("Proxy-Authenticate", `Basic realm="gatebook"`)
	}
	writeProblem(w, r, newProblem(why, code), why)
}

// Serve answers one request.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, by protocol.Caller) {
	origin, why := originOf(r)
	var t *ProxyTarget
	if why == nil {
		t, why = p.pick(origin)
	}
	if why != nil {
		p.reject(w, r, by, origin, why)
		return
	}
	if r.Method == http.MethodConnect {
		p.connect(w, r, by, t, origin)
		return
	}
	r.URL = relative(r.URL)
	t.Handler.serve(w, r, by, origin)
}

// originOf is where a request to a proxy is to go.
func originOf(r *http.Request) (*url.URL, *access.Refusal) {
	nowhere := &url.URL{Scheme: "http", Host: "unknown.invalid"}
	if r.Method == http.MethodConnect {
		host, port, err := net.SplitHostPort(r.Host)
		if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || n == 0 || host == "" || r.URL.User != nil || r.URL.Host != r.Host || r.URL.Path != "" {
			return nowhere, malformed("CONNECT needs a host and a port")
		}
		if !plainHost(host) {
			return nowhere, malformed("CONNECT names no host that everybody reads alike")
		}
		return &url.URL{Scheme: "https", Host: net.JoinHostPort(strings.ToLower(host), port)}, nil
	}
	if r.URL.Scheme != "http" || r.URL.User != nil || r.Host != r.URL.Host {
		return nowhere, malformed("a proxy takes http URLs in absolute form, and CONNECT for all else")
	}
	o := &url.URL{Scheme: "http", Host: strings.ToLower(r.URL.Host)}
	if !plainHost(o.Hostname()) || portOf(o) == "" {
		return nowhere, malformed("the URL names no host that everybody reads alike")
	}
	return o, nil
}

// relative is a URL without its origin.
func relative(u *url.URL) *url.URL {
	own := *u
	own.Scheme, own.Host = "", ""
	if own.Path == "" {
		own.Path = "/"
	}
	return &own
}

func (p *Proxy) pick(origin *url.URL) (*ProxyTarget, *access.Refusal) {
	for i := range p.o.Targets {
		if p.o.Targets[i].Hosts.Match(origin.Scheme, origin.Hostname(), portOf(origin)) {
			return &p.o.Targets[i], nil
		}
	}
	why := access.Refuse(access.CodeDenied, nil, "no target of this gateway names %s", origin.Host)
	why.Advice = "Ask the gateway's operator to list the host under proxy.hosts of a target."
	return nil, why
}

// reject records and answers what no target is there for.
func (p *Proxy) reject(w http.ResponseWriter, r *http.Request, by protocol.Caller, origin *url.URL, why *access.Refusal) {
	x := p.o.Targets[0].Handler.newExchange(r, by, origin)
	x.op.Target = access.Target{Name: "proxy", Protocol: "web"}
	x.op.Command = x.hidden(r.Method + " " + r.RequestURI)
	x.reject(why)
	p.Refuse(w, r, why)
}

// connect opens a tunnel, or the connection in which requests are answered as if by the host itself.
func (p *Proxy) connect(w http.ResponseWriter, r *http.Request, by protocol.Caller, t *ProxyTarget, origin *url.URL) {
	if t.Intercept {
		p.intercept(w, r, by, t, origin)
		return
	}
	h := t.Handler
	x := h.newExchange(r, by, origin)
	x.web.Path, x.op.Command = "", x.hidden("CONNECT "+origin.Host)
	x.op.Digest = sha256.Sum256([]byte("gatebook web tunnel 1\n" + origin.Host))
	permit, err := h.o.Gate.Admit(r.Context(), gate.Request{Operation: x.op, Change: true, Card: x.card, Budget: h.o.Hold})
	if err != nil {
		p.Refuse(w, r, asRefusal(err))
		return
	}
	x.tunnel(w, permit, p)
}
