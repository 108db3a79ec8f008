package web

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/protocol"
	"gatebook/internal/wire/http1"
)

// intercept answers CONNECT, and then the requests in the tunnel as if by the host itself, under the gateway's own
// certificate. Nothing is dialled before a request is permitted.
func (p *Proxy) intercept(w http.ResponseWriter, r *http.Request, by protocol.Caller, t *ProxyTarget, origin *url.URL) {
	down, err := takeOver(w, r)
	if err != nil {
		p.o.Log.Warn("taking a connection over", "error", err)
		return
	}
	defer down.Close()
	stop := context.AfterFunc(r.Context(), func() { time.AfterFunc(protocol.CutGrace, func() { down.Close() }) })
	defer stop()
	in := &inside{proxy: p, by: by, target: t, origin: origin}
	tc := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: in.certificate}
	ctx, cancel := context.WithTimeout(r.Context(), p.o.HeaderTimeout)
	inner, err := http1.Accept(ctx, down, tc)
	cancel()
	if err != nil {
		p.o.Log.Debug("TLS handshake in a tunnel", "host", origin.Host, "error", err)
		return
	}
	l := &once{conn: inner, closed: make(chan struct{})}
	s := &http.Server{
		Handler: in, TLSConfig: tc, ReadHeaderTimeout: p.o.HeaderTimeout, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: p.o.HeaderBytes,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: p.o.Streams}, ErrorLog: slog.NewLogLogger(p.o.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return r.Context() },
		ConnState: func(c net.Conn, state http.ConnState) {
			http1.Watch(c, state)
			if state == http.StateClosed || state == http.StateHijacked {
				l.Close()
			}
		},
	}
	_ = s.Serve(l) // it ends with its one connection
	in.live.Wait() // WebSockets are not the HTTP server's any more
}

// once is a listener of one connection.
type once struct {
	conn   net.Conn
	mu     sync.Mutex
	given  bool
	end    sync.Once
	closed chan struct{}
}

func (o *once) Accept() (net.Conn, error) {
	o.mu.Lock()
	given := o.given
	o.given = true
	o.mu.Unlock()
	if !given {
		return o.conn, nil
	}
	<-o.closed
	return nil, net.ErrClosed
}

func (o *once) Close() error {
	o.end.Do(func() { close(o.closed) })
	return nil
}

func (o *once) Addr() net.Addr { return o.conn.LocalAddr() }

// inside answers the requests of one intercepted tunnel.
type inside struct {
	proxy  *Proxy
	by     protocol.Caller
	target *ProxyTarget
	origin *url.URL
	live   sync.WaitGroup
}

// certificate is for the host that the client asked to be connected to, and for no other.
func (i *inside) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := i.origin.Hostname()
	if hello.ServerName != "" && !strings.EqualFold(hello.ServerName, host) {
		return nil, fmt.Errorf("the tunnel is for %q, and the TLS in it for %q", host, hello.ServerName)
	}
	return i.proxy.o.Certificate(host)
}

func (i *inside) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.live.Add(1)
	defer i.live.Done()
	if d := i.proxy.o.BodyTimeout; d > 0 && r.Body != nil && r.Body != http.NoBody {
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(d)); err != nil {
			i.proxy.o.Log.Warn("a request's body cannot be given a time", "error", err)
			return
		}
	}
	h, by := i.target.Handler, i.by
	if r.Method == http.MethodConnect || r.URL.Host != "" || !sameHost(r.Host, i.origin) || len(r.Header["Host"]) > 0 || len(r.Header["Content-Length"]) > 1 {
		why := access.Refuse(access.CodeMalformed, nil, "the request is for %q, and came in a tunnel to %s", r.Host, i.origin.Host)
		x := h.newExchange(r, by, i.origin)
		x.op.Command = x.hidden(r.Method + " " + r.RequestURI)
		x.reject(why)
		h.Refuse(w, r, why)
		return
	}
	if v := r.Header["Traceparent"]; by.Trace == "" && len(v) == 1 && protocol.IsTrace(v[0]) {
		by.Trace = v[0]
	}
	h.serve(w, r, by, i.origin)
}
