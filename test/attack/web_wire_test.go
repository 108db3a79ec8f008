package attack

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func ok(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %q", r.Method, r.URL.Path, b)
}

// H69: what two readers could frame in two ways is answered with 400, the connection is closed, and nothing goes on.
func TestH69Smuggling(t *testing.T) {
	s := newWebScene(t, webPolicy(allowAllWeb), "", ok)
	const smuggled = "GET /t/shop/smuggled HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n\r\n"
	head := func(lines string) string {
		return "POST /t/shop/x HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n" + lines + "\r\n"
	}
	for name, bytes := range map[string]string{
		"two lengths":         head("Content-Length: 5\r\nContent-Length: 0\r\n") + "hello" + smuggled,
		"length with a sign":  head("Content-Length: +5\r\n") + "hello" + smuggled,
		"list of lengths":     head("Content-Length: 5, 5\r\n") + "hello" + smuggled,
		"space before colon":  head("Content-Length : 5\r\n") + "hello" + smuggled,
		"other encoding":      head("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n" + smuggled,
		"two encodings":       head("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n") + "0\r\n\r\n" + smuggled,
		"encoding list":       head("Transfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n" + smuggled,
		"encoding with VT":    head("Transfer-Encoding: \x0bchunked\r\n") + "0\r\n\r\n" + smuggled,
		"CR in a header":      head("X: a\rContent-Length: 5\r\n") + "hello" + smuggled,
		"NUL in a header":     head("X: a\x00b\r\n") + smuggled,
		"bare LF chunk":       head("Transfer-Encoding: chunked\r\n") + "5\nhello\n0\n\n" + smuggled,
		"chunk size overflow": head("Transfer-Encoding: chunked\r\n") + "10000000000000005\r\nhello\r\n0\r\n\r\n" + smuggled,
		"chunk size 0x":       head("Transfer-Encoding: chunked\r\n") + "0x5\r\nhello\r\n0\r\n\r\n" + smuggled,
		"chunk too long":      head("Transfer-Encoding: chunked\r\n") + "5\r\nhello!!\r\n0\r\n\r\n" + smuggled,
		"two hosts":           "GET /t/shop/x HTTP/1.1\r\nHost: localhost\r\nHost: other\r\nTOKEN\r\n\r\n",
		"no host":             "GET /t/shop/x HTTP/1.1\r\nTOKEN\r\n\r\n",
		"version":             "GET /t/shop/x HTTP/1.2x\r\nHost: localhost\r\nTOKEN\r\n\r\n",
		"space in the path":   "GET /t/shop/x y HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n\r\n",
	} {
		before := len(s.u.Seen())
		answers, closed := s.raw(1, bytes)
		for _, a := range answers {
			if a.StatusCode != http.StatusBadRequest && a.StatusCode != http.StatusNotImplemented && a.StatusCode != http.StatusHTTPVersionNotSupported {
				t.Errorf("%s: answered %d", name, a.StatusCode)
			}
		}
		if !closed || len(s.u.Seen()) != before {
			t.Errorf("%s: closed %v, and %d requests went on", name, closed, len(s.u.Seen())-before)
		}
	}
}

// H69: what net/http reads in one way, as RFC 9112 has it, although others may not, reaches the service as one request with one
// framing: nothing that hides in it becomes a request of its own.
func TestH69Reframed(t *testing.T) {
	s := newWebScene(t, webPolicy(allowAllWeb), "", ok)
	head := func(lines string) string {
		return "POST /t/shop/x HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n" + lines + "\r\n"
	}
	const hidden = "GET /t/shop/smuggled HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n\r\n"
	for name, bytes := range map[string]string{
		"length and chunks":       head("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(strings.ReplaceAll(hidden, "TOKEN", "Authorization: Bearer "+s.agent)), hidden),
		"chunks and length":       head("Transfer-Encoding: chunked\r\nContent-Length: 100\r\n") + "5\r\nhello\r\n0\r\n\r\n",
		"folded length":           head("X: a\r\n Content-Length: 5\r\n"),
		"chunk extension, quoted": head("Transfer-Encoding: chunked\r\n") + "5;a=\"b\"\r\nhello\r\n0\r\n\r\n",
	} {
		before := len(s.u.Seen())
		answers, _ := s.raw(1, bytes)
		got := s.u.Seen()[before:]
		if len(answers) > 1 || len(got) > 1 {
			t.Fatalf("%s: %d answers, and the service got %+v", name, len(answers), got)
		}
		for _, r := range got {
			if r.URI != "/x" || len(r.Header.Values("Content-Length")) > 1 || r.Header.Get("Transfer-Encoding") != "" {
				t.Errorf("%s: the service got %s", name, r.Dump)
			}
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
	answers, closed := s.raw(4, request("/a", "one")+request("/no", "two")+request("/b", "three")+request("/c", ""))
	if len(answers) != 4 || closed {
		t.Fatalf("%d answers, closed: %v", len(answers), closed)
	}
	for i, want := range []string{`POST /a "one"`, "(rule", `POST /b "three"`, `POST /c ""`} {
		b, _ := io.ReadAll(answers[i].Body)
		if wantCode := map[bool]int{true: 403, false: 200}[i == 1]; answers[i].StatusCode != wantCode || i != 1 && string(b) != want {
			t.Errorf("answer %d: %d %s", i, answers[i].StatusCode, b)
		}
	}
	if n := len(s.u.Seen()); n != 3 {
		t.Errorf("the service got %d requests", n)
	}
}

// H73: headers beyond the limit are refused, and neighbours go on.
func TestH73HugeHeaders(t *testing.T) {
	s := newWebScene(t, webPolicy(allowAllWeb), "", ok)
	answers, _ := s.raw(1, "GET /t/shop/x HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
	if len(answers) > 0 && answers[0].StatusCode != http.StatusRequestHeaderFieldsTooLarge || len(s.u.Seen()) != 0 {
		t.Errorf("%+v", answers)
	}
	began := time.Now()
	if answers, _ := s.raw(1, "GET /t/shop/x HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n\r\n"); len(answers) != 1 || answers[0].StatusCode != 200 || time.Since(began) > 10*time.Second {
		t.Errorf("%+v", answers)
	}
}
