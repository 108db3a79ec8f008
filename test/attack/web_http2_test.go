package attack

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"gatebook/test/lab"
)

// headers2 sends one request of HTTP/2 as these fields, which no library would send, and gives the status of the answer; 0 where the stream
// or the connection was ended instead.
func (s *webScene) headers2(body string, fields ...string) int {
	s.t.Helper()
	c, err := tls.Dial("tcp", "localhost:"+port(s.g.URL), &tls.Config{RootCAs: s.roots, NextProtos: []string{"h2"}})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		s.t.Fatal(err)
	}
	fmt.Fprint(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		if err := e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := f.WriteSettings(); err != nil {
		s.t.Fatal(err)
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: body == ""}); err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		if err := f.WriteData(1, true, []byte(body)); err != nil {
			s.t.Fatal(err)
		}
	}
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		switch x, err := f.ReadFrame(); x := x.(type) {
		case *http2.MetaHeadersFrame:
			code, _ := strconv.Atoi(x.PseudoValue("status"))
			return code
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return 0
		default:
			if err != nil {
				return 0
			}
		}
	}
}

// H69, H70: a request of HTTP/2 whose fields could be read in two ways once it is one of HTTP/1.1 is refused, and nothing goes on.
func TestH70HTTP2(t *testing.T) {
	s := newWebScene(t, webPolicy(allowAllWeb), "    hosts: [shop.test]\n    proxy: {hosts: ['127.0.0.1:PORT-SHOP']}\n", ok)
	token := []string{"authorization", "Bearer " + s.agent}
	get := []string{":method", "GET", ":scheme", "https", ":path", "/t/shop/x", ":authority", "localhost"}
	with := func(fields ...string) []string {
		return append(append([]string{}, get...), append(token, fields...)...)
	}
	if code := s.headers2("", with()...); code != 200 || len(s.u.Seen()) != 1 {
		t.Fatalf("a plain request: %d", code)
	}
	for name, x := range map[string]struct {
		body   string
		fields []string
	}{
		"another Host":        {"", with("host", "shop.test")},
		"two Hosts":           {"", with("host", "localhost", "host", "localhost")},
		"Transfer-Encoding":   {"0\r\n\r\n", with("transfer-encoding", "chunked")},
		"Connection":          {"", with("connection", "x-forwarded-for")},
		"Upgrade":             {"", with("upgrade", "websocket")},
		"another length":      {"hello", with("content-length", "3")},
		"two lengths":         {"hello", with("content-length", "5", "content-length", "3")},
		"an upper-case name":  {"", with("X-Y", "1")},
		"a line in a value":   {"", with("x", "a\r\nhost: shop.test")},
		"a line in a name":    {"", with("x\r\ny", "a")},
		"a colon in a name":   {"", with("x:y", "a")},
		"a line in the path":  {"", append([]string{":method", "GET", ":scheme", "https", ":path", "/t/shop/x HTTP/1.1\r\nhost: a", ":authority", "localhost"}, token...)},
		"a line in a method":  {"", append([]string{":method", "GET / HTTP/1.1", ":scheme", "https", ":path", "/t/shop/x", ":authority", "localhost"}, token...)},
		"no path":             {"", append([]string{":method", "GET", ":scheme", "https", ":path", "", ":authority", "localhost"}, token...)},
		"a path without root": {"", append([]string{":method", "GET", ":scheme", "https", ":path", "t/shop/x", ":authority", "localhost"}, token...)},
		"a late pseudo field": {"", append(with(), ":path", "/t/shop/y")},
		"two paths":           {"", append([]string{":path", "/t/shop/y"}, with()...)},
		"extended CONNECT":    {"", append([]string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/t/shop/live", ":authority", "localhost"}, token...)},
		"CONNECT with a path": {"", []string{":method", "CONNECT", ":path", "/x", ":authority", "127.0.0.1:" + port(s.u.URL), "proxy-authorization", "Bearer " + s.agent}},
		"CONNECT to somebody": {"", []string{":method", "CONNECT", ":authority", "a@127.0.0.1:" + port(s.u.URL), "proxy-authorization", "Bearer " + s.agent}},
	} {
		if code := s.headers2(x.body, x.fields...); code != 0 && code != http.StatusBadRequest && code != http.StatusNotFound && code != http.StatusForbidden || len(s.u.Seen()) != 1 {
			t.Errorf("%s: %d, and the service got %d requests", name, code, len(s.u.Seen())-1)
		}
	}
}
