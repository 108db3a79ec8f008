package attack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	wire "gatebook/internal/wire/postgres"
	"gatebook/test/lab"
)

// between is somebody between the gateway and its database, with a certificate that the gateway trusts.
type between struct {
	addr string
	pem  []byte
	// change is done to each of the server's messages before the login is over.
	change func(b []byte) []byte
	// seen counts logins by their first word of SASL: what the gateway says of the binding to its channel.
	bound, unbound atomic.Int32
}

func standBetween(t *testing.T, server string, roots *x509.CertPool, change func([]byte) []byte) *between {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	m := &between{addr: l.Addr().String(), pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), change: change}
	conf := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go m.serve(c, server, conf, &tls.Config{RootCAs: roots, ServerName: "localhost"})
		}
	}()
	return m
}

func (m *between) serve(c net.Conn, server string, front, back *tls.Config) {
	defer c.Close()
	ask := make([]byte, 8)
	up, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer up.Close()
	if _, err := io.ReadFull(c, ask); err != nil {
		return
	}
	if _, err := up.Write(ask); err != nil {
		return
	}
	if _, err := io.ReadFull(up, ask[:1]); err != nil || ask[0] != 'S' {
		return
	}
	if _, err := c.Write(ask[:1]); err != nil {
		return
	}
	client, upstream := tls.Server(c, front), tls.Client(up, back)
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, err := client.Read(b)
			if strings.Contains(string(b[:n]), "p=tls-server-end-point") {
				m.bound.Add(1)
			} else if strings.Contains(string(b[:n]), "SCRAM-SHA-256\x00") {
				m.unbound.Add(1)
			}
			if err != nil {
				upstream.Close()
				return
			}
			if _, err := upstream.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := upstream.Read(b)
		if _, werr := client.Write(m.change(b[:n])); err != nil || werr != nil {
			client.Close()
			return
		}
	}
}

// The gateway's login is bound to the channel (SCRAM-SHA-256-PLUS): who stands between, with a certificate that the gateway trusts, does not
// get a connection out of it, also where it hides that the server can do so. And the gateway's password is seen by nobody.
func TestS60LoginIsBoundToItsChannel(t *testing.T) {
	p := lab.StartPostgres(t)
	db := p.Database(t)
	target := p.Target("liar", db, "")
	var ca, server string
	for _, l := range strings.Split(target, "\n") {
		if _, v, ok := strings.Cut(l, "caFile: "); ok {
			ca = v
		}
		if _, v, ok := strings.Cut(l, "postgres://localhost"); ok {
			server = "127.0.0.1" + strings.TrimSuffix(strings.TrimSuffix(v, "'"), "/"+db)
		}
	}
	caPEM, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(caPEM)
	for name, c := range map[string]struct {
		change  func([]byte) []byte
		bound   bool
		refused string
	}{
		"between": {func(b []byte) []byte { return b }, true, "channel binding check failed"},
		"and hides that the server can bind": {func(b []byte) []byte {
			if i := strings.Index(string(b), "SCRAM-SHA-256-PLUS\x00"); i >= 0 && b[0] == wire.Authentication {
				var x wire.Builder
				x.Begin(wire.Authentication).Int32(10).Text("SCRAM-SHA-256").Byte(0).End()
				return x.Bytes
			}
			return b
		}, false, "channel binding"},
	} {
		t.Run(name, func(t *testing.T) {
			m := standBetween(t, server, roots, c.change)
			both := filepath.Join(t.TempDir(), "ca.crt")
			if err := os.WriteFile(both, append(caPEM, m.pem...), 0o600); err != nil {
				t.Fatal(err)
			}
			_, port, _ := net.SplitHostPort(m.addr)
			own := strings.Replace(strings.Replace(target, ca, both, 1), "localhost"+strings.TrimPrefix(server, "127.0.0.1"), "localhost:"+port, 1)
			g := p.StartGateway(t, binary, db, lab.Options{Policy: map[string]string{"a.yaml": allowAllSQL}, Targets: own})
			r, err := g.PgTool(t.Context(), "psql", g.Person("claude"), "", "-X", "-d", "liar", "-c", "select 1")
			if err != nil || r.Code == 0 || !strings.Contains(r.Stderr+g.Log(), c.refused) {
				t.Error(err, r.Out(), g.Log())
			}
			if c.bound != (m.bound.Load() > 0) {
				t.Errorf("bound %d, unbound %d times", m.bound.Load(), m.unbound.Load())
			}
			if r := g.Psql(g.Person("claude"), "select 1"); r.Stdout != "1\n" { // to the server itself
				t.Error(r.Out())
			}
		})
	}
}

// The gateway logs in by a certificate where it is given one, and only with that.
func TestSQLUpstreamByCertificate(t *testing.T) {
	p := lab.StartPostgres(t)
	db := p.Database(t)
	target := func(name, file string) string {
		var out []string
		for _, l := range strings.Split(p.Target(name, db, ""), "\n") {
			switch {
			case strings.Contains(l, "user: "):
				l = "    user: " + lab.CertificateRole
			case strings.Contains(l, "token: "):
				l = fmt.Sprintf("    certificateFile: %s\n    keyFile: %s", file, file)
			}
			out = append(out, l)
		}
		return strings.Join(out, "\n")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(4), Subject: pkix.Name{CommonName: lab.CertificateRole}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(t.TempDir(), "foreign.pem")
	if err := os.WriteFile(foreign, append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: k})...), 0o600); err != nil {
		t.Fatal(err)
	}
	g := p.StartGateway(t, binary, db, lab.Options{Policy: map[string]string{"a.yaml": allowAllSQL}, Targets: target("own", p.ClientCertificate()) + target("foreign", foreign)})
	agent := g.Person("claude")
	if r, err := g.PgTool(t.Context(), "psql", agent, "", "-X", "-At", "-d", "own", "-c", "select current_user, ssl from pg_stat_ssl where pid = pg_backend_pid()"); err != nil || strings.TrimSpace(r.Stdout) != lab.CertificateRole+"|t" {
		t.Error(err, r.Out())
	}
	if r, err := g.PgTool(t.Context(), "psql", agent, "", "-X", "-At", "-d", "foreign", "-c", "select 1"); err != nil || r.Code == 0 || strings.Contains(r.Stdout, "1") {
		t.Error(err, r.Out())
	}
}
