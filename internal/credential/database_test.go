package credential

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"gatebook/internal/access"
	wire "gatebook/internal/wire/postgres"
)

// slowConn is a connection of which each write takes long, as on a busy machine.
type slowConn struct{ net.Conn }

func (c slowConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	time.Sleep(100 * time.Millisecond)
	return n, err
}

// What the server says after a login that was slow reaches who reads, every byte: pgconn reads on the side while it writes, and one such
// read was still waiting, and took the first answer.
func TestDatabaseAfterASlowLogin(t *testing.T) {
	web := httptest.NewUnstartedServer(nil) // for its certificate
	web.StartTLS()
	defer web.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var ready wire.Builder
	ready.Begin(wire.Authentication).Int32(0).End()
	ready.Begin(wire.BackendKeyData).Int32(1).Int32(2).End()
	ready.Ready('I')
	go func() {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		if first, err := wire.ReadFirst(raw); err != nil || first.Kind != wire.TLSRequest {
			t.Error(first, err)
			return
		}
		_, _ = raw.Write([]byte{'S'})
		c := tls.Server(raw, &tls.Config{Certificates: web.TLS.Certificates})
		if _, err := wire.ReadFirst(c); err != nil {
			t.Error(err)
			return
		}
		if _, err := c.Write(ready.Bytes); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(c, c) // an echo
	}()
	d, err := NewDatabase(DatabaseOptions{URL: (&url.URL{Scheme: "postgres", Host: l.Addr().String(), Path: "/x"}).String(), Role: "gate",
		Certificate: func() (*tls.Certificate, error) { return &tls.Certificate{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	d.roots = x509.NewCertPool()
	d.roots.AddCert(web.Certificate())
	plain := d.dial
	d.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := plain(ctx, network, address)
		return slowConn{c}, err
	}
	p := permit(t, access.Principal{})
	c, err := d.Dial(p, "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	for range 3 { // each is read whole
		if err := c.Write(p, []byte("what comes first")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len("what comes first"))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "what comes first" {
			t.Fatalf("%q, %v", got, err)
		}
	}
}
