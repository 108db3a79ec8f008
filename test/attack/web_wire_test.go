package attack

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func ok(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %q", r.Method, r.URL.Path, b)
}

// H69: what two readers could frame in two ways is answered with 400, the connection is closed, and nothing goes on: neither it nor what
// hides in it, at the gateway itself and inside a tunnel that it intercepts.
func TestH69Smuggling(t *testing.T) {
	s := newWebScene(t, webPolicy(allowAllWeb), "    proxy: {intercept: true, hosts: ['127.0.0.1:PORT-SHOP']}\n", ok)
	const smuggled = "GET PREFIX/smuggled HTTP/1.1\r\nHost: HOST\r\nTOKEN\r\n\r\n"
	head := func(lines string) string {
		return "POST PREFIX/x HTTP/1.1\r\nHost: HOST\r\nTOKEN\r\n" + lines + "\r\n"
	}
	chunked := head("Transfer-Encoding: chunked\r\n")
	for name, bytes := range map[string]string{
		"length and chunks":   head("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled),
		"chunks and length":   head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n" + smuggled,
		"two lengths":         head("Content-Length: 5\r\nContent-Length: 0\r\n") + "hello" + smuggled,
		"the same twice":      head("Content-Length: 5\r\nContent-Length: 5\r\n") + "hello" + smuggled,
		"length with a sign":  head("Content-Length: +5\r\n") + "hello" + smuggled,
		"list of lengths":     head("Content-Length: 5, 5\r\n") + "hello" + smuggled,
		"space before colon":  head("Content-Length : 5\r\n") + "hello" + smuggled,
		"folded length":       head("X: a\r\n Content-Length: 5\r\n") + smuggled,
		"folded header":       head("X: a\r\n b\r\n") + smuggled,
		"bare LF":             "GET PREFIX/x HTTP/1.1\nHost: HOST\nTOKEN\n\n" + smuggled,
		"bare LF in the head": head("X: a\n") + smuggled,
		"other encoding":      head("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n" + smuggled,
		"two encodings":       head("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n") + "0\r\n\r\n" + smuggled,
		"encoding list":       head("Transfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n" + smuggled,
		"encoding with VT":    head("Transfer-Encoding: \x0bchunked\r\n") + "0\r\n\r\n" + smuggled,
		"chunks in HTTP/1.0":  "POST PREFIX/x HTTP/1.0\r\nHost: HOST\r\nTOKEN\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"CR in a header":      head("X: a\rContent-Length: 5\r\n") + "hello" + smuggled,
		"NUL in a header":     head("X: a\x00b\r\n") + smuggled,
		"bare LF chunk":       chunked + "5\nhello\n0\n\n" + smuggled,
		"bare LF in chunks":   chunked + "5\r\nhello\r\n0\n\r\n" + smuggled,
		"bare LF extension":   chunked + "5;a\nhello\r\n0\r\n\r\n" + smuggled,
		"bare LF trailer":     chunked + "0\r\nX: a\n\r\n" + smuggled,
		"length at the end":   chunked + "0\r\nContent-Length: 100\r\n\r\n" + smuggled,
		"chunk size overflow": chunked + "10000000000000005\r\nhello\r\n0\r\n\r\n" + smuggled,
		"chunk size 0x":       chunked + "0x5\r\nhello\r\n0\r\n\r\n" + smuggled,
		"chunk too long":      chunked + "5\r\nhello!!\r\n0\r\n\r\n" + smuggled,
		"two hosts":           "GET PREFIX/x HTTP/1.1\r\nHost: HOST\r\nHost: other\r\nTOKEN\r\n\r\n",
		"no host":             "GET PREFIX/x HTTP/1.1\r\nTOKEN\r\n\r\n",
		"version":             "GET PREFIX/x HTTP/1.2x\r\nHost: HOST\r\nTOKEN\r\n\r\n",
		"space in the path":   "GET PREFIX/x y HTTP/1.1\r\nHost: HOST\r\nTOKEN\r\n\r\n",
	} {
		shop := strings.TrimPrefix(s.u.URL, "https://")
		tunnel, resp := s.connect(shop, s.proxyToken())
		if resp.StatusCode != 200 {
			t.Fatalf("%+v", resp)
		}
		inside := tls.Client(tunnel, &tls.Config{RootCAs: s.roots, ServerName: "127.0.0.1"})
		c, r := s.conn("localhost")
		before := len(s.u.Seen())
		for where, way := range map[string]struct {
			c    *tls.Conn
			r    *bufio.Reader
			fill []string
		}{
			"at the gateway": {c, r, []string{"PREFIX", "/t/shop", "HOST", "localhost"}},
			"in a tunnel":    {inside, bufio.NewReader(inside), []string{"PREFIX", "", "HOST", shop}},
		} {
			answers := s.exchange(way.c, way.r, 1, strings.NewReplacer(way.fill...).Replace(bytes))
			closed := s.closes(way.c, way.r)
			for _, a := range answers {
				if a.StatusCode != http.StatusBadRequest && a.StatusCode != http.StatusNotImplemented && a.StatusCode != http.StatusHTTPVersionNotSupported {
					t.Errorf("%s, %s: answered %d", name, where, a.StatusCode)
				}
			}
			if !closed || len(s.u.Seen()) != before {
				t.Errorf("%s, %s: closed %v, and %d requests went on", name, where, closed, len(s.u.Seen())-before)
			}
		}
	}
	c, r := s.conn("localhost")
	if answers := s.exchange(c, r, 1, strings.NewReplacer("PREFIX", "/t/shop", "HOST", "localhost").Replace(chunked)+"5;a=\"b\"\r\nhello\r\n0\r\n\r\n"); len(answers) != 1 || answers[0].StatusCode != 200 || !s.goesOn(c, r) {
		t.Errorf("a chunk's extension: %+v, or the connection does not go on", answers)
	}
}

// H69: what comes behind a request that asks for another protocol, which is not granted, is no request.
func TestH69AfterUpgrade(t *testing.T) {
	s := newWebScene(t, webPolicy(allowAllWeb), "", ok)
	for name, ask := range map[string]string{
		"h2c":       "GET /t/shop/x HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		"own API":   "GET /gatebook/v1/whoami HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"no target": "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\nUpgrade: websocket\r\n\r\n",
		"CONNECT":   "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nTOKEN\r\n\r\n",
	} {
		answers, closed := s.raw(2, ask+"GET /t/shop/smuggled HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n\r\n")
		if len(answers) > 1 || !closed || len(s.u.Seen()) > 0 {
			t.Errorf("%s: %d answers, closed %v, and the service got %+v", name, len(answers), closed, s.u.Seen())
		}
	}
}

// H107: refusals in the middle of a pipeline leave the next answers in step.
func TestH107Pipeline(t *testing.T) {
	s := newWebScene(t, webPolicy(`rules:
  - {id: some, protocol: web, effect: allow, when: 'web.path != "/no"', reason: a test}
`), "", ok)
	request := func(path, body string) string {
		return fmt.Sprintf("POST /t/shop%s HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	}
	c, r := s.conn("localhost")
	answers := s.exchange(c, r, 4, request("/a", "one")+request("/no", "two")+request("/b", "three")+request("/c", ""))
	if len(answers) != 4 || !s.goesOn(c, r) {
		t.Fatalf("%d answers, or the connection does not go on", len(answers))
	}
	for i, want := range []string{`POST /a "one"`, "(rule", `POST /b "three"`, `POST /c ""`} {
		b, _ := io.ReadAll(answers[i].Body)
		if wantCode := map[bool]int{true: 403, false: 200}[i == 1]; answers[i].StatusCode != wantCode || i != 1 && string(b) != want {
			t.Errorf("answer %d: %d %s", i, answers[i].StatusCode, b)
		}
	}
	if n := len(s.u.Seen()); n != 4 {
		t.Errorf("the service got %d requests", n)
	}
}

// H73: headers beyond the limit are refused, and neighbours go on.
func TestH73HugeHeaders(t *testing.T) {
	s := newWebScene(t, webPolicy(allowAllWeb), "", ok)
	c, r := s.conn("localhost")
	answers := s.exchange(c, r, 1, "GET /t/shop/x HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
	if len(answers) > 0 && answers[0].StatusCode != http.StatusRequestHeaderFieldsTooLarge || len(s.u.Seen()) != 0 {
		t.Errorf("%+v", answers)
	}
	if c, r := s.conn("localhost"); !s.goesOn(c, r) {
		t.Error("a neighbour is not served")
	}
}
