package attack

import (
	"crypto/tls"
	be "encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	wire "gatebook/internal/wire/postgres"
	"gatebook/test/lab"
)

// S59: a length that cannot be closes the connection, before and after the login, and costs no memory.
func TestS59Lengths(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(allowAllSQL))
	for _, n := range []uint32{0, 3, 7, 10001, 1 << 30, 1<<31 - 1, 1 << 31, 0xfffffffc, 0xffffffff} {
		for name, c := range map[string]net.Conn{"in clear": s.dial(), "in TLS": s.secure()} {
			if _, err := c.Write(be.BigEndian.AppendUint32(be.BigEndian.AppendUint32(nil, n), 3<<16)); err != nil {
				t.Fatal(err)
			}
			if b := closed(t, fmt.Sprintf("a startup of %d bytes %s", n, name), c); len(b) > 0 && b[0] != 'E' && b[0] != 0x15 {
				t.Errorf("a startup of %d bytes %s is answered: %q", n, name, b)
			}
		}
		if n >= 4 && n < 60<<20 { // possible
			continue
		}
		for _, kind := range "QPBEdXSH" {
			x := s.speak(s.agent)
			x.out.Bytes = be.BigEndian.AppendUint32([]byte{byte(kind)}, n)
			x.flush()
			if b := closed(t, fmt.Sprintf("%c of %d bytes", kind, n), x.conn); len(b) == 0 || b[0] != 'E' {
				t.Errorf("%c of %d bytes: %q", kind, n, b)
			}
		}
	}
	// A field that reaches beyond its message.
	for _, raw := range []string{"Q\x00\x00\x00\x05a", "P\x00\x00\x00\x08a\x00b\x00", "B\x00\x00\x00\x0c\x00\x00\x00\x00\xff\xff\x00\x01", "E\x00\x00\x00\x05\x00", "D\x00\x00\x00\x06X\x00", "Q\x00\x00\x00\x07a\x00b"} {
		x := s.speak(s.agent)
		x.out.Bytes = []byte(raw)
		x.flush()
		if b := closed(t, raw, x.conn); !strings.Contains(string(b), "42601") {
			t.Errorf("%q: %q", raw, b)
		}
	}
}

// S60: what somebody put before TLS is not taken for the client's, on either side (CVE-2021-23214, CVE-2021-23222).
func TestS60BytesBeforeTLS(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(allowAllSQL))
	c := s.dial()
	if _, err := c.Write(append([]byte(askTLS), startup("user", "eve", "database", "db")...)); err != nil {
		t.Fatal(err)
	}
	var yes [1]byte
	if _, err := io.ReadFull(c, yes[:]); err != nil {
		t.Fatal(err)
	}
	if err := tls.Client(c, s.tls()).Handshake(); err == nil {
		t.Error("a handshake went well behind injected bytes")
	}

	// An upstream whose answer to the request for TLS is followed by bytes in clear.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan []byte, 8)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 8)
			if _, err := io.ReadFull(c, b); err == nil {
				var ok wire.Builder
				ok.Byte('S').Begin(wire.Authentication).Int32(0).End()
				ok.Ready('I')
				if _, err := c.Write(ok.Bytes); err == nil {
					c.SetReadDeadline(time.Now().Add(3 * time.Second))
					more, _ := io.ReadAll(c)
					got <- append(b, more...)
				}
			}
			c.Close()
		}
	}()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("a-password-to-be-kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	target := fmt.Sprintf("  - {name: liar, protocol: postgres, url: 'postgres://%s/x', user: gate, token: {file: %s}}\n", l.Addr(), filepath.Join(dir, "password"))
	g := s.p.StartGateway(t, binary, s.database, lab.Options{Policy: map[string]string{"a.yaml": allowAllSQL}, Targets: target})
	r, err := g.PgTool(t.Context(), "psql", g.Person("claude"), "", "-X", "-d", "liar", "-c", "select 1")
	if err != nil || r.Code == 0 || !strings.Contains(r.Stderr, "liar") {
		t.Error(err, r.Out())
	}
	if b := <-got; strings.Contains(string(b), "a-password") || strings.Contains(string(b), "gate") {
		t.Errorf("sent in clear: %q", b)
	}
}

// S61: without TLS nothing is said; GSS encryption is declined; TLS at once needs its name (ALPN).
func TestS61Encryption(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(allowAllSQL))
	c := s.dial()
	if _, err := c.Write(startup("user", "agent", "database", "db")); err != nil {
		t.Fatal(err)
	}
	if b := closed(t, "plain", c); !strings.HasPrefix(string(b), "E") || !strings.Contains(string(b), "28P01") {
		t.Errorf("a startup in clear: %q", b)
	}
	c = s.dial()
	if _, err := io.WriteString(c, "\x00\x00\x00\x08\x04\xd2\x16\x30"); err != nil {
		t.Fatal(err)
	}
	var no [1]byte
	if _, err := io.ReadFull(c, no[:]); err != nil || no[0] != 'N' {
		t.Errorf("GSS: %q, %v", no, err)
	}
	if _, err := c.Write(startup("user", "agent", "database", "db")); err != nil {
		t.Fatal(err)
	}
	if b := closed(t, "plain behind GSS", c); !strings.Contains(string(b), "28P01") {
		t.Errorf("a startup in clear behind a request for GSS: %q", b)
	}
	for alpn, good := range map[string]bool{"postgresql": true, "http/1.1": false, "": false} {
		conf := s.tls(alpn)
		if alpn == "" {
			conf = s.tls()
		}
		x := tls.Client(s.dial(), conf)
		_, err := x.Write(startup("user", "agent", "database", "db"))
		var first [1]byte
		if err == nil {
			_, err = io.ReadFull(x, first[:])
		}
		if (err == nil && first[0] == wire.Authentication) != good {
			t.Errorf("TLS at once with ALPN %q: %q, %v", alpn, first, err)
		}
	}
	// A second request for encryption within TLS, and a third in clear.
	x := s.secure()
	if _, err := io.WriteString(x, askTLS); err != nil {
		t.Fatal(err)
	}
	closed(t, "TLS within TLS", x)
	c = s.dial()
	for range 3 {
		if _, err := io.WriteString(c, "\x00\x00\x00\x08\x04\xd2\x16\x30"); err != nil {
			break
		}
	}
	closed(t, "GSS again and again", c)
	// A login without a token, or with a wrong one, learns nothing of targets.
	for _, password := range []string{"", "x", s.g.Sign(map[string]any{"iss": "https://other.test", "aud": "gatebook", "sub": "x", "exp": time.Now().Add(time.Hour).Unix()})} {
		r, err := s.g.PgTool(t.Context(), "psql", password, "", "-X", "-w", "-d", "nothing", "-c", "select 1")
		if err != nil || r.Code != 2 || strings.Contains(r.Stderr, "target") {
			t.Errorf("%q: %v %s", password, err, r.Out())
		}
	}
}
