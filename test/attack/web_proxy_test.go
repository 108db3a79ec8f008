package attack

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatebook/test/lab"
)

// H70: a gateway that is no proxy takes neither CONNECT nor absolute form.
func TestH70NoProxy(t *testing.T) {
	s := newWebScene(t, webPolicy(allowAllWeb), "", ok)
	shop := strings.TrimPrefix(s.u.URL, "https://")
	for name, bytes := range map[string]string{
		"CONNECT":         "CONNECT " + shop + " HTTP/1.1\r\nHost: " + shop + "\r\nProxy-TOKEN\r\n\r\n",
		"CONNECT to self": "CONNECT localhost:" + port(s.g.URL) + " HTTP/1.1\r\nHost: localhost\r\nProxy-TOKEN\r\n\r\n",
		"absolute":        "GET http://" + shop + "/ HTTP/1.1\r\nHost: " + shop + "\r\nTOKEN\r\n\r\n",
		"absolute self":   "GET https://localhost:" + port(s.g.URL) + "/t/shop/x HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n\r\n",
		"absolute own":    "GET http://x/gatebook/v1/operations HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n\r\n",
	} {
		answers, closed := s.raw(1, bytes)
		if len(answers) != 1 || answers[0].StatusCode != http.StatusForbidden || !closed {
			t.Errorf("%s: %+v, closed: %v", name, answers, closed)
		}
	}
	if len(s.u.Seen()) != 0 {
		t.Errorf("the service got %+v", s.u.Seen())
	}
}

// H70: a connection that was made to one host serves no target of another.
func TestH70HostAndServerName(t *testing.T) {
	s := newWebScene(t, webPolicy(allowAllWeb), "    hosts: [shop.test, localhost2.test]\n", ok)
	for _, x := range []struct {
		sni, host string
		code      int
	}{{"shop.test", "shop.test", 200}, {"shop.test", "SHOP.test:8443", 200}, {"localhost", "shop.test", 421}, {"shop.test", "localhost2.test", 421}, {"shop.test", "localhost", 421}} {
		c, r := s.conn(x.sni)
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", x.host, s.agent)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != x.code {
			t.Errorf("%+v: %d", x, resp.StatusCode)
		}
	}
}

// H70, H71: a proxy leads to the hosts that its target names, and to no address of the machine, the network or the gateway that is
// not named as it is; without a token it leads nowhere. Each refusal is one record.
func TestH71Proxy(t *testing.T) {
	s := newWebScene(t, webPolicy(allowAllWeb), `    proxy: {hosts: ['127.0.0.1:PORT-SHOP', '127.0.0.1:PORT-LISTEN', '127.0.0.1:PORT-ADMIN', '*.test', '*']}
`, ok)
	shop := strings.TrimPrefix(s.u.URL, "https://")
	if _, resp := s.connect(shop, ""); resp.StatusCode != 407 || !strings.HasPrefix(resp.Header.Get("Proxy-Authenticate"), "Basic ") {
		t.Errorf("without a token: %+v", resp)
	}
	if _, resp := s.connect(shop, "Authorization: Bearer "+s.agent+"\r\n"); resp.StatusCode != 407 {
		t.Errorf("with a service's token: %+v", resp)
	}
	refused := 0
	for _, to := range []string{"127.0.0.1:PORT-LISTEN", "127.0.0.1:PORT-ADMIN", "169.254.169.254:443", "[fd00:ec2::254]:443", "[::1]:443", "127.1:443", "0x7f000001:443", "2130706433:443",
		"localhost:443", "x.localhost:443", "127.0.0.1:443", "shop.test:444", "shop.test:0", "shop.test"} {
		address := strings.NewReplacer("PORT-LISTEN", port(s.g.URL), "PORT-ADMIN", port(s.g.Admin)).Replace(to)
		if _, resp := s.connect(address, s.proxyToken()); resp.StatusCode != 403 && resp.StatusCode != 400 {
			t.Errorf("%s: %d", to, resp.StatusCode)
		}
		refused++
	}
	for _, u := range []string{"http://169.254.169.254/latest/meta-data/", "https://" + shop + "/", "ftp://shop.test/", "http://a@shop.test/", "http://localhost/"} {
		c, r := s.conn("localhost")
		answers := s.exchange(c, r, 1, "GET "+u+" HTTP/1.1\r\nHost: x\r\nProxy-TOKEN\r\n\r\n")
		if len(answers) != 1 || answers[0].StatusCode != 403 && answers[0].StatusCode != 400 {
			t.Errorf("%s: %+v", u, answers)
		}
		refused++
	}
	if len(s.u.Seen()) != 0 {
		t.Errorf("the service got %+v", s.u.Seen())
	}
	s.records(refused)
}

// A tunnel carries TLS for its own host, and nothing else, over either version of HTTP; its bytes are on record.
func TestH70Tunnel(t *testing.T) {
	s := newWebScene(t, webPolicy(allowAllWeb), `    proxy: {hosts: ['127.0.0.1:PORT-SHOP', 'localhost:PORT-SHOP']}
`, ok)
	address := "localhost:" + port(s.u.URL)
	for i, connect := range []func(string, string) (net.Conn, *http.Response){s.connect, s.connect2} {
		talk := func(serverName string) (string, error) {
			c, resp := connect(address, "Proxy-Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("x:"+s.agent))+"\r\n")
			if resp.StatusCode != 200 {
				t.Fatalf("%+v", resp)
			}
			in := tls.Client(c, &tls.Config{ServerName: serverName, InsecureSkipVerify: true})
			if err := in.Handshake(); err != nil {
				return "", err
			}
			fmt.Fprintf(in, "GET /inside HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			b, err := io.ReadAll(in)
			if i == 0 { // a stream ends by itself
				in.Close()
			}
			return string(b), err
		}
		if got, err := talk("localhost"); err != nil || !strings.Contains(got, "GET /inside") {
			t.Errorf("%d: %q %v", i, got, err)
		}
		before := len(s.u.Seen())
		for _, name := range []string{"other.test", ""} {
			if got, err := talk(name); err == nil {
				t.Errorf("%d: %q: %q", i, name, got)
			}
		}
		c, _ := connect(address, s.proxyToken())
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("%d: what is not TLS was answered %q", i, b)
		}
		if len(s.u.Seen()) != before {
			t.Errorf("%d: the service got %+v", i, s.u.Seen()[before:])
		}
		if _, resp := connect(address, ""); resp.StatusCode != 407 {
			t.Errorf("%d: without a token: %d", i, resp.StatusCode)
		}
		if _, resp := connect("169.254.169.254:443", s.proxyToken()); resp.StatusCode != 403 {
			t.Errorf("%d: an address that nobody named: %d", i, resp.StatusCode)
		}
	}
	s.records(10)
	whole := 0
	for deadline := time.Now().Add(lab.Patience); whole != 2 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		whole = 0
		for _, r := range s.records(10) {
			if o := r.Outcome; o != nil && o.Truncated == "" && o.Code == 200 && o.RequestBytes > 100 && o.ResponseBytes > 100 && r.Operation.Web.Method == "CONNECT" {
				whole++
			}
		}
	}
	if whole != 2 {
		t.Errorf("%d tunnels are whole: %+v", whole, s.records(10))
	}
}

// Where a target intercepts, each request inside is an operation, decided and masked, over either version of HTTP; the target's credential
// is shown to its own origin alone.
func TestH70Intercept(t *testing.T) {
	tell := func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(300 * time.Millisecond) // the connection is read on meanwhile
		fmt.Fprintf(w, "%s, token %s", r.Host, r.Header.Get("Authorization"))
	}
	other := lab.StartUpstream(t, true, tell)
	s := newWebScene(t, lab.Options{Policy: map[string]string{"web.yaml": `masking: [secrets, known]
rules:
  - {id: some, protocol: web, effect: allow, when: 'web.method == "GET" && web.path.startsWith("/in")', reason: a test}
`}}, "    proxy: {intercept: true, hosts: ['127.0.0.1:PORT-SHOP', '"+strings.TrimPrefix(other.URL, "https://")+"', 'localhost:PORT-SHOP']}\n", tell)
	for _, version := range []string{"http/1.1", "h2", "http/1.1 in h2", "h2 in h2"} {
		for _, u := range []*lab.Upstream{s.u, other} {
			host := strings.TrimPrefix(u.URL, "https://")
			x := s.inside(host, version)
			for _, ask := range []struct {
				path string
				want int
			}{{"/in", 200}, {"/out", 403}, {"/in/again", 200}} { // over one connection, as it is used again
				path, want := ask.path, ask.want
				resp, err := x.Get("https://" + host + path)
				if err != nil {
					t.Fatalf("%s %s: %v", version, host, err)
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != want || strings.Contains(string(b), lab.UpstreamToken) {
					t.Errorf("%s %s%s: %d %s %v", version, host, path, resp.StatusCode, b, err)
				}
				if named := strings.Contains(string(b), "token Bearer gbm-"); want == 200 && named != (u == s.u) {
					t.Errorf("%s %s%s: %s", version, host, path, b)
				}
			}
		}
	}
	before := len(s.u.Seen())
	c, _ := s.connect("localhost:"+port(s.u.URL), s.proxyToken())
	if err := tls.Client(c, &tls.Config{ServerName: "other.test", InsecureSkipVerify: true}).Handshake(); err == nil {
		t.Error("another server name was taken")
	}
	for _, line := range []string{"GET /in HTTP/1.1\r\nHost: other.test\r\n\r\n", "GET http://other.test/in HTTP/1.1\r\nHost: other.test\r\n\r\n", "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n"} {
		c, _ := s.connect("localhost:"+port(s.u.URL), s.proxyToken())
		in := tls.Client(c, &tls.Config{ServerName: "localhost", RootCAs: s.roots})
		io.WriteString(in, line)
		b, _ := io.ReadAll(in)
		if !strings.HasPrefix(string(b), "HTTP/1.1 400 ") {
			t.Errorf("%q was answered %q", line, b)
		}
	}
	if len(s.u.Seen()) != before {
		t.Errorf("the service got %+v", s.u.Seen()[before:])
	}
	s.records(24 + 3)
}

// inside is a client within a tunnel, which trusts the gateway's CA alone.
func (s *webScene) inside(address, version string) *http.Client {
	s.t.Helper()
	connect := s.connect
	version, over, _ := strings.Cut(version, " in ")
	if over != "" {
		connect = s.connect2
	}
	c, resp := connect(address, s.proxyToken())
	if resp.StatusCode != 200 {
		s.t.Fatalf("%+v", resp)
	}
	host, _, _ := strings.Cut(address, ":")
	in := tls.Client(c, &tls.Config{ServerName: host, RootCAs: s.roots, NextProtos: []string{version}})
	if err := in.Handshake(); err != nil {
		s.t.Fatal(err)
	}
	return clientOn(s.t, in, version)
}
