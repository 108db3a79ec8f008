package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serve has net/http serve one connection as the gateway does, and gives the client's side of it, and what is closed when
// net/http is done with it.
func serve(t *testing.T, h http.HandlerFunc) (client *tls.Conn, done <-chan struct{}) {
	t.Helper()
	lent := httptest.NewUnstartedServer(nil) // for its certificate
	lent.StartTLS()
	lent.Close()
	ours, theirs := net.Pipe()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := Accept(context.Background(), theirs, &tls.Config{Certificates: lent.TLS.Certificates, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	c := tls.Client(ours, &tls.Config{InsecureSkipVerify: true}) // in memory
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	state := func(c net.Conn, s http.ConnState) {
		if Watch(c, s); s == http.StateClosed {
			close(ended)
		}
	}
	s := &http.Server{Handler: h, ConnState: state, ErrorLog: log.New(io.Discard, "", 0)}
	l := &one{conns: accepted, closed: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		c.Close()
		s.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return c, ended
}

// one is a listener of one connection.
type one struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *one) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *one) Close() error { close(l.closed); return nil }
func (*one) Addr() net.Addr { return &net.TCPAddr{} }

// H69: what is sent behind a request that asks for another protocol, in the same segment or later, is no request.
func TestH69NoRequestBehindAnUpgrade(t *testing.T) {
	for name, ask := range map[string]string{
		"upgrade":               "GET /first HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
		"upgrade in Connection": "GET /first HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"upgrade with a body":   "POST /first HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
		"connect":               "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n",
	} {
		for _, apart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, apart %v", name, apart), func(t *testing.T) {
				var asked atomic.Int64
				c, done := serve(t, func(w http.ResponseWriter, r *http.Request) {
					asked.Add(1)
					_, _ = io.WriteString(w, r.URL.Path)
				})
				both := ask + strings.Repeat("GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", 3)
				if apart {
					for i := range len(both) {
						if _, err := io.WriteString(c, both[i:i+1]); err != nil {
							break // it was closed after the answer
						}
					}
				} else if _, err := io.WriteString(c, both); err != nil {
					t.Fatal(err)
				}
				b, _ := io.ReadAll(c) // how it is closed is no matter
				<-done
				if n := strings.Count(string(b), "HTTP/1.1 "); n != 1 || asked.Load() != 1 || strings.Contains(string(b), "smuggled") {
					t.Errorf("%d requests were served, and answered: %q", asked.Load(), b)
				}
			})
		}
	}
}

// Whoever hijacks a connection has all that came behind the request.
func TestHijackedHasAll(t *testing.T) {
	const behind = "\x16 in the same segment"
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		got := make([]byte, len(behind)+len(", and later"))
		if buf.Reader.Buffered() > 0 {
			t.Errorf("net/http has %d bytes that are no HTTP", buf.Reader.Buffered())
		}
		if _, err := io.WriteString(conn, "go on\n"); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != behind+", and later" {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := io.WriteString(conn, "bye"); err != nil {
			t.Error(err)
		}
	})
	if _, err := io.WriteString(c, "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n"+behind); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, len("go on\n"))); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, ", and later"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); string(b) != "bye" {
		t.Errorf("%q, %v", b, err)
	}
}

// A client that goes on without end in a protocol that nobody granted is cut off, and what it said is not kept without bound.
func TestBeyondIsBounded(t *testing.T) {
	r := &reader{r: io.MultiReader(strings.NewReader("CONNECT x:1 HTTP/1.1\r\n\r\n"), endless{})}
	b, err := io.ReadAll(r)
	if !errors.Is(err, errUnasked) || string(b) != "CONNECT x:1 HTTP/1.1\r\n\r\n" || len(r.held) > maxHeld+4<<10 {
		t.Errorf("%q, %v, %d held", b, err, len(r.held))
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }
