package attack

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// allowAllWeb lets every request through, so that a test is about something else; the default masks stay on.
const allowAllWeb = `masking: [secrets, known]
rules:
  - {id: everything, protocol: web, effect: allow, reason: a test allows everything}
`

// webScene is an agent behind a gateway in front of a service, target shop.
type webScene struct {
	t     *testing.T
	g     *lab.Gateway
	u     *lab.Upstream
	agent string
	roots *x509.CertPool
}

// newWebScene has more as further YAML of the target, indented by four spaces. In it PORT-LISTEN and PORT-ADMIN stand for the gateway's
// own ports, and PORT-SHOP for the service's.
func newWebScene(t *testing.T, o lab.Options, more string, h http.HandlerFunc) *webScene {
	t.Helper()
	s := &webScene{t: t, u: lab.StartUpstream(t, true, h)}
	u, err := url.Parse(s.u.URL)
	if err != nil {
		t.Fatal(err)
	}
	target := strings.ReplaceAll(s.u.Target("shop", "    protocol: web\n"+more), "    accounts: [lab]\n", "")
	o.Targets = strings.ReplaceAll(target, "PORT-SHOP", u.Port()) + o.Targets
	late := strings.Contains(o.Targets, "PORT-")
	o.Targets = strings.NewReplacer("PORT-LISTEN", "1", "PORT-ADMIN", "2").Replace(o.Targets)
	s.g = lab.StartBareGateway(t, binary, o)
	if late {
		s.g.Stop()
		file := s.g.Dir + "/config.yaml"
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("127.0.0.1:1'", "127.0.0.1:"+port(s.g.URL)+"'", "127.0.0.1:2'", "127.0.0.1:"+port(s.g.Admin)+"'").Replace(string(b))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.g.Start()
	}
	s.agent = s.g.Person("claude", "agents")
	ca, err := os.ReadFile(s.g.Data("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	s.roots = x509.NewCertPool()
	s.roots.AppendCertsFromPEM(ca)
	return s
}

func port(raw string) string { return raw[strings.LastIndexByte(raw, ':')+1:] }

func webPolicy(text string) lab.Options {
	return lab.Options{Policy: map[string]string{"web.yaml": text}}
}

// conn is a TLS connection to the gateway, as a client makes it that speaks HTTP/1.1.
func (s *webScene) conn(serverName string) (*tls.Conn, *bufio.Reader) {
	s.t.Helper()
	c, err := tls.Dial("tcp", "localhost:"+port(s.g.URL), &tls.Config{RootCAs: s.roots, ServerName: serverName, InsecureSkipVerify: serverName != "localhost"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		s.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// raw sends bytes, in which TOKEN stands for the agent's header, and gives the answers until n have come or the gateway closes, which
// it is to do then.
func (s *webScene) raw(n int, bytes string) (answers []*http.Response, closed bool) {
	s.t.Helper()
	c, r := s.conn("localhost")
	answers = s.exchange(c, r, n, bytes)
	return answers, s.closes(c, r)
}

// exchange sends such bytes on a connection that is there, and gives the answers until n have come or the gateway closes.
func (s *webScene) exchange(c *tls.Conn, r *bufio.Reader, n int, bytes string) (answers []*http.Response) {
	s.t.Helper()
	if err := c.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(c, strings.ReplaceAll(bytes, "TOKEN", "Authorization: Bearer "+s.agent)); err != nil {
		return nil
	}
	for range n {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return answers
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return answers
		}
		resp.Body = io.NopCloser(strings.NewReader(string(b)))
		answers = append(answers, resp)
	}
	return answers
}

// closes waits until the gateway closes a connection; it says no where anything comes first.
func (s *webScene) closes(c *tls.Conn, r *bufio.Reader) bool {
	s.t.Helper()
	if err := c.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		s.t.Fatal(err)
	}
	_, err := r.ReadByte()
	var late net.Error
	return err != nil && !(errors.As(err, &late) && late.Timeout())
}

// goesOn says whether the next request on a connection is answered.
func (s *webScene) goesOn(c *tls.Conn, r *bufio.Reader) bool {
	s.t.Helper()
	answers := s.exchange(c, r, 1, "GET /t/shop/next HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n\r\n")
	return len(answers) == 1 && answers[0].StatusCode == http.StatusOK
}

// records are the operations in the index, once there are n of them.
func (s *webScene) records(n int) []access.Record {
	s.t.Helper()
	x := s.g.API(s.g.Person("audrey", "auditors"))
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(30 * time.Millisecond) {
		page, err := x.Operations(s.t.Context(), client.Query{})
		if err != nil {
			s.t.Fatal(err)
		}
		if len(page.Items) >= n || time.Now().After(deadline) {
			if len(page.Items) != n {
				s.t.Errorf("%d operations, want %d: %+v", len(page.Items), n, page.Items)
			}
			return page.Items
		}
	}
}

// connect asks the gateway for a tunnel.
func (s *webScene) connect(address, authorization string) (net.Conn, *http.Response) {
	s.t.Helper()
	c, r := s.conn("localhost")
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", address, address, authorization)
	resp, err := http.ReadResponse(r, &http.Request{Method: "CONNECT"})
	if err != nil {
		s.t.Fatal(err)
	}
	return &readAhead{c, r}, resp
}

// connect2 is connect over HTTP/2.
func (s *webScene) connect2(address, authorization string) (net.Conn, *http.Response) {
	s.t.Helper()
	c, err := tls.Dial("tcp", "localhost:"+port(s.g.URL), &tls.Config{RootCAs: s.roots, NextProtos: []string{"h2"}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	r, w := io.Pipe()
	s.t.Cleanup(func() { w.Close() })
	ask := &http.Request{Method: "CONNECT", URL: &url.URL{Scheme: "https", Host: "localhost"}, Host: address, Body: r, Header: http.Header{}}
	if name, value, ok := strings.Cut(strings.TrimSpace(authorization), ": "); ok {
		ask.Header.Set(name, value)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), lab.Patience)
	s.t.Cleanup(cancel)
	resp, err := clientOn(s.t, c, "h2").Transport.RoundTrip(ask.WithContext(ctx))
	if err != nil {
		s.t.Fatal(err)
	}
	return &streamConn{c, resp.Body, w}, resp
}

type streamConn struct {
	net.Conn
	r io.Reader
	w io.Writer
}

func (c *streamConn) Read(b []byte) (int, error)  { return c.r.Read(b) }
func (c *streamConn) Write(b []byte) (int, error) { return c.w.Write(b) }

func (s *webScene) proxyToken() string { return "Proxy-Authorization: Bearer " + s.agent + "\r\n" }

type readAhead struct {
	net.Conn
	r io.Reader
}

func (c *readAhead) Read(b []byte) (int, error) { return c.r.Read(b) }

// clientOn is a client that uses one TLS connection, which is there.
func clientOn(t *testing.T, c *tls.Conn, version string) *http.Client {
	var given atomic.Bool
	tr := &http.Transport{Protocols: new(http.Protocols), DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if given.Swap(true) { // it is about to be free again
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return c, nil
	}}
	tr.Protocols.SetHTTP1(version == "http/1.1")
	tr.Protocols.SetHTTP2(version == "h2")
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}
