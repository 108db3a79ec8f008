package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatebook/internal/protocol"
)

// proxyRelay is an HTTP proxy on this machine, for programs that speak no TLS to theirs: it adds the token, and speaks TLS
// to the gateway. Who uses it has to show its key, which nobody else on this machine can read.
type proxyRelay struct {
	gateway *url.URL
	key     string
	tls     *tls.Config
	token   func(context.Context) (string, error)
	clear   http.RoundTripper // for requests of scheme http
	// trace is that of the command which is run, where a request says none; empty where it serves others.
	trace string
}

// runProxy serves as the proxy of a command, or of whoever is told.
func (o *connectOptions) runProxy(cmd *cobra.Command, command []string) error {
	x, err := o.open()
	if err != nil {
		return err
	}
	defer x.Close()
	if _, err := x.WhoAmI(cmd.Context()); err != nil { // that there is no login is said here, and not to each program
		return err
	}
	p, err := o.proxyRelay()
	if err != nil {
		return err
	}
	if o.listen == "" {
		o.listen = "127.0.0.1:0"
	}
	l, err := o.listenHere()
	if err != nil {
		return err
	}
	defer l.Close()
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	s := &http.Server{Handler: p, ReadHeaderTimeout: 20 * time.Second, ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx }}
	context.AfterFunc(ctx, func() { s.Close() })
	defer s.Close() // before the listener's own
	serve := func() error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving clients: %w", err)
		}
		return nil
	}
	env := p.env(l.Addr().String())
	if len(command) == 0 {
		for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "NODE_USE_ENV_PROXY", "GATEBOOK_PROXY"} {
			fmt.Fprintf(cmd.OutOrStdout(), "export %s=%s\n", name, shellQuote(env[name]))
		}
		return serve()
	}
	p.trace = os.Getenv("TRACEPARENT")
	go func() {
		if err := serve(); err != nil {
			slog.Error("the proxy has ended", "error", err)
		}
	}()
	done, err := o.trusting(env)
	if err != nil {
		return err
	}
	defer done()
	return runWith(ctx, command, env)
}

func (o *connectOptions) proxyRelay() (*proxyRelay, error) {
	u, err := url.Parse(o.Gateway)
	if err != nil || u.Hostname() == "" {
		return nil, usageError{fmt.Errorf("%q is no URL of a gateway", o.Gateway)}
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "443")
	}
	var key [24]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, err
	}
	p := &proxyRelay{gateway: &url.URL{Scheme: "https", Host: u.Host}, key: hex.EncodeToString(key[:]), tls: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname(), NextProtos: []string{"http/1.1"}},
		token: func(ctx context.Context) (string, error) {
			t, err := o.token(ctx)
			return t.ID, err
		}}
	ca, err := o.ca()
	if err != nil {
		return nil, err
	}
	if ca != nil {
		p.tls.RootCAs = x509.NewCertPool()
		if !p.tls.RootCAs.AppendCertsFromPEM(ca) {
			return nil, usageError{fmt.Errorf("%s holds no certificate", o.CA)}
		}
	}
	p.clear = &http.Transport{Proxy: http.ProxyURL(p.gateway), TLSClientConfig: p.tls, DisableCompression: true, IdleConnTimeout: time.Minute}
	return p, nil
}

// env is what sends programs here.
func (p *proxyRelay) env(address string) map[string]string {
	here := "http://gatebook:" + p.key + "@" + address
	direct := "localhost,127.0.0.1," + p.gateway.Hostname()
	return map[string]string{"HTTP_PROXY": here, "http_proxy": here, "HTTPS_PROXY": here, "https_proxy": here, "NO_PROXY": direct, "no_proxy": direct,
		"NODE_USE_ENV_PROXY": "1", "GATEBOOK_PROXY": p.key + "@" + address}
}

// trusting adds what makes a command trust the gateway's own CA, by which it answers for hosts where it intercepts, beside those
// that this machine trusts.
func (o *connectOptions) trusting(env map[string]string) (done func(), err error) {
	ca, err := o.ca()
	if err != nil || ca == nil {
		return func() {}, err
	}
	dir, err := os.MkdirTemp("", "gatebook")
	if err != nil {
		return nil, fmt.Errorf("writing the gateway's CA: %w", err)
	}
	done = func() {
		if err := os.RemoveAll(dir); err != nil {
			slog.Warn("removing what a command was to trust", "error", err)
		}
	}
	bundle := filepath.Join(dir, "bundle.crt")
	if err := os.WriteFile(bundle, []byte(systemCAs()+string(ca)), 0o600); err != nil {
		done()
		return nil, fmt.Errorf("writing the gateway's CA: %w", err)
	}
	for _, name := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"} {
		env[name] = bundle
	}
	return done, nil
}

// errNotTaken is what a gateway's 407 is to a program that has shown all it has.
var errNotTaken = errors.New("the gateway does not take the token")

func failProxy(w http.ResponseWriter, err error) {
	slog.Warn("a request did not get through", "error", err)
	http.Error(w, "gatebook connect: "+err.Error(), http.StatusBadGateway)
}

// ServeHTTP takes one request to the gateway.
func (p *proxyRelay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, ok := p.admit(r)
	if !ok {
		w.Header().Set("Proxy-Authenticate", `Basic realm="gatebook connect"`)
		http.Error(w, "gatebook connect: use the address of the proxy as it was given, with its key", http.StatusProxyAuthRequired)
		return
	}
	if r.Method != http.MethodConnect && r.URL.Host == "" {
		http.Error(w, "gatebook connect: this is an HTTP proxy", http.StatusBadRequest)
		return
	}
	token, err := p.token(r.Context())
	if err != nil {
		failProxy(w, err)
		return
	}
	if !protocol.IsTrace(user) {
		user = p.trace
	}
	if protocol.IsTrace(user) {
		token += "~" + user
	}
	if r.Method == http.MethodConnect {
		p.connect(w, r, token)
		return
	}
	(&httputil.ReverseProxy{
		Transport:     p.clear,
		Rewrite:       func(pr *httputil.ProxyRequest) { pr.Out.Header.Set("Proxy-Authorization", "Bearer "+token) },
		FlushInterval: -1,
		ModifyResponse: func(r *http.Response) error {
			if r.StatusCode == http.StatusProxyAuthRequired {
				return errNotTaken
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { failProxy(w, err) },
		ErrorLog:     slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}).ServeHTTP(w, r)
}

// admit asks for the key; the user may be a traceparent.
func (p *proxyRelay) admit(r *http.Request) (user string, ok bool) {
	own := http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	user, key, ok := own.BasicAuth()
	return user, ok && len(r.Header["Proxy-Authorization"]) == 1 && subtle.ConstantTimeCompare([]byte(key), []byte(p.key)) == 1
}

// connect opens a tunnel through the gateway.
func (p *proxyRelay) connect(w http.ResponseWriter, r *http.Request, token string) {
	up, err := (&tls.Dialer{Config: p.tls}).DialContext(r.Context(), "tcp", p.gateway.Host)
	if err != nil {
		failProxy(w, fmt.Errorf("reaching the gateway: %w", err))
		return
	}
	defer up.Close()
	defer context.AfterFunc(r.Context(), func() { up.Close() })()
	if strings.ContainsAny(r.Host, " \r\n") {
		failProxy(w, errors.New("the host cannot be read"))
		return
	}
	if _, err := fmt.Fprintf(up, "CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\nProxy-Authorization: Bearer %[2]s\r\n\r\n", r.Host, token); err != nil {
		failProxy(w, fmt.Errorf("reaching the gateway: %w", err))
		return
	}
	in := bufio.NewReader(up)
	resp, err := http.ReadResponse(in, r)
	switch {
	case err != nil:
		failProxy(w, fmt.Errorf("reading the gateway's answer: %w", err))
		return
	case resp.StatusCode == http.StatusProxyAuthRequired:
		failProxy(w, errNotTaken)
		return
	case resp.StatusCode != http.StatusOK:
		defer resp.Body.Close()
		for _, name := range []string{"Content-Type", "Retry-After"} {
			if v := resp.Header.Get(name); v != "" {
				w.Header().Set(name, v)
			}
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body) // what cannot be written any more has no reader
		return
	}
	down, rest, err := http.NewResponseController(w).Hijack()
	if err != nil {
		failProxy(w, err)
		return
	}
	defer down.Close()
	if _, err := io.WriteString(down, "HTTP/1.1 200 Connection Established\r\n\r\n"); err != nil {
		return // the client has gone
	}
	ends := make(chan struct{}, 2)
	carry := func(dst net.Conn, src io.Reader) {
		_, err := io.Copy(dst, src)
		if c, ok := dst.(interface{ CloseWrite() error }); ok && err == nil {
			err = c.CloseWrite()
		}
		if err != nil {
			dst.Close()
		}
		ends <- struct{}{}
	}
	go carry(up, rest.Reader)
	go carry(down, in)
	<-ends
	<-ends
}
