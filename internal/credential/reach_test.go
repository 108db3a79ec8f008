package credential

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"gatebook/internal/access"
)

// H71: what is on this machine, beside it, or hands out credentials is reached only where it is named as it is; the
// gateway itself never.
func TestH71Reach(t *testing.T) {
	r := Reach{Own: []uint16{9090}}
	for _, x := range []struct {
		host, to string
		ok       bool
	}{
		{"shop.example", "203.0.113.7:443", true}, {"shop.svc", "10.96.0.12:80", true}, {"shop.svc", "[fd00::12]:80", true},
		{"evil.example", "127.0.0.1:80", false}, {"evil.example", "127.8.9.1:80", false}, {"evil.example", "[::1]:80", false}, {"evil.example", "0.0.0.0:80", false},
		{"evil.example", "[::]:80", false}, {"evil.example", "169.254.169.254:80", false}, {"evil.example", "[fe80::1%eth0]:80", false}, {"evil.example", "[fd00:ec2::254]:80", false},
		{"evil.example", "[::ffff:169.254.169.254]:80", false}, {"evil.example", "[64:ff9b::a9fe:a9fe]:80", false}, {"evil.example", "[2002:7f00:1::]:80", false},
		{"evil.example", "[::7f00:1]:80", false}, {"evil.example", "168.63.129.16:80", false}, {"evil.example", "100.100.100.200:80", false}, {"evil.example", "224.0.0.1:80", false},
		{"evil.example", "255.255.255.255:80", false}, {"127.1", "127.0.0.1:80", false}, {"0x7f000001", "127.0.0.1:80", false}, {"localhost.", "127.0.0.1:80", false},
		{"127.0.0.1", "127.0.0.1:80", true}, {"::ffff:127.0.0.1", "127.0.0.1:80", true}, {"localhost", "[::1]:80", true}, {"LOCALHOST", "127.0.0.1:80", true},
		{"127.0.0.1", "127.0.0.2:80", false}, {"169.254.169.254", "169.254.169.254:80", true}, {"localhost", "169.254.169.254:80", false},
		{"evil.example", "[::ffff:0:7f00:1]:80", false}, {"evil.example", "[64:ff9b:1::7f00:1]:80", false},
		{"127.0.0.1", "127.0.0.1:9090", false}, {"localhost", "[::1]:9090", false}, {"0.0.0.0", "0.0.0.0:9090", false}, {"shop.example", "203.0.113.7:9090", true},
	} {
		err := r.Check(x.host, netip.MustParseAddrPort(x.to))
		var why *access.Refusal
		if (err == nil) != x.ok || err != nil && (!errors.As(err, &why) || why.Code != access.CodeDenied) {
			t.Errorf("%s at %s: %v", x.host, x.to, err)
		}
	}
	p := Reach{Own: []uint16{9090}, Proven: true} // of an upstream that proves who it is
	for to, ok := range map[string]bool{"127.0.0.1:6443": true, "[::1]:6443": true, "127.0.0.1:9090": false, "169.254.169.254:443": false, "[fd00:ec2::254]:443": false} {
		if err := p.Check("kubernetes.docker.internal", netip.MustParseAddrPort(to)); (err == nil) != ok {
			t.Errorf("a name that leads to %s: %v", to, err)
		}
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range own { // under whichever address
		a := netip.MustParsePrefix(n.String()).Addr()
		if err := r.Check(a.String(), netip.AddrPortFrom(a, 9090)); err == nil {
			t.Errorf("the gateway is reached at %s", a)
		}
	}
}

// The check is of the address that is dialled: nothing is connected to where it says no, whatever the name says.
func TestH71ChecksWhatIsDialled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan bool, 9)
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
			accepted <- true
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for host, ok := range map[string]bool{"127.0.0.1": true, "localhost": false} {
		asked := ""
		dial := dialer(time.Second, func(host string, to netip.AddrPort) error {
			asked += host + " " + to.Addr().Unmap().String() + " "
			if !ok {
				return access.Refuse(access.CodeDenied, nil, "no")
			}
			return nil
		})
		c, err := dial(t.Context(), "tcp4", net.JoinHostPort(host, port))
		if err == nil {
			c.Close()
			<-accepted
		}
		var why *access.Refusal
		if asked != host+" 127.0.0.1 " || (err == nil) != ok || err != nil && !errors.As(err, &why) {
			t.Errorf("%s: asked about %q, %v", host, asked, err)
		}
	}
	if len(accepted) > 0 {
		t.Error("a connection was made that was refused")
	}
}

// Every kind of upstream is dialled by the same rule: none is the gateway itself, whatever its configuration says.
func TestH71EveryUpstream(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan bool, 9)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
			accepted <- true
		}
	}()
	at := l.Addr().(*net.TCPAddr)
	reach := Reach{Own: []uint16{uint16(at.Port)}, Proven: true}
	p := permit(t, access.Principal{Issuer: "i", Subject: "s"})
	request, err := http.NewRequest("GET", "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := New(Options{URL: "http://" + at.String(), Insecure: true, Secret: None(), Reach: reach, Forward: func(string, string) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDatabase(DatabaseOptions{URL: "postgres://" + at.String(), Role: "r", Password: func() (string, error) { return "p", nil }, Reach: reach})
	if err != nil {
		t.Fatal(err)
	}
	for name, dial := range map[string]func() error{
		"a request":    func() error { _, err := u.RoundTrip(p, request); return err },
		"a tunnel":     func() error { _, err := u.Tunnel(p, at.String()); return err },
		"a database":   func() error { _, err := d.Dial(p, "x", nil); return err },
		"a cancel":     func() error { return d.Cancel(p, &DatabaseConn{}) },
		"about tokens": func() error { _, err := u.ForIdentity().Get("http://" + at.String() + "/openid/v1/jwks"); return err },
	} {
		var why *access.Refusal
		if err := dial(); !errors.As(err, &why) || why.Code != access.CodeDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(accepted) > 0 {
		t.Error("a connection was made")
	}
}
