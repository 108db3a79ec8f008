package credential

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
)

// breaking is an upstream that declines the first upgrade, and breaks the connection without a word once it has read another:
// as one does that dies while it starts what was asked for.
func breaking(t *testing.T, f *far, upgrades *atomic.Int32) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: f.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	serve := func(c net.Conn) {
		defer c.Close()
		for r := bufio.NewReader(c); ; {
			if _, err := http.ReadRequest(r); err != nil || upgrades.Add(1) > 1 {
				return
			}
			if _, err := c.Write([]byte("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return "https://" + l.Addr().String()
}

// I83: an exec that was sent is never sent again by itself, also where its connection breaks before an answer: the command may
// run already. Over WebSocket it is a GET, which Go's transport repeats where the connection served another request before.
func TestUpgradesAreSentOnce(t *testing.T) {
	f := newFar(t)
	var upgrades atomic.Int32
	u := newUpstream(t, Options{URL: breaking(t, f, &upgrades), CA: f.ca()})
	exec := func() error {
		_, err := send(t, u, permit(t, agent), "/api/v1/namespaces/a/pods/b/exec?command=rm", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}})
		return err
	}
	if err := exec(); err != nil { // the connection is kept
		t.Fatal(err)
	}
	if err := exec(); err == nil {
		t.Fatal("there is an answer")
	}
	if n := upgrades.Load(); n != 2 {
		t.Errorf("two execs were sent %d times", n)
	}
}

// The same for anything that a person approved: a GET through a proxy is repeated just so.
func TestApprovedIsSentOnce(t *testing.T) {
	f := newFar(t)
	var requests atomic.Int32
	u := newUpstream(t, Options{URL: breaking(t, f, &requests), CA: f.ca()})
	for range 2 {
		_, err := send(t, u, permitAs(t.Context(), t, agent, asApproved), "/api/v1/namespaces/a/pods/b/proxy/run", nil)
		if err == nil && requests.Load() > 1 {
			t.Fatal("there is an answer")
		}
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("two requests were sent %d times", n)
	}
}
