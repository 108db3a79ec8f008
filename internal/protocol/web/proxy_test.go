package web

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// H71: a host that resolvers, policy or certificates could read otherwise is none, however it is written.
func TestH71HostsInRequests(t *testing.T) {
	hosts, err := ParseHosts([]string{"*", "*:8080"})
	must(t, err)
	for _, x := range []struct {
		line, host string // empty: refused
	}{
		{"CONNECT pypi.org:443 HTTP/1.1", "pypi.org"}, {"CONNECT PyPI.org:443 HTTP/1.1", "pypi.org"}, {"GET http://a_b.svc/ HTTP/1.1", "a_b.svc"}, {"GET http://[2001:DB8::1]/ HTTP/1.1", "2001:db8::1"},
		{"CONNECT pypi.org.:443 HTTP/1.1", ""}, {"GET http://pypi.org./ HTTP/1.1", ""}, {"GET http://127.0.0.\uff11/ HTTP/1.1", ""}, {"GET http://127.0.0.%EF%BC%91/ HTTP/1.1", ""},
		{"CONNECT 127.0.0.\uff11:443 HTTP/1.1", ""}, {"GET http://pypi\u3002org/ HTTP/1.1", ""}, {"CONNECT \u24d0.example:443 HTTP/1.1", ""}, {"CONNECT a@pypi.org:443 HTTP/1.1", ""},
		{"GET http://a@pypi.org/ HTTP/1.1", ""}, {"GET http://a:b@pypi.org/ HTTP/1.1", ""}, {"CONNECT [fe80::1%25eth0]:443 HTTP/1.1", ""}, {"GET http://[fe80::1%25eth0]/ HTTP/1.1", ""},
		{"GET http:///x HTTP/1.1", ""}, {"CONNECT :443 HTTP/1.1", ""}, {"CONNECT pypi.org HTTP/1.1", ""}, {"CONNECT pypi.org:0 HTTP/1.1", ""}, {"CONNECT pypi.org:99999 HTTP/1.1", ""},
		{"GET http://pypi.org:x/ HTTP/1.1", ""}, {"GET ftp://pypi.org/ HTTP/1.1", ""}, {"GET https://pypi.org/ HTTP/1.1", ""}, {"GET http://a%2fb.example/ HTTP/1.1", ""},
	} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(x.line + "\r\nHost: pypi.org\r\n\r\n")))
		if err != nil { // refused before it is asked about
			if x.host != "" {
				t.Errorf("%s: %v", x.line, err)
			}
			continue
		}
		o, why := originOf(r)
		if (why == nil) != (x.host != "") || why == nil && o.Hostname() != x.host {
			t.Errorf("%s: %v, %v", x.line, o, why)
		}
	}
	for _, host := range []string{"127.1", "0x7f.1", "0177.0.0.1", "2130706433", "127.0.0.0x1", "1.2.3.4", "::1", "localhost", "a.localhost", "017700000001"} {
		if hosts.Match("http", host, "80") {
			t.Errorf("%s is a name", host)
		}
	}
}

// What a client names as a host is on record without what is known to be secret.
func TestHostsAreHidden(t *testing.T) {
	w := newWorld(t, reply(200, "text/plain", "ok"))
	hosts, err := ParseHosts([]string{"*.example"})
	must(t, err)
	for _, intercept := range []bool{false, true} {
		p, err := NewProxy(ProxyOptions{Targets: []ProxyTarget{{Handler: w.h, Hosts: hosts, Intercept: intercept}}})
		must(t, err)
		for _, host := range []string{secret + ".example", secret + ".elsewhere"} {
			if strings.HasSuffix(host, ".example") && intercept {
				continue // nothing is decided before there is a request
			}
			r := httptest.NewRequest("CONNECT", "https://"+host+":443", nil)
			r.Host, r.URL.Host, r.URL.Path, r.RequestURI = host+":443", host+":443", "", host+":443"
			p.Serve(httptest.NewRecorder(), r, caller)
		}
	}
	r := httptest.NewRequest("GET", "/x", nil)
	r.Header.Set("Content-Encoding", secret)
	r.Body = io.NopCloser(strings.NewReader("x"))
	w.h.Serve(httptest.NewRecorder(), r, caller)
	op := w.op()
	if s := fmt.Sprintf("%+v %+v", op, op.Web); strings.Contains(s, secret) || !unreadable(op, "web.host") {
		t.Error(s)
	}
	if all := w.recorded(); strings.Contains(all, secret) || !strings.Contains(all, "Content-Encoding") {
		t.Errorf("on record is %q", all)
	}
	if rows := w.rows(); len(rows) != 4 {
		t.Errorf("%+v", rows)
	}
}
