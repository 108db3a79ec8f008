package web

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"gatebook/internal/access"
)

func certificate(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// What goes upstream is the client's request, below the service's own path, with the gateway's credential and nobody else's.
func TestForwards(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Set-Cookie", "session=1")
		rw.Header().Set("Alt-Svc", `h3=":443"`)
		rw.Header().Set("X-Answer", "yes")
		rw.Header().Set("X-Amz-Checksum-Sha256", "of what is masked")
		rw.Header().Set("Content-Digest", "of what is masked")
		rw.Header().Set("Trailer", "X-End")
		rw.WriteHeader(201)
		io.WriteString(rw, `{"a": 1}`)
		rw.Header().Set("X-End", "done "+secret)
	})
	a := w.do("PUT", "/a%20b?q=1&q=2", "hello", "Content-Type", "text/plain", "X-Own", "1", "Cookie", "a=b", "Authorization", "Bearer mine",
		"X-Forwarded-For", "10.0.0.1", "X-HTTP-Method-Override", "DELETE", "X_Forwarded_For", "1", "Traceparent", "00-a",
		"Idempotency-Key", "k")
	got := w.last()
	if a.code != 201 || a.body != `{"a": 1}` || got.Method != "PUT" || got.RequestURI != "/base/a%20b?q=1&q=2" || got.body != "hello" {
		t.Fatalf("%+v\n%+v", a, got)
	}
	for name, want := range map[string]string{"Authorization": "Bearer upstream-token", "X-Own": "1", "Content-Type": "text/plain", "Cookie": "", "X-Forwarded-For": "",
		"X-Http-Method-Override": "", "X_forwarded_for": "", "Traceparent": "", "Accept-Encoding": "identity", "Idempotency-Key": "k"} {
		if got := strings.Join(got.Header[name], "|"); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if a.header.Get("X-Answer") != "yes" || a.header.Get("Set-Cookie") != "" || a.header.Get("Alt-Svc") != "" || a.header.Get("X-Amz-Checksum-Sha256")+a.header.Get("Content-Digest") != "" {
		t.Errorf("the answer has %v", a.header)
	}
	if end := a.trailer.Get("X-End"); !strings.HasPrefix(end, "done gbm-") {
		t.Errorf("the trailer is %q", end)
	}
	op := w.op()
	want := &access.Web{Method: "PUT", Scheme: "https", Host: "127.0.0.1", Port: op.Web.Port, Path: "/a b", Query: map[string][]string{"q": {"1", "2"}}, ContentType: "text/plain", Bytes: 5}
	if d := cmp.Diff(want, op.Web); d != "" {
		t.Error(d)
	}
	if !unreadable(op, "web.body") || !strings.Contains(op.Command, "curl -X PUT 'https://127.0.0.1:") && !strings.Contains(op.Command, "/base/a%20b?q=1&q=2") {
		t.Errorf("%+v", op)
	}
	r := w.rows()
	if len(r) != 1 || r[0].Outcome.Code != 201 || r[0].Outcome.RequestBytes != 5 || r[0].Outcome.ResponseBytes != 8 {
		t.Errorf("%+v", r)
	}
}

func unreadable(op access.Operation, field string) bool {
	return slices.ContainsFunc(op.Uninspectable, func(u access.Uninspectable) bool { return u.Field == field })
}

func compressWith(t *testing.T, name string, b []byte) string {
	var out bytes.Buffer
	var w io.WriteCloser
	switch name {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w = zlib.NewWriter(&out)
	case "br":
		w = brotli.NewWriter(&out)
	case "zstd":
		z, err := zstd.NewWriter(&out)
		must(t, err)
		w = z
	default:
		return string(b)
	}
	_, err := w.Write(b)
	must(t, err)
	must(t, w.Close())
	return out.String()
}

// H106: a body is what the service reads, however it is written; what could be read in two ways is unknown.
func TestH106Bodies(t *testing.T) {
	w := newWorld(t, reply(200, "text/plain", "ok"))
	plain := `{"action":"\u0064elete","n":[1,2.5,true]}`
	for _, e := range []string{"", "gzip", "deflate", "br", "zstd"} {
		a := w.do("POST", "/", compressWith(t, e, []byte(plain)), "Content-Type", "application/vnd.x+json; charset=UTF-8", "Content-Encoding", e)
		op := w.op()
		if a.code != 200 || len(op.Uninspectable) > 0 || w.last().body != plain || w.last().Header.Get("Content-Encoding") != "" {
			t.Errorf("%q: %+v %+v %q", e, a, op.Uninspectable, w.last().body)
		}
		if d := cmp.Diff(map[string]any{"action": "delete", "n": []any{int64(1), 2.5, true}}, op.Web.Body); d != "" {
			t.Errorf("%q: %s", e, d)
		}
	}
	for _, x := range []struct{ contentType, body string }{
		{"application/json", `{"action":"read","action":"delete"}`},
		{"application/json", `{"action":"read","\u0061ction":"delete"}`},
		{"application/json", "{\"action\":\"\xff\"}"},
		{"application/json", `{"action":"\ud800"}`},
		{"application/json", `{"n":1} {"n":2}`},
		{"application/json", "\xef\xbb\xbf{}"},
		{"application/json", `{"n":10000000000000000000001}`},
		{"application/json", `{"n":1e999}`},
		{"application/json; charset=utf-16", "{}"},
		{"application/json; charset", "{}"},
		{"text/plain", `{"action":"delete"}`},
		{"application/xml", "<a/>"},
		{"", `{"action":"delete"}`},
		{"application/json", "[" + strings.Repeat("0,", maxValues) + "0]"},
		{"application/x-www-form-urlencoded", "a=1;b=2"},
		{"application/x-www-form-urlencoded", "a=%zz"},
		{"application/x-www-form-urlencoded", "a=%ff"},
	} {
		kv := []string{}
		if x.contentType != "" {
			kv = []string{"Content-Type", x.contentType}
		}
		if a := w.do("POST", "/", x.body, kv...); a.code != 200 || !unreadable(w.op(), "web.body") || !unreadable(w.op(), "web.mcp") || w.op().Web.Body != nil {
			t.Errorf("%q %q: %d %+v", x.contentType, x.body, a.code, w.op())
		}
	}
	w.do("GET", "/", "a=1&a=2&b=%26+x", "Content-Type", "application/x-www-form-urlencoded")
	if d := cmp.Diff(map[string]any{"a": []any{"1", "2"}, "b": []any{"& x"}}, w.op().Web.Body); d != "" || len(w.op().Uninspectable) > 0 {
		t.Error(d, w.op())
	}
}

// H73: a bomb ends at the limit, by its name, and nothing of it goes on.
func TestH73Bombs(t *testing.T) {
	w := newWorld(t, reply(200, "text/plain", "ok"))
	for _, e := range []string{"gzip", "deflate", "br", "zstd"} {
		bomb := compressWith(t, e, make([]byte, 64<<20))
		if a := w.do("POST", "/", bomb, "Content-Encoding", e, "Content-Type", "application/json"); a.code != 413 || !strings.Contains(a.body, "limits.requestBodyBytes") {
			t.Errorf("%s: %d %s", e, a.code, a.body)
		}
	}
	for _, e := range []string{"gzip, gzip", "compress", "gzip;q=1", "identity, br"} {
		if a := w.do("POST", "/", "x", "Content-Encoding", e); a.code != 400 {
			t.Errorf("%s: %d %s", e, a.code, a.body)
		}
	}
	if a := w.do("POST", "/", "not gzip", "Content-Encoding", "gzip"); a.code != 400 {
		t.Errorf("%d %s", a.code, a.body)
	}
	if w.last() != nil {
		t.Errorf("the service got %+v", w.last())
	}
	if n := len(w.rows()); n != 9 {
		t.Errorf("%d records", n)
	}
}

// What is known to be secret leaves in nothing that a service answers, and an answer in which it cannot be found is refused.
func TestMasksAnswers(t *testing.T) {
	packed := compressWith(t, "gzip", []byte(secret))
	for _, x := range []struct {
		name, contentType, body string
		header                  []string
		code                    int
		want                    string // in the answer
	}{
		{name: "JSON", contentType: "application/json", body: `{"a": "x` + secret + `"}`, code: 200, want: `{"a": "xgbm-`},
		{name: "escaped JSON", contentType: "application/json", body: `{"a": "` + strings.ReplaceAll(secret, "-", `\u002d`) + `"}`, code: 200, want: `{"a": "gbm-`},
		{name: "OAuth", contentType: "application/json", body: `{"access_token":"abcdefghij-not-known","token_type":"bearer"}`, code: 200, want: `{"access_token":"gbm-`},
		{name: "OAuth in a form", contentType: "application/x-www-form-urlencoded; charset=utf-8", body: "scope=a%20b&access%5Ftoken=abcdefghij-not-known&k=" + secret, code: 200, want: "scope=a%20b&access%5Ftoken=gbm-"},
		{name: "text", contentType: "text/html; charset=latin1", body: "<p>" + secret + "</p>", code: 200, want: "gbm-"},
		{name: "no type", body: "\x00\x01" + secret, code: 200, want: "gbm-"},
		{name: "lines", contentType: "application/x-ndjson", body: `{"a":1}` + "\n" + `{"b":"` + secret + `"}` + "\n", code: 200, want: `{"b":"gbm-`},
		{name: "events", contentType: "text/event-stream", body: "id: 7\nevent: e\ndata: {\"refresh_token\":\"" + secret + "\"}\n\n: " + secret + "\n\n", code: 200, want: "event: e\ndata: {\"refresh_token\":\"gbm-"},
		{name: "header", contentType: "text/plain", body: "ok", header: []string{"X-Leak", secret}, code: 200},
		{name: "error", contentType: "text/plain", body: "no such " + secret, code: 500, want: "gbm-"},
		{name: "compressed", contentType: "text/plain", body: packed, header: []string{"Content-Encoding", "gzip"}, code: 406},
		{name: "compressed by br", contentType: "text/plain", body: compressWith(t, "br", []byte(secret)), header: []string{"Content-Encoding", "br"}, code: 406},
		{name: "an archive", contentType: "application/octet-stream", body: packed, code: 406, want: "compressed"},
		{name: "wide", contentType: "text/plain; charset=utf-16", body: "x", code: 406},
		{name: "wide by another name", contentType: "text/plain; charset=unicodeFFFE", body: "x", code: 406},
		{name: "EBCDIC", contentType: "text/plain; charset=cp037", body: "x", code: 406},
		{name: "two charsets", contentType: "text/plain; charset=utf-16; charset=utf-8", body: "x", code: 406},
		{name: "two types", contentType: "text/plain", header: []string{"Content-Type", "text/plain; charset=utf-16"}, body: "x", code: 406},
		{name: "UTF-16, unsaid", contentType: "text/plain", body: "\xff\xfes\x00e\x00", code: 406},
		{name: "bad parameters", contentType: "application/json; x", body: `{"access_token":"abcdefghij-not-known"}`, code: 200, want: `{"access_token":"gbm-`},
		{name: "zlib, hardly compressed", contentType: "text/plain", body: "\x78\x01" + secret, code: 406},
		{name: "an event without an end", contentType: "text/event-stream", body: "data: {\"refresh_token\":\"abcdefghij-not-known\"}", code: 200, want: "data: {\"refresh_token\":\"gbm-"},
		{name: "an event half ended", contentType: "text/event-stream", body: "data: {\"refresh_token\":\r\ndata: \"abcdefghij-not-known\"}\r\n", code: 200, want: "gbm-"},
		{name: "no JSON", contentType: "application/json", body: `{"a": ` + secret, code: -200}, // cut off: its beginning was JSON
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				rw.Header()["Content-Type"] = nil
				if x.contentType != "" {
					rw.Header().Set("Content-Type", x.contentType)
				}
				for i := 0; i < len(x.header); i += 2 {
					rw.Header().Add(x.header[i], x.header[i+1])
				}
				code := 200
				if x.code == 500 {
					code = 500
				}
				rw.WriteHeader(code)
				for i := range len(x.body) { // M43: split at every byte
					io.WriteString(rw, x.body[i:i+1])
					rw.(http.Flusher).Flush()
				}
			})
			a := w.do("GET", "/", "")
			if x.code < 0 { // depends on how much came at once
				if x.code = a.code; a.code == 200 && a.broken == nil {
					t.Error("the answer is whole")
				}
			}
			if a.code != x.code || !strings.Contains(a.body, x.want) {
				t.Errorf("%d %q", a.code, a.body)
			}
			shown := fmt.Sprint(a.header, a.trailer, a.body, w.recorded())
			if strings.Contains(shown, secret) || strings.Contains(shown, "abcdefghij-not-known") || strings.Contains(shown, packed) {
				t.Errorf("a secret leaves: %q", shown)
			}
		})
	}
}

// Masks of the policy's own name places in JSON and headers; what is not JSON is refused then, and an error's text withheld.
func TestMasksOfThePolicy(t *testing.T) {
	custom := access.Mask{Name: "own", Paths: []string{"user.mail", "*.mail", "header:X-Mail"}}
	body, contentType, code := `{"user":{"mail":"a@b.example"}}`, "application/json", 200
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Mail", "a@b.example")
		reply(code, contentType, body)(rw, r)
	})
	w.decide = allow(custom)
	check := func(wantCode int, want string) {
		t.Helper()
		a := w.do("GET", "/", "")
		if a.code != wantCode || !strings.Contains(a.body, want) || strings.Contains(fmt.Sprint(a), "a@b.example") {
			t.Errorf("%d %v %q", a.code, a.header, a.body)
		}
	}
	check(200, `{"user":{"mail":"gbm-`)
	body = `[{"mail":"a@b.example","n":1}]`
	check(200, `"n":1}]`)
	contentType, body = "text/event-stream", "data: {\"user\":{\"mail\":\"a@b.example\"}}\n\n"
	check(200, `data: {"user":{"mail":"gbm-`)
	body = "data: {\"user\":{\"mail\":\"a@b.example\"}}"
	check(200, `data: {"user":{"mail":"gbm-`)
	body = ": a@b.example\n\n: a@b.example\ndata: {\"n\":1}\n\n"
	check(200, ":\n\ndata: {\"n\":1}\n\n")
	contentType, body = "text/html", "a@b.example"
	check(406, "JSON alone")
	code = 404
	check(404, "withheld")
}

// A target that says so lets archives through as they are; text in them is none of its business.
func TestOpaque(t *testing.T) {
	packed := compressWith(t, "gzip", []byte("a package"))
	body := packed
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) { reply(200, "application/octet-stream", body)(rw, r) }, func(o *Options) { o.Opaque = true })
	if a := w.do("GET", "/", ""); a.code != 200 || a.body != packed {
		t.Errorf("%d %q", a.code, a.body)
	}
	body = "no archive, but " + secret
	if a := w.do("GET", "/", ""); a.code != 200 || strings.Contains(a.body, secret) {
		t.Errorf("%d %q", a.code, a.body)
	}
}

// What the agent itself sends of a secret is in no record, and a field that it stands in is unknown to policy.
func TestHidesWhatIsSent(t *testing.T) {
	w := newWorld(t, reply(200, "text/plain", "ok"))
	a := w.do("POST", "/"+secret+"?k="+secret, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"p":"`+secret+`"}}}`,
		"Content-Type", "application/json", "X-Key", secret, "User-Agent", "ua "+secret, "Gatebook-Reason", secret)
	op := w.op()
	for _, f := range []string{"web.path", "web.query", "web.body", "web.mcp", "operation.command"} {
		if !unreadable(op, f) {
			t.Errorf("%s can be read", f)
		}
	}
	if a.code != 200 || !strings.Contains(w.last().body, secret) || w.last().Header.Get("X-Key") != secret || w.last().URL.Query().Get("k") != secret {
		t.Errorf("%+v: the service got %+v", a, w.last())
	}
	if s := fmt.Sprintf("%+v %+v %+v", op, op.Web, op.Web.MCP); strings.Contains(s, secret) || strings.Contains(w.recorded(), secret) {
		t.Errorf("%s", s)
	}
}

// Promise 4: a masked value that comes back is refused wherever it stands.
func TestPlaceholdersAreRefused(t *testing.T) {
	w := newWorld(t, reply(200, "text/plain", "ok"))
	p := w.h.o.Masks.Scope(caller.Session).Placeholder([]byte(secret))
	for _, x := range [][]string{{"GET", "/" + p, ""}, {"GET", "/?a=" + p, ""}, {"POST", "/", "x" + p}, {"POST", "/", p, "Content-Type", "application/json"}, {"GET", "/", "", "X-Key", p}} {
		if a := w.do(x[0], x[1], x[2], x[3:]...); a.code != 409 || w.last() != nil {
			t.Errorf("%q: %d %s", x, a.code, a.body)
		}
	}
}

// A path that leads elsewhere is refused; one that may be read in two ways is unknown.
func TestPaths(t *testing.T) {
	w := newWorld(t, reply(200, "text/plain", "ok"))
	for uri, want := range map[string]int{"/a": 200, "/@scope%2fname": 1, "/a//b": 1, "/a;v=1/b": 1, "/%61": 1, "/a%25b": 1, "/a%5cb": 1, "/ä%20b": 200,
		"/a/%2e%2e/b": 400, "/a/..%2fb": 400, "/%252e%252e/b": 400, "/..;/b": 400, "/a%00b": 400, "/a%0ab": 400, "/%ff": 400, "/a/..%5cb": 400, "/.": 400, "/?q=a;b": 2, "/?q=%ff": 2} {
		a := w.do("GET", strings.ReplaceAll(uri, "ä", "%C3%A4"), "")
		switch {
		case want == 400 && a.code == 400:
		case want == 400 || a.code != 200 || unreadable(w.op(), "web.path") != (want == 1) || unreadable(w.op(), "web.query") != (want == 2):
			t.Errorf("%s: %d %s %+v", uri, a.code, a.body, w.op().Uninspectable)
		}
	}
	for _, m := range []string{"TRACE", "get", "TRACK", "A_B"} {
		if a := w.do(m, "/", ""); a.code != 400 {
			t.Errorf("%s: %d", m, a.code)
		}
	}
}

func ask(*access.Operation) access.Decision {
	return access.Decision{Effect: access.Approve, Reason: "it changes", Rules: []access.RuleHit{{ID: "r", Effect: access.Approve}}, Approval: &access.ApprovalTerms{Count: 1}}
}

// A request that waits is held, then told what to do; the card has all of its body, and any change is another digest.
func TestHolds(t *testing.T) {
	w := newWorld(t, reply(200, "text/plain", "ok"), func(o *Options) { o.Hold = 50 * time.Millisecond })
	w.decide = ask
	a := w.do("POST", "/x", `{"a":1}`, "Content-Type", "application/json")
	var p problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.code != 429 || a.header.Get("Retry-After") != "10" || p.Approval != "approval-1" || p.Status != 429 ||
		!strings.Contains(p.Detail, "(rule r)") || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%v %d %s", err, a.code, a.body)
	}
	w.do("POST", "/x", `{"a":1}`, "Content-Type", "application/json", "Traceparent", "00-b", "Authorization", "Bearer another")
	for _, x := range [][]string{{"POST", "/x", `{"a":1} `}, {"PUT", "/x", `{"a":1}`}, {"POST", "/%78", `{"a":1}`}, {"POST", "/x?a", `{"a":1}`}, {"POST", "/x", `{"a":1}`, "X-More", "1"}} {
		w.do(x[0], x[1], x[2], append(x[3:], "Content-Type", "application/json")...)
	}
	seen := map[access.Digest]int{}
	for _, op := range w.ops {
		seen[op.Digest]++
	}
	if len(seen) != 6 || seen[w.ops[0].Digest] != 2 || w.Cards()[0].Object != `{"a":1}` || w.last() != nil {
		t.Errorf("%d digests, %+v", len(seen), w.Cards()[0])
	}
}

// What a tool answers is the outcome of its call, in JSON and in events, masked; another call's is not.
func TestMCPResults(t *testing.T) {
	for _, x := range []struct{ answer, want string }{
		{`{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no, ` + secret + `"}}`, "no, gbm-"},
		{`{"jsonrpc":"2.0","id":7,"result":{"isError":true,"content":[]}}`, "the tool says that it failed"},
		{`{"jsonrpc":"2.0","id":7,"result":{"isError":false}}`, ""},
		{`{"jsonrpc":"2.0","id":8,"error":{"code":1,"message":"another call"}}`, ""},
	} {
		for _, events := range []bool{false, true} {
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				if events {
					reply(200, "text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\ndata: "+x.answer+"\n\n")(rw, r)
					return
				}
				reply(200, "application/json", x.answer)(rw, r)
			})
			w.do("POST", "/mcp", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t"}}`, "Content-Type", "application/json")
			if o := w.rows()[0].Outcome; o == nil || !strings.HasPrefix(o.Message, x.want) || (o.Message == "") != (x.want == "") || strings.Contains(o.Message, secret) {
				t.Errorf("%s, events %v: %+v", x.answer, events, o)
			}
		}
	}
}

// The same call of a tool made again joins its approval although its id is another; any other difference is another call.
func TestMCPAgain(t *testing.T) {
	w := newWorld(t, reply(200, "text/plain", "ok"), func(o *Options) { o.Hold = time.Millisecond })
	w.decide = ask
	call := func(id, meta, args string) string {
		return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"_meta":{` + meta + `},"name":"rm","arguments":{` + args + `}}}`
	}
	digest := func(body string) access.Digest {
		t.Helper()
		before := len(w.ops)
		a := w.do("POST", "/mcp", body, "Content-Type", "application/json")
		if len(w.ops) == before {
			t.Fatalf("%s: %d %s", body, a.code, a.body)
		}
		return w.ops[before].Digest
	}
	trace := `"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`
	first := digest(call("1", `"progressToken":1`, `"all":true`))
	for _, same := range []string{call("22", `"progressToken":"p-2"`, `"all":true`), call(`"`+secret+`"`, `"progressToken":3`, `"all":true`)} {
		if digest(same) != first {
			t.Errorf("%s is another call", same)
		}
	}
	trace += `,"claudecode/toolUseId":"toolu_1"`
	if digest(call("1", trace, `"all":true`)) != digest(call("2", strings.NewReplacer("0af", "1af", "toolu_1", "toolu_2").Replace(trace), `"all":true`)) {
		t.Error("with another trace it is another call")
	}
	seen := map[access.Digest]string{first: "the first"}
	for _, other := range []string{call("1", `"progressToken":1`, `"all":false`), call("1", `"progressToken":1,"x":1`, `"all":true`), call("1", `"progressToken":1`, `"all":true,"id":1`),
		call("1", `"progressToken":1`, `"all":true,"id":2`), call("1", `"progressToken":1`, `"all":true,"_meta":{"progressToken":1}`), call("1", `"progressToken":1`, `"all":true,"_meta":{"progressToken":2}`)} {
		d := digest(other)
		if seen[d] != "" {
			t.Errorf("%s is the same as %s", other, seen[d])
		}
		seen[d] = other
	}
	for _, id := range []string{`{"a":1}`, `[1]`, `true`, `"` + strings.Repeat("x", maxID) + `"`} {
		if a := w.do("POST", "/mcp", call(id, "", ""), "Content-Type", "application/json"); !strings.Contains(a.body, `"code":"Malformed"`) {
			t.Errorf("the id %.20s: %d %s", id, a.code, a.body)
		}
	}
}

// A refused call of MCP is an error of JSON-RPC with its id; one without is a problem. Batches are refused.
func TestMCP(t *testing.T) {
	w := newWorld(t, reply(200, "text/plain", "ok"))
	w.decide = func(*access.Operation) access.Decision {
		return access.Decision{Effect: access.Deny, Reason: "no tools"}
	}
	call := func(body string) answer { return w.do("POST", "/mcp", body, "Content-Type", "application/json") }
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, id := range []string{"7", `"a\u0062"`, "1e2"} {
		a := call(`{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"rm","arguments":{"all":true},"_meta":{"traceparent":"` + trace + `","claudecode/toolUseId":"toolu_1"}}}`)
		if a.code != 200 || !strings.Contains(a.body, `"id":`+id+`,`) && !strings.HasSuffix(strings.TrimSpace(a.body), `"id":`+id+`,"jsonrpc":"2.0"}`) || !strings.Contains(a.body, "gatebook: no tools") {
			t.Errorf("%s: %d %s", id, a.code, a.body)
		}
	}
	op := w.op()
	if d := cmp.Diff(&access.MCP{Method: "tools/call", Tool: "rm", Arguments: map[string]any{"all": true}}, op.Web.MCP); d != "" || op.Client.Trace != trace || op.Client.Call != "toolu_1" {
		t.Error(d, op.Client)
	}
	if a := call(`{"jsonrpc":"2.0","method":"notifications/x"}`); a.code != 403 {
		t.Errorf("%d %s", a.code, a.body)
	}
	if a := call(`[{"jsonrpc":"2.0","id":1,"method":"ping"}]`); a.code != 400 || !strings.Contains(a.body, "batch") {
		t.Errorf("%d %s", a.code, a.body)
	}
	for _, body := range []string{
		`[{"method":"ping"}]`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","param\u017f":{}}`,
		`{"jsonrpc":"2.0","id":1,"method":7}`,
		`{"jsonrpc":"2.0","id":1,"method":""}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["rm",{}]}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["rm"]}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rm","arguments":["all"]}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ls","Name":"rm"}}`,
	} {
		if a := call(body); a.code != 400 && !strings.Contains(a.body, `"code":"Malformed"`) {
			t.Errorf("%s: %d %s", body, a.code, a.body)
		}
	}
	if w.last() != nil {
		t.Error("something went on")
	}
	ls := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ls"}}`
	for _, x := range [][]string{{`{"id":1,"method":"tools/call"}`}, {`{"JsonRpc":"2.0"}`}, {`{"jsonrpc":2,"method":"x"}`}, {ls, "Mcp-Name", "rm"}, {ls, "Mcp-Method", "tools/list"}} {
		w.do("POST", "/mcp", x[0], append(x[1:], "Content-Type", "application/json")...)
		if !unreadable(w.op(), "web.mcp") {
			t.Errorf("%q can be read: %+v", x, w.op().Web.MCP)
		}
	}
	w.do("POST", "/mcp", ls, "Content-Type", "application/json", "Mcp-Name", "ls", "Mcp-Method", "tools/call")
	if unreadable(w.op(), "web.mcp") {
		t.Error("what headers and message say alike is unknown")
	}
}

// A redirect within the service stays below the path by which the client came.
func TestRedirects(t *testing.T) {
	to := ""
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header()["Location"] = []string{to}
		rw.WriteHeader(302)
	})
	for from, want := range map[string]string{"/base/x?y#z": "/x?y#z", "/other": "/other", "next": "next", "https://elsewhere.example/base/a": "https://elsewhere.example/base/a", w.back.URL + "/base/q%2f": "/q%2f"} {
		to = from
		if a := w.do("GET", "/a", ""); a.code != 302 || a.header.Get("Location") != want {
			t.Errorf("%s: %s", from, a.header.Get("Location"))
		}
	}
	x := &exchange{h: w.h, r: &http.Request{RequestURI: "/t/shop/a%2fb?q", URL: mustURL(t, "/a%2fb?q")}}
	if p := x.prefix(); p != "/t/shop" {
		t.Errorf("prefix %q", p)
	}
}

// A stream is cut when its right is taken back.
func TestRevocationCuts(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(rw, "data: 1\n\n")
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	r, err := http.NewRequest("GET", w.front.URL+"/", nil)
	must(t, err)
	resp, err := w.front.Client().Transport.RoundTrip(r)
	must(t, err)
	defer resp.Body.Close()
	first := make([]byte, len("data: 1\n\n"))
	_, err = io.ReadFull(resp.Body, first)
	must(t, err)
	w.Revoke() // while it runs
	if rest, err := io.ReadAll(resp.Body); string(first) != "data: 1\n\n" || len(rest) > 0 || err == nil {
		t.Errorf("%q %q %v", first, rest, err)
	}
	if r := w.rows(); r[0].Outcome.Truncated != "taken back" {
		t.Errorf("%+v", r[0].Outcome)
	}
}

func TestTokens(t *testing.T) {
	h := &Handler{}
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	basic := func(user string) string {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, "tok")
		return r.Header.Get("Authorization")
	}
	for _, x := range []struct {
		own, proxy []string
		want       string
	}{
		{[]string{"Bearer tok"}, nil, "tok"}, {[]string{"bearer  tok "}, nil, "tok"}, {[]string{basic("x")}, nil, "tok"}, {[]string{basic(trace)}, nil, "tok~" + trace},
		{[]string{"Bearer other"}, []string{basic("x")}, "tok"}, {nil, []string{"Bearer tok"}, "tok"}, {[]string{"Bearer tok"}, []string{"Digest x"}, ""},
		{[]string{"Bearer a", "Bearer b"}, nil, ""}, {nil, []string{"Bearer a", "Bearer b"}, ""}, {nil, nil, ""}, {[]string{"Basic !"}, nil, ""},
	} {
		r := &http.Request{Header: http.Header{"Authorization": x.own, "Proxy-Authorization": x.proxy}}
		if got := h.Token(r); got != x.want || len(r.Header) != 0 {
			t.Errorf("%+v: %q, left %v", x, got, r.Header)
		}
	}
}

func TestHead(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == "e" {
			rw.WriteHeader(304)
			return
		}
		rw.Header().Set("Content-Length", "1234")
		rw.Header().Set("Etag", "e")
	})
	if a := w.do("HEAD", "/", ""); a.code != 200 || a.header.Get("Content-Length") != "1234" || a.body != "" {
		t.Errorf("%+v", a)
	}
	if a := w.do("GET", "/", "", "If-None-Match", "e"); a.code != 304 {
		t.Errorf("%+v", a)
	}
}

// Where nothing is masked, ranges and compression are between client and service.
func TestUnmaskedIsAsItCame(t *testing.T) {
	packed := compressWith(t, "gzip", []byte(secret))
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "bytes=0-3" || r.Header.Get("Accept-Encoding") != "gzip" {
			t.Errorf("%v", r.Header)
		}
		rw.Header().Set("Content-Encoding", "gzip")
		rw.Header().Set("Content-Range", "bytes 0-3/9")
		rw.WriteHeader(206)
		io.WriteString(rw, packed)
	})
	w.decide = allow()
	if a := w.do("GET", "/", "", "Range", "bytes=0-3", "Accept-Encoding", "gzip"); a.code != 206 || a.body != packed || a.header.Get("Content-Range") == "" {
		t.Errorf("%+v", a)
	}
	w.upstream = func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			t.Errorf("%v", r.Header)
		}
		reply(200, "text/plain", "whole")(rw, r)
	}
	w.decide = allow(known...)
	if a := w.do("GET", "/", "", "Range", "bytes=0-3"); a.code != 200 || a.body != "whole" {
		t.Errorf("%+v", a)
	}
}

// A credential that nobody knew is recorded as a placeholder wherever a request holds it, whatever the policy masks in answers; the
// service gets it as it is, and what policy reads of it is unknown.
func TestCredentialsInRequestsAreNotRecorded(t *testing.T) {
	key := "gh" + "p_" + strings.Repeat("Aa9xQz", 6)
	for name, c := range map[string]struct{ method, uri, media, body, unknown string }{
		"JSON":    {"POST", "/x", "application/json", `{"key": "` + key + `", "n": 1}`, "web.body"},
		"a form":  {"POST", "/x", "application/x-www-form-urlencoded", "key=" + key + "&n=1", "web.body"},
		"text":    {"POST", "/x", "text/plain", "it is " + key, "web.body"},
		"a query": {"GET", "/x?key=" + key, "", "", "web.query"},
		"MCP":     {"POST", "/mcp", "application/json", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send","arguments":{"text":"` + key + `"}}}`, "web.mcp"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, reply(200, "text/plain", "fine"))
			w.decide = allow()
			if a := w.do(c.method, c.uri, c.body, "Content-Type", c.media, "X-Note", "it is "+key); a.code != 200 {
				t.Fatalf("answered %d %s", a.code, a.body)
			}
			if got := w.last(); got.body != c.body || !strings.HasSuffix(c.uri, got.URL.RawQuery) || !strings.Contains(got.Header.Get("X-Note"), key) {
				t.Errorf("the service got %q, %s", got.body, got.URL)
			}
			op := w.op()
			if !slices.ContainsFunc(op.Uninspectable, func(u access.Uninspectable) bool { return u.Field == c.unknown }) {
				t.Errorf("unknown is %v", op.Uninspectable)
			}
			if text, err := json.Marshal(op); err != nil || strings.Contains(string(text), key) {
				t.Errorf("the operation is %s", text)
			}
			if b := w.recorded(); strings.Contains(b, key) || !strings.Contains(b, access.PlaceholderPrefix) {
				t.Errorf("the record is %q", b)
			}
		})
	}
}
