package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/protocol"
)

// seen is a handler that writes what reached it.
type seen struct{ hold chan struct{} }

func (h seen) Serve(w http.ResponseWriter, r *http.Request, by protocol.Caller) {
	if h.hold != nil {
		h.hold <- struct{}{}
		<-r.Context().Done()
		return
	}
	_, _ = io.WriteString(w, by.Principal.Name+" "+string(by.Session)+" "+r.URL.Path+" "+r.URL.EscapedPath()+" auth="+r.Header.Get("Authorization"))
}

func (seen) Refuse(w http.ResponseWriter, _ *http.Request, why *access.Refusal) {
	http.Error(w, string(why.Code), http.StatusUnauthorized)
}

func start(t *testing.T, h protocol.Handler, change ...func(*Options)) (*Server, *http.Client, string) {
	t.Helper()
	dir := t.TempDir()
	cert, key, err := SelfMade(dir, []string{"127.0.0.1", "prod.example"})
	if err != nil {
		t.Fatal(err)
	}
	tc, err := Reloaded(cert, key, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Authenticate: func(_ context.Context, token string) (access.Principal, error) {
			if token != "good" {
				return access.Principal{}, access.Refuse(access.CodeUnauthenticated, nil, "no")
			}
			return access.Principal{Issuer: "i", Subject: "s", Name: "ada"}, nil
		},
		Session: func(access.Principal, string) access.SessionID { return "S" },
		Targets: map[string]protocol.Handler{"prod": h}, Hosts: map[string]string{"prod.example": "prod"},
		Own: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "own "+r.URL.Path) }),
		TLS: tc, HeaderTimeout: 5 * time.Second, HeaderBytes: 64 << 10, Streams: 100,
	}
	for _, c := range change {
		c(&o)
	}
	s := New(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	pem, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return s, &http.Client{Transport: tr}, "https://" + l.Addr().String()
}

func get(t *testing.T, c *http.Client, url, host string, auth ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	for _, a := range auth {
		r.Header.Add("Authorization", a)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestRouting(t *testing.T) {
	_, c, url := start(t, seen{})
	for _, x := range []struct {
		name, path, host string
		auth             []string
		code             int
		body             string
	}{
		{"by path", "/t/prod/api/v1", "", []string{"Bearer good"}, 200, "ada S /api/v1 /api/v1 auth="},
		{"escapes survive", "/t/prod/a%2Fb", "", []string{"Bearer good"}, 200, "ada S /a/b /a%2Fb auth="},
		{"target alone", "/t/prod", "", []string{"bearer good"}, 200, "ada S / / auth="},
		{"by host", "/gate", "prod.example", []string{"Bearer good"}, 200, "ada S /gate /gate auth="},
		{"own", "/gatebook/v1/x", "prod.example", nil, 200, "own /gatebook/v1/x"},
		{"no token", "/t/prod/api", "", nil, 401, "Unauthenticated\n"},
		{"bad token", "/t/prod/api", "", []string{"Bearer bad"}, 401, "Unauthenticated\n"},
		{"two tokens", "/t/prod/api", "", []string{"Bearer good", "Bearer good"}, 401, "Unauthenticated\n"},
		{"basic", "/t/prod/api", "", []string{"Basic good"}, 401, "Unauthenticated\n"},
	} {
		t.Run(x.name, func(t *testing.T) {
			if code, body := get(t, c, url+x.path, x.host, x.auth...); code != x.code || body != x.body {
				t.Errorf("got %d %q, want %d %q", code, body, x.code, x.body)
			}
		})
	}
	for _, path := range []string{"/", "/t/", "/t/other/api", "/api/v1", "/k%2Fprod/api", "/gatebook"} {
		if code, body := get(t, c, url+path, "", "Bearer good"); code != 404 {
			t.Errorf("%s: got %d %q, want 404", path, code, body)
		}
	}
}

func TestShutdownCutsWhatDoesNotEnd(t *testing.T) {
	h := seen{hold: make(chan struct{}, 1)}
	s, c, url := start(t, h)
	gone := make(chan error, 1)
	go func() {
		r, _ := http.NewRequest("GET", url+"/t/prod/x", nil)
		r.Header.Set("Authorization", "Bearer good")
		resp, err := c.Do(r)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		gone <- err
	}()
	<-h.hold
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Shutdown(ctx)
	<-gone // the request ended, one way or the other, without its client giving up
}

func TestSelfMadeIsKeptAndExtended(t *testing.T) {
	dir := t.TempDir()
	read := func(f string) string {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	must := func(names ...string) {
		if _, _, err := SelfMade(dir, names); err != nil {
			t.Fatal(err)
		}
	}
	must("localhost")
	ca, leaf := read("ca.crt"), read("tls.crt")
	must("localhost")
	if read("ca.crt") != ca || read("tls.crt") != leaf {
		t.Error("a second start made new certificates")
	}
	must("localhost", "gw.example")
	if read("ca.crt") != ca || read("tls.crt") == leaf {
		t.Error("a new name needs a new certificate under the same CA")
	}
	if st, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the CA's key: %v %v", st.Mode(), err)
	}
}

// A client that is slow with its handshake holds up nobody; one that speaks no TLS is told so; and each version of HTTP is served.
func TestHandshakes(t *testing.T) {
	_, c, u := start(t, seen{}, func(o *Options) { o.HeaderTimeout = 2 * time.Second })
	address := strings.TrimPrefix(u, "https://")
	slow, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if code, body := get(t, c, u+Own+"x", ""); code != 200 || body != "own /gatebook/x" {
		t.Errorf("beside a slow one: %d %s", code, body)
	}
	clear, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer clear.Close()
	if _, err := io.WriteString(clear, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(clear); !strings.HasPrefix(string(b), "HTTP/1.0 400 ") {
		t.Errorf("in clear: %q", b)
	}
	if b, err := io.ReadAll(slow); err != nil || len(b) > 0 { // its time ends
		t.Errorf("the slow one got %q, %v", b, err)
	}
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		tr := c.Transport.(*http.Transport).Clone()
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetHTTP1(version == "HTTP/1.1")
		tr.Protocols.SetHTTP2(version == "HTTP/2.0")
		tr.TLSClientConfig.NextProtos = nil
		defer tr.CloseIdleConnections()
		for range 2 {
			resp, err := (&http.Client{Transport: tr}).Get(u + Own)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Proto != version || resp.TLS == nil {
				t.Errorf("%s: %s %v", version, resp.Proto, err)
			}
			resp.Body.Close()
		}
	}
}
