package stream_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/util/proxy"
	apiproxy "k8s.io/apiserver/pkg/util/proxy"
	criportforward "k8s.io/cri-streaming/pkg/streaming/portforward"
	cri "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"

	"gatebook/internal/access"
	"gatebook/internal/protocol/kubernetes/stream"
	"gatebook/internal/recording"
	"gatebook/internal/wire/remotecommand"
)

// memory is a Book in memory. When full is set, it takes no more; when forgetful, it takes everything and keeps nothing.
type memory struct {
	mu     sync.Mutex
	bytes  map[string][]byte // by stream and direction
	frames []string
	sizes  []string
	full   error

	forgetful bool
}

func newMemory() *memory { return &memory{bytes: map[string][]byte{}} }

func (m *memory) Record(s recording.Stream, d recording.Direction, b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full != nil {
		return m.full
	}
	if m.forgetful {
		return nil
	}
	k := fmt.Sprintf("%s %s", s, d)
	m.bytes[k] = append(m.bytes[k], b...)
	m.frames = append(m.frames, k)
	return nil
}

func (m *memory) Resize(cols, rows uint16) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full != nil {
		return m.full
	}
	m.sizes = append(m.sizes, fmt.Sprintf("%dx%d", cols, rows))
	return nil
}

func (m *memory) get(k string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return string(m.bytes[k])
}

func (m *memory) fill(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full = err
}

// host runs commands as processes of this machine, in the place of a container runtime.
type host struct {
	ctx   context.Context       // ends the processes, with the test
	sizes chan cri.TerminalSize // told of each, when not nil
}

func (h host) ExecInContainer(ctx context.Context, _, _, _ string, cmd []string, in io.Reader, out, errOut io.WriteCloser,
	tty bool, resize <-chan cri.TerminalSize, _ time.Duration) error {
	if h.sizes != nil {
		go func() {
			for s := range resize {
				h.sizes <- s
			}
		}()
	}
	c := exec.CommandContext(h.ctx, cmd[0], cmd[1:]...)
	c.WaitDelay = time.Second
	if out != nil {
		c.Stdout = out
	}
	if errOut != nil {
		c.Stderr = errOut
	}
	if in != nil {
		// As runtimes do: the command's end does not wait for its input's.
		p, err := c.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			io.Copy(p, in)
			p.Close()
		}()
	}
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return utilexec.CodeExitError{Err: err, Code: exit.ExitCode()}
	}
	return err
}

func (h host) AttachContainer(ctx context.Context, name, uid, container string, in io.Reader, out, errOut io.WriteCloser,
	tty bool, resize <-chan cri.TerminalSize) error {
	return h.ExecInContainer(ctx, name, uid, container, []string{"cat"}, in, out, errOut, tty, resize, 0)
}

// runtime is a container runtime's streaming server, which speaks WebSocket up to version 4, and SPDY.
func runtime(t testing.TB, h host, forward criportforward.PortForwarder) *httptest.Server {
	var stop context.CancelFunc
	h.ctx, stop = context.WithCancel(context.Background())
	t.Cleanup(stop)
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if strings.HasSuffix(r.URL.Path, "/portforward") {
			opts, err := criportforward.NewV4Options(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			criportforward.ServePortForward(w, r, forward, "pod", "uid", opts, time.Minute, 5*time.Second, []string{"portforward.k8s.io"})
			return
		}
		o := &cri.Options{Stdin: q.Has("stdin"), Stdout: q.Has("stdout"), Stderr: q.Has("stderr"), TTY: q.Has("tty")}
		if o.TTY {
			o.Stderr = false
		}
		cri.ServeExec(w, r, h, "pod", "uid", "c", q["command"], o, time.Minute, 5*time.Second, cri.SupportedStreamingProtocols)
	}))
}

// apiServer proxies to a runtime as kube-apiserver does (pkg/registry/core/pod/rest), by its own handlers.
func apiServer(t testing.TB, to *httptest.Server) *httptest.Server {
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/missing/") {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"pods \"missing\" not found","reason":"NotFound","code":404}`)
			return
		}
		location, err := url.Parse(to.URL)
		if err != nil {
			panic(err)
		}
		location.Path, location.RawQuery = r.URL.Path, r.URL.RawQuery
		q := r.URL.Query()
		up := proxy.NewUpgradeAwareHandler(location, http.DefaultTransport, false, true, responder{})
		var h http.Handler = up
		if strings.HasSuffix(r.URL.Path, "/portforward") {
			h = apiproxy.NewTranslatingHandler(h, apiproxy.NewTunnelingHandler(up), wsstream.IsWebSocketRequestWithTunnelingProtocol)
		} else {
			h = apiproxy.NewTranslatingHandler(h, apiproxy.NewStreamTranslatorHandler(location, http.DefaultTransport, 0, apiproxy.Options{
				Stdin: q.Has("stdin"), Stdout: q.Has("stdout"), Stderr: q.Has("stderr"), Tty: q.Has("tty"),
			}), wsstream.IsWebSocketRequestWithStreamCloseProtocol)
		}
		h.ServeHTTP(w, r)
	}))
}

type responder struct{}

func (responder) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

func serve(t testing.TB, h http.Handler) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// to is the upstream's RoundTripper: it sets scheme and host.
type to struct {
	host string
	rt   http.RoundTripper
}

func (d to) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", d.host
	return d.rt.RoundTrip(r)
}

// gateway is the code under test behind a listener, with its book.
type gateway struct {
	*httptest.Server
	book     *memory
	cut      context.CancelCauseFunc
	outcomes chan access.Outcome
}

func newGateway(t testing.TB, upstream *httptest.Server, masks stream.Masks) *gateway {
	ctx, cut := context.WithCancelCause(context.Background())
	g := &gateway{book: newMemory(), cut: cut, outcomes: make(chan access.Outcome, 16)}
	rt := &http.Transport{}
	t.Cleanup(rt.CloseIdleConnections)
	t.Cleanup(func() { cut(nil) })
	if masks.Record == nil {
		masks.Record, masks.Digest = func(dst io.Writer) stream.Text { return literal(dst) }, digest
	}
	g.Server = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, why := stream.ReadUpgrade(r)
		if why != nil || kind == stream.None {
			w.Header().Set("Connection", "close")
			http.Error(w, fmt.Sprint(why), http.StatusBadRequest)
			return
		}
		s := stream.Session{
			Kind: kind, Upstream: to{strings.TrimPrefix(upstream.URL, "http://"), rt}, Header: http.Header{},
			URL: &url.URL{Path: r.URL.Path, RawQuery: r.URL.RawQuery}, Book: g.book, Masks: masks,
			Refuse: func(w http.ResponseWriter, _ *http.Request, why *access.Refusal) int {
				http.Error(w, why.Error(), http.StatusForbidden)
				return http.StatusForbidden
			},
			Answer: func(w http.ResponseWriter, _ *http.Request, resp *http.Response) access.Outcome {
				defer resp.Body.Close()
				w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
				w.WriteHeader(resp.StatusCode)
				io.Copy(w, resp.Body)
				return access.Outcome{Code: resp.StatusCode, ExitCode: -1}
			},
		}
		if strings.HasSuffix(r.URL.Path, "/portforward") {
			g.outcomes <- s.Forward(ctx, w, r, ports(r.URL.Query()))
			return
		}
		q := r.URL.Query()
		g.outcomes <- s.Command(ctx, w, r, remotecommand.Streams{
			Stdin: q.Has("stdin"), Stdout: q.Has("stdout"), Stderr: q.Has("stderr"), TTY: q.Has("tty"),
		})
	}))
	return g
}

func ports(q url.Values) []uint16 {
	var out []uint16
	for _, s := range q["ports"] {
		var n uint16
		fmt.Sscan(s, &n)
		out = append(out, n)
	}
	return out
}

// text replaces given secrets by one placeholder; the obvious implementation.
type text struct {
	dst     io.Writer
	secrets []string
	buf     []byte
	masked  int64
}

const placeholder = "gbm-placeholder"

func literal(dst io.Writer, secrets ...string) *text { return &text{dst: dst, secrets: secrets} }

func (x *text) Write(p []byte) (int, error) {
	x.buf = append(x.buf, p...)
	for _, s := range x.secrets {
		x.masked += int64(bytes.Count(x.buf, []byte(s)))
		x.buf = bytes.ReplaceAll(x.buf, []byte(s), []byte(placeholder))
	}
	// What may be a secret's beginning is held back.
	hold := 0
	for _, s := range x.secrets {
		for n := min(len(s)-1, len(x.buf)); n > hold; n-- {
			if strings.HasPrefix(s, string(x.buf[len(x.buf)-n:])) {
				hold = n
			}
		}
	}
	n := len(x.buf) - hold
	_, err := x.dst.Write(x.buf[:n])
	x.buf = x.buf[n:]
	return len(p), err
}

func (x *text) Close() error {
	_, err := x.dst.Write(x.buf)
	x.buf = nil
	return err
}

func (x *text) Flush() error  { return nil }
func (x *text) Held() int     { return len(x.buf) }
func (x *text) Masked() int64 { return x.masked }

func digest(s recording.Stream, at int64, b []byte) string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s %d %s", s, at, b)))
}

func hiding(secrets ...string) stream.Masks {
	f := func(dst io.Writer) stream.Text { return literal(dst, secrets...) }
	return stream.Masks{Client: f, Record: f, Digest: digest}
}

// noLeaks fails the test if a goroutine is left when everything is shut down.
func noLeaks(t testing.TB) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		// The client's own heartbeat ends only when its next beat fails.
		beat := goleak.IgnoreAnyFunction("k8s.io/client-go/tools/remotecommand.(*heartbeat).start")
		// In version 1 what reads the error is left behind where another stream fails first.
		errors1 := goleak.IgnoreAnyFunction("k8s.io/client-go/tools/remotecommand.(*streamProtocolV1).stream.func2")
		// A runtime that resets a stream before it has answered its opening waits for that answer for ever.
		unanswered := goleak.IgnoreAnyFunction("k8s.io/cri-streaming/pkg/streaming/portforward.(*httpStreamHandler).portForward")
		var err error
		for range 4 { // the client's spdystream takes a second to notice some ends
			if err = goleak.Find(before, beat, errors1, unanswered); err == nil {
				return
			}
		}
		t.Error(err)
	})
}
