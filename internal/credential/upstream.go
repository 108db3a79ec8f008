package credential

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"gatebook/internal/access"
	"gatebook/internal/gate"
)

// Options describes one target's upstream.
type Options struct {
	// URL is the upstream's base: scheme https (or http where Insecure), host, and an optional path prefix.
	URL string
	// CA holds the PEM certificates that the upstream's certificate must chain to. Empty: the system's.
	CA []byte
	// ServerName overrides the name that the upstream's certificate is checked against.
	ServerName string
	// Insecure allows an http URL. It never switches certificate checks off.
	Insecure bool
	// Secret gives the gateway's own credential for this upstream, fetched for each connection or request.
	Secret Source
	// Impersonate says for whom the upstream is to act as that principal, so that its own RBAC still applies to them.
	// For anybody else it sees the gateway's credential alone. Nil: everybody is impersonated.
	Impersonate func(access.Principal) bool
	// Own says whose service accounts are the upstream's own. Names that begin with "system:" mean somebody else in every
	// cluster, so that nobody of another is impersonated under one. Nil: everybody's.
	Own func(access.Principal) bool
	// Connections bounds idle connections kept for reuse, 512 by default: as many as there are requests at once, or they are
	// made anew. Dial bounds connecting, 10 s by default.
	Connections int
	Dial        time.Duration
	// Reach says which addresses may be dialled.
	Reach Reach
	// Forward says which other origins (scheme, and host:port) a request may name in its URL, or a tunnel may lead to. They
	// are never shown the credential. With it, URL may be empty. Nil: none.
	Forward func(scheme, address string) bool
	// Shared lets every request share connections over HTTP/2 where the upstream speaks it; see Upstream.pick.
	Shared bool
}

// Upstream is one target's far side. It is safe for concurrent use.
type Upstream struct {
	base        *url.URL
	secret      Source
	impersonate func(access.Principal) bool
	own         func(access.Principal) bool
	forward     func(scheme, address string) bool
	dial        func(ctx context.Context, network, address string) (net.Conn, error)
	share       bool
	shared      *http.Transport // HTTP/2, or HTTP/1.1: for requests that last
	alone       *http.Transport // HTTP/1.1 alone: for requests that are soon answered
	once        *http.Transport // HTTP/1.1, and a new connection each time: for upgrades
	clear       *http.Transport // HTTP/2 alone, without TLS: for gRPC at a URL of scheme http
}

// New makes an Upstream. It dials nothing.
func New(o Options) (*Upstream, error) {
	base := &url.URL{}
	if o.URL != "" || o.Forward == nil {
		var err error
		if base, err = parseBase(o.URL, o.Insecure); err != nil {
			return nil, err
		}
	}
	if o.Secret == nil {
		return nil, errors.New("upstream has no credential: set one of token, tokenFile, or certificate and key")
	}
	tc := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName, GetClientCertificate: o.Secret.certificate}
	if len(o.CA) > 0 {
		tc.RootCAs = x509.NewCertPool()
		if !tc.RootCAs.AppendCertsFromPEM(o.CA) {
			return nil, errors.New("upstream CA: no PEM certificate in it")
		}
	}
	if o.Impersonate == nil {
		o.Impersonate = func(access.Principal) bool { return true }
	}
	if o.Own == nil {
		o.Own = func(access.Principal) bool { return true }
	}
	idle, wait := o.Connections, o.Dial
	if idle == 0 {
		idle = 512
	}
	if wait == 0 {
		wait = 10 * time.Second
	}
	u := &Upstream{
		base: base, secret: o.Secret, impersonate: o.Impersonate, own: o.Own, forward: o.Forward, share: o.Shared, dial: dialer(wait, o.Reach.Check),
	}
	for _, t := range []**http.Transport{&u.shared, &u.alone, &u.once, &u.clear} {
		*t = u.transport(tc, idle, wait)
	}
	u.shared.Protocols.SetHTTP1(true)
	u.shared.Protocols.SetHTTP2(true)
	u.alone.Protocols.SetHTTP1(true)
	u.once.Protocols.SetHTTP1(true)
	u.clear.Protocols.SetUnencryptedHTTP2(true)
	// An exec over WebSocket is a GET, which a transport sends again where a connection that it kept breaks before the
	// answer: the command would run twice.
	u.once.DisableKeepAlives = true
	return u, nil
}

func parseBase(raw string, insecure bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("upstream URL: %w", err)
	}
	switch {
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("upstream URL %q: want https://host[:port][/prefix] and nothing else", u.Redacted())
	case u.Scheme == "https", u.Scheme == "http" && insecure:
	default:
		return nil, fmt.Errorf("upstream URL %q: scheme %q is not allowed; use https", u.Redacted(), u.Scheme)
	}
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.RawPath, "/")
	return u, nil
}

// transport is one that speaks no protocol yet.
func (u *Upstream) transport(tc *tls.Config, idle int, wait time.Duration) *http.Transport {
	t := &http.Transport{
		DialContext:           u.dial,
		TLSClientConfig:       tc.Clone(),
		TLSHandshakeTimeout:   wait,
		MaxIdleConns:          idle,
		MaxIdleConnsPerHost:   idle,
		IdleConnTimeout:       45 * time.Second, // before the API server's 90: what it closes under a change fails the change
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,    // what comes back is masked and recorded as it is
		WriteBufferSize:       8 << 10, // what is longer passes them by
		ReadBufferSize:        8 << 10,
		Protocols:             new(http.Protocols),
	}
	// A dead HTTP/2 connection is noticed by a ping, so that a watch does not hang on it.
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second}
	return t
}

// RoundTrip sends req under p. The request's URL needs a path and query only; scheme, host and credentials are set
// here, and any credential that it carries is removed. Its context is replaced by one that ends with either the
// request's own or the permit's. A request that asks for an upgrade goes over HTTP/1.1, and then the Body of an
// answer 101 is an io.ReadWriteCloser. Redirects are returned, never followed. A URL with a host goes there, where
// Options.Forward says so, and is shown the credential only where that is the upstream's own origin. The error is an
// *access.Refusal.
func (u *Upstream) RoundTrip(p gate.Permit, req *http.Request) (*http.Response, error) {
	if !p.Valid() {
		return nil, access.Refuse(access.CodeInternal, nil, "a request was about to leave without a permit")
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	stop := context.AfterFunc(p.Context(), func() { cancel(context.Cause(p.Context())) })
	out := req.WithContext(ctx)
	target := *req.URL
	out.URL, out.Header = &target, maps.Clone(req.Header) // values are replaced, never changed
	err := u.address(p, out)
	var resp *http.Response
	if err == nil {
		resp, err = u.pick(p, out).RoundTrip(out)
	}
	if err != nil {
		err = refusal(ctx, p, err)
		stop()
		cancel(nil)
		return nil, err
	}
	resp.Body = bind(ctx, resp.Body, func() { stop(); cancel(nil) })
	return resp, nil
}

// pick chooses the connections. A request that has one to itself costs less, and waits for no other; but what lasts,
// such as a watch, would keep it for as long. That is a matter of cost alone; that an upgrade, and what a person approved,
// has a new one is not: on a connection that was used before, a request can be sent a second time when that breaks.
func (u *Upstream) pick(p gate.Permit, r *http.Request) *http.Transport {
	switch {
	case isUpgrade(r), p.Decision().Effect == access.Approve && !isGRPC(r):
		return u.once
	case isGRPC(r) && r.URL.Scheme == "http":
		return u.clear
	case u.share || lasts(r):
		return u.shared
	}
	return u.alone
}

// isGRPC reports whether a request is a gRPC call, which needs HTTP/2.
func isGRPC(r *http.Request) bool {
	c := r.Header.Get("Content-Type")
	return c == "application/grpc" || strings.HasPrefix(c, "application/grpc+") || strings.HasPrefix(c, "application/grpc;")
}

// lasts guesses whether a request goes on until the client ends it: a watch, a log that is followed, or what is behind a proxy.
func lasts(r *http.Request) bool {
	return strings.Contains(r.URL.RawQuery, "watch") || strings.Contains(r.URL.RawQuery, "follow") ||
		strings.Contains(r.URL.Path, "/watch") || strings.Contains(r.URL.Path, "/proxy")
}

func isUpgrade(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade")
}

// address turns a request for a path into one for the upstream, as the principal.
func (u *Upstream) address(p gate.Permit, r *http.Request) error {
	raw := r.URL.EscapedPath()
	if p.AsGateway() && !teaches(r) {
		return access.Refuse(access.CodeInternal, nil, "a request other than the read of a pod or a Secret was about to leave with the gateway's own rights")
	}
	elsewhere := r.URL.Host != ""
	if elsewhere && (u.forward == nil || !u.forward(r.URL.Scheme, hostPort(r.URL))) {
		return access.Refuse(access.CodeInternal, nil, "a request was about to leave for an address that its target does not name")
	}
	own := !elsewhere || r.URL.Scheme == u.base.Scheme && hostPort(r.URL) == hostPort(u.base)
	r.URL.User, r.Host = nil, ""
	if !elsewhere {
		r.URL.Scheme, r.URL.Host = u.base.Scheme, u.base.Host
	}
	if u.base.Path != "" && !elsewhere {
		r.URL.Path = u.base.Path + r.URL.Path
		r.URL.RawPath = u.base.EscapedPath() + raw
	}
	r.RequestURI = ""
	if r.Header == nil {
		r.Header = http.Header{}
	}
	// A client that names headers in Connection could have them dropped on the way, such as those set below.
	if isUpgrade(r) {
		r.Header["Connection"] = []string{"Upgrade"}
	} else {
		delete(r.Header, "Connection")
	}
	StripIdentity(r.Header)
	if !own {
		return nil
	}
	if err := u.secret.apply(r); err != nil {
		return fmt.Errorf("reading the upstream credential: %w", err)
	}
	if by := p.Operation().Principal; !p.AsGateway() && u.impersonate(by) {
		as, err := localised(by, u.own(by))
		if err != nil {
			return err
		}
		impersonate(r.Header, as)
	}
	return nil
}

// hostPort is a URL's address, with the port that its scheme implies.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// refusal says why nothing came back: revoked, gone, or unreachable.
func refusal(ctx context.Context, p gate.Permit, err error) error {
	var r *access.Refusal
	if errors.As(context.Cause(ctx), &r) || errors.As(err, &r) {
		return r
	}
	target := p.Operation().Target.Name
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	switch {
	case errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &host):
		return access.Refuse(access.CodeUpstream, err, "the certificate of target %q is not trusted", target)
	case ctx.Err() != nil:
		return access.Refuse(access.CodeUpstream, err, "the client went away before target %q answered", target)
	}
	return access.Refuse(access.CodeUpstream, err, "target %q cannot be reached", target)
}

// Close closes idle connections.
func (u *Upstream) Close() {
	u.shared.CloseIdleConnections()
	u.alone.CloseIdleConnections()
	u.clear.CloseIdleConnections()
}

// identityPaths are what an issuer's keys and TokenReview need.
var identityPaths = []string{"GET /openid/v1/jwks", "GET /.well-known/openid-configuration", "POST /apis/authentication.k8s.io/v1/tokenreviews"}

// ForIdentity gives a client that asks this cluster about tokens, with the gateway's own credential. It is the one way
// out without a permit: it reaches the cluster's signing keys and TokenReview and nothing else.
func (u *Upstream) ForIdentity() *http.Client {
	return &http.Client{Transport: identityOnly{u}, Timeout: 10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Base is the upstream's URL.
func (u *Upstream) Base() string { return u.base.String() }

type identityOnly struct{ u *Upstream }

func (t identityOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), t.u.base.EscapedPath())
	if !ok || r.URL.Scheme != t.u.base.Scheme || r.URL.Host != t.u.base.Host || !slices.Contains(identityPaths, r.Method+" "+path) {
		return nil, fmt.Errorf("%s %s is not for asking about tokens", r.Method, r.URL.Redacted())
	}
	out := r.Clone(r.Context())
	StripIdentity(out.Header)
	if err := t.u.secret.apply(out); err != nil {
		return nil, fmt.Errorf("reading the upstream credential: %w", err)
	}
	return t.u.alone.RoundTrip(out)
}
