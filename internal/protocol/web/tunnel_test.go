package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/credential"
)

// tunnelled is a client's TLS with a host, through a tunnel of the gateway's.
type tunnelled struct {
	*tls.Conn
	outer   net.Conn     // the client's connection to the gateway, below its TLS
	end     func()       // says that nothing more comes
	reset   func()       // of HTTP/2: gives up the stream
	upgoing *net.TCPConn // the host's side
}

// openTunnel connects, by HTTP/1.1 or HTTP/2, to a host that sends back what it gets.
func (w *world) openTunnel(t *testing.T, overHTTP2 bool) *tunnelled {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	accepted := make(chan *net.TCPConn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		accepted <- c.(*net.TCPConn)
		s := tls.Server(c, &tls.Config{Certificates: w.back.TLS.Certificates})
		_, _ = io.Copy(s, s)
		s.Close()
	}()
	host := l.Addr().String()
	up, err := credential.New(credential.Options{Secret: credential.Token(func() (string, error) { return "x", nil }), Forward: func(string, string) bool { return true }})
	must(t, err)
	t.Cleanup(up.Close)
	o := w.h.o
	o.Upstream = up
	h, err := New(o)
	must(t, err)
	hosts, err := ParseHosts([]string{host})
	must(t, err)
	p, err := NewProxy(ProxyOptions{Targets: []ProxyTarget{{Handler: h, Hosts: hosts}}})
	must(t, err)
	w.front.Close()
	w.front = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.live.Add(1)
		defer w.live.Done()
		p.Serve(rw, r, caller)
	}))
	w.front.EnableHTTP2 = true
	w.front.StartTLS()
	t.Cleanup(w.front.Close)
	out := &tunnelled{}
	var through net.Conn
	if overHTTP2 {
		through = out.connect2(t, w, host)
	} else {
		through = out.connect1(t, w, host)
	}
	out.Conn = tls.Client(through, &tls.Config{InsecureSkipVerify: true})
	out.SetDeadline(time.Now().Add(time.Minute))
	_, err = io.WriteString(out, "hello")
	must(t, err)
	var b [5]byte
	if _, err := io.ReadFull(out, b[:]); err != nil || string(b[:]) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
	out.upgoing = <-accepted
	return out
}

func (o *tunnelled) connect1(t *testing.T, w *world, host string) net.Conn {
	t.Helper()
	var err error
	o.outer, err = net.Dial("tcp", w.front.Listener.Addr().String())
	must(t, err)
	t.Cleanup(func() { o.outer.Close() })
	c := tls.Client(o.outer, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", host, host)
	in := bufio.NewReader(c)
	for line := ""; line != "\r\n"; {
		line, err = in.ReadString('\n')
		must(t, err)
	}
	o.end = func() { c.CloseWrite() }
	return c
}

// piped is a connection made of a request's body and its answer's.
type piped struct {
	listening
	w *io.PipeWriter
}

func (p piped) Write(b []byte) (int, error) { return p.w.Write(b) }

func (o *tunnelled) connect2(t *testing.T, w *world, host string) net.Conn {
	t.Helper()
	tr := w.front.Client().Transport.(*http.Transport).Clone()
	tr.DialTLSContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		var err error
		if o.outer, err = net.Dial(network, w.front.Listener.Addr().String()); err != nil {
			return nil, err
		}
		c := tls.Client(o.outer, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		return c, c.HandshakeContext(ctx)
	}
	t.Cleanup(tr.CloseIdleConnections)
	r, pw := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, "https://"+host, r)
	must(t, err)
	resp, err := tr.RoundTrip(req)
	must(t, err)
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 {
		t.Fatal(resp.Proto, resp.Status)
	}
	o.end, o.reset = func() { pw.Close() }, func() { resp.Body.Close() }
	return piped{listening{resp.Body}, pw}
}

// A tunnel whose client or host breaks off is on record as cut, and only one that both have ended as whole. Over HTTP/1.1 a
// connection that its client closes has ended.
func TestTunnelsThatBreak(t *testing.T) {
	abort := func(c net.Conn) {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	const both, one, two, none = 3, 1, 2, 0
	for name, c := range map[string]struct {
		end   func(*tunnelled)
		whole int // over which version of HTTP
		only2 bool
	}{
		"ended":                     {end: func(o *tunnelled) { o.end() }, whole: both},
		"ended in the tunnel, too":  {end: func(o *tunnelled) { o.Conn.CloseWrite(); o.end() }, whole: both},
		"the client's connection":   {end: func(o *tunnelled) { o.outer.Close() }, whole: one},
		"the client's, reset":       {end: func(o *tunnelled) { abort(o.outer) }, whole: none},
		"the host's, reset":         {end: func(o *tunnelled) { abort(o.upgoing) }, whole: none},
		"the stream, by its client": {end: func(o *tunnelled) { o.reset() }, whole: none, only2: true},
	} {
		for _, version := range []int{one, two} {
			if c.only2 && version == one {
				continue
			}
			t.Run(fmt.Sprintf("%s, HTTP/%d", name, version), func(t *testing.T) {
				w := newWorld(t, reply(200, "text/plain", "fine"))
				o := w.openTunnel(t, version == two)
				c.end(o)
				if name == "ended" {
					if b, err := io.ReadAll(o); len(b) > 0 || err != nil {
						t.Errorf("the host's goodbye did not come: %q, %v", b, err)
					}
				}
				w.live.Wait()
				got := w.rows()[0].Outcome
				if got == nil || (got.Truncated == "") != (c.whole&version != 0) || got.RequestBytes == 0 || got.ResponseBytes == 0 || got.Code != 200 {
					t.Errorf("on record is %+v", got)
				}
			})
		}
	}
}

// A credential that nobody knew is recorded as a placeholder, and sent as it is, in what a client says by WebSocket.
func TestCredentialsInMessagesAreNotRecorded(t *testing.T) {
	key := "gh" + "p_" + strings.Repeat("Aa9xQz", 6)
	got := make(chan string, 1)
	w := newWorld(t, hears(t, got))
	w.decide = func(*access.Operation) access.Decision { return access.Decision{Effect: access.Allow} }
	c := w.dialSocket(t, nil)
	must(t, c.Write(t.Context(), 1, []byte("it is "+key)))
	if s := <-got; s != "it is "+key {
		t.Errorf("the service got %q", s)
	}
	if _, b, err := c.Read(t.Context()); err != nil || string(b) != "fine" {
		t.Errorf("%q, %v", b, err)
	}
	c.CloseNow()
	if b := w.recorded(); strings.Contains(b, key) || !strings.Contains(b, "it is "+access.PlaceholderPrefix) {
		t.Errorf("the record is %d bytes, and not what it should be", len(b))
	}
}

// A stream that was reset does not end as one that was ended.
func TestStreamsThatAreReset(t *testing.T) {
	why := errors.New("reset")
	for want, body := range map[error]io.Reader{io.EOF: strings.NewReader(""), why: iotest.ErrReader(why)} {
		s := newStream(httptest.NewRecorder(), body)
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		s.Close()
	}
}
