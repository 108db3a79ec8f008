package kubernetes

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"gatebook/internal/access"
)

const logURI = "/api/v1/namespaces/n/pods/p/log?container=c"

// logServer is a front whose requests can be waited for: a server does not wait for connections that were upgraded.
func logServer(t *testing.T, w *world) (url string, served chan struct{}) {
	t.Helper()
	served = make(chan struct{}, 1)
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		defer func() { served <- struct{}{} }()
		w.front.Config.Handler.ServeHTTP(rw, r)
	}))
	t.Cleanup(front.Close)
	return "ws" + strings.TrimPrefix(front.URL, "http"), served
}

// dialLog opens a log over WebSocket; the answer is that of a server which does not switch.
func dialLog(t *testing.T, url string, protocols ...string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	d := websocket.Dialer{Subprotocols: protocols}
	ws, resp, err := d.Dial(url, http.Header{"User-Agent": {"Go-http-client/1.1"}, "Origin": {"http://elsewhere.example"}})
	if ws != nil {
		t.Cleanup(func() { ws.Close() })
	}
	return ws, resp, err
}

// readLog reads to the end, which is given: nil for a goodbye.
func readLog(t *testing.T, ws *websocket.Conn, inBase64 bool) (string, error) {
	t.Helper()
	var all strings.Builder
	for n := 0; ; n++ {
		kind, b, err := ws.ReadMessage()
		if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			return all.String(), nil
		}
		if err != nil {
			return all.String(), err
		}
		if n == 0 && len(b) > 0 {
			t.Errorf("the first message is %q, not empty", b)
		}
		if want := map[bool]int{true: websocket.TextMessage, false: websocket.BinaryMessage}[inBase64]; kind != want {
			t.Errorf("a message of type %d, want %d", kind, want)
		}
		if inBase64 {
			b = unbase64(t, string(b))
		}
		all.Write(b)
	}
}

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	must(t, err)
	return b
}

// K4, K8, M42: a log over WebSocket is the one over HTTP: asked for, decided, masked and recorded as that is.
func TestK8M42LogOverWebSocket(t *testing.T) {
	long := strings.Repeat("a line of a log that needs several messages\n", 4000)
	for _, c := range []struct {
		protocols []string
		chosen    string
	}{
		{nil, ""},
		{[]string{"binary.k8s.io"}, "binary.k8s.io"},
		{[]string{"base64.binary.k8s.io"}, "base64.binary.k8s.io"},
		{[]string{"v5.channel.k8s.io", "base64.binary.k8s.io", "binary.k8s.io"}, "base64.binary.k8s.io"},
	} {
		t.Run(c.chosen, func(t *testing.T) {
			w := newWorld(t, reply(200, "text/plain", "it is "+execCanary+"\n"+long))
			w.h.o.Masks.Learn([]byte(execCanary))
			url, served := logServer(t, w)
			plain := w.do("GET", logURI, "")
			ws, _, err := dialLog(t, url+logURI, c.protocols...)
			must(t, err)
			got, err := readLog(t, ws, strings.HasPrefix(c.chosen, "base64"))
			must(t, err)
			<-served
			if got != plain.body || !strings.HasPrefix(got, "it is ") || !strings.HasSuffix(got, long) || len(leaks([]byte(got), execCanary)) > 0 {
				t.Errorf("got %d bytes, %.60q; over HTTP %d bytes, %.60q", len(got), got, len(plain.body), plain.body)
			}
			if ws.Subprotocol() != c.chosen {
				t.Errorf("subprotocol %q, want %q", ws.Subprotocol(), c.chosen)
			}
			sent := w.last()
			for name := range sent.Header {
				if strings.HasPrefix(name, "Sec-") || name == "Upgrade" || name == "Connection" || name == "Origin" {
					t.Errorf("the upstream got %s: %q", name, sent.Header[name])
				}
			}
			if sent.Method != "GET" || sent.RequestURI != logURI {
				t.Errorf("the upstream was asked %s %s", sent.Method, sent.RequestURI)
			}
			if l := leaks(w.recorded(), execCanary); len(l) > 0 {
				t.Errorf("the book holds the value: %q", l)
			}
			rows := w.rows()
			if len(rows) != 2 {
				t.Fatalf("%d operations, want 2", len(rows))
			}
			a, b := rows[0], rows[1]
			if a.Operation.Digest != b.Operation.Digest || a.Operation.Command != b.Operation.Command || b.Operation.Verb != "get" {
				t.Errorf("over HTTP %q %s, over WebSocket %q %s", a.Operation.Command, a.Operation.Digest, b.Operation.Command, b.Operation.Digest)
			}
			if o, p := a.Outcome, b.Outcome; p.Code != 200 || p.Masked != 1 || p.Truncated != "" || p.ResponseBytes != o.ResponseBytes {
				t.Errorf("over HTTP %+v, over WebSocket %+v", o, p)
			}
		})
	}
}

// What is cut by limitBytes is the masked log, over WebSocket as well.
func TestLimitedLogOverWebSocket(t *testing.T) {
	w := newWorld(t, reply(200, "text/plain", "it is "+execCanary+"\n"))
	w.h.o.Masks.Learn([]byte(execCanary))
	url, served := logServer(t, w)
	ws, _, err := dialLog(t, url+logURI+"&limitBytes=12")
	must(t, err)
	got, err := readLog(t, ws, false)
	<-served
	if err != nil || len(got) != 12 || strings.Contains(got, execCanary[:6]) || strings.Contains(w.last().RequestURI, "limitBytes") {
		t.Errorf("got %q, %v; the upstream was asked %s", got, err, w.last().RequestURI)
	}
}

// K1, K4: where there is no log, the answer is HTTP's own, and the connection ends.
func TestK1K4NoLogOverWebSocket(t *testing.T) {
	for _, c := range []struct {
		name, uri, protocol string
		upstream            http.HandlerFunc
		denied              bool
		code                int
		says                string
		asked               bool
	}{
		{name: "error", uri: logURI, protocol: "binary.k8s.io", code: 404, says: `pods \"p\" not found`, asked: true,
			upstream: reply(404, typeJSON, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"pods \"p\" not found","code":404}`)},
		{name: "nothing", uri: logURI, protocol: "binary.k8s.io", code: 204, asked: true, upstream: func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(204) }},
		{name: "unmaskable", uri: logURI, protocol: "binary.k8s.io", code: 406, says: "cannot be masked", asked: true, upstream: reply(200, "application/x-unknown", "x")},
		{name: "redirect", uri: logURI, protocol: "binary.k8s.io", code: 502, says: "gatebook: ", asked: true,
			upstream: func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("Location", "/x"); rw.WriteHeader(302) }},
		{name: "denied", uri: logURI, protocol: "binary.k8s.io", denied: true, code: 403, says: "gatebook: "},
		{name: "channels", uri: logURI, protocol: "v5.channel.k8s.io", code: 400, says: "a log goes over WebSocket by binary.k8s.io"},
		{name: "of another group", uri: "/apis/example.com/v1/namespaces/n/pods/p/log", protocol: "binary.k8s.io", code: 400, says: "is not passed on here"},
		{name: "of a kubelet", uri: "/api/v1/nodes/n/proxy/containerLogs/n/p/c", protocol: "binary.k8s.io", code: 400, says: "is not passed on here"},
		{name: "bad limit", uri: logURI + "&limitBytes=x", protocol: "binary.k8s.io", code: 400, says: "limitBytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.upstream)
			if c.denied {
				w.decide = func(*access.Operation) (access.Decision, []string) { return access.Decision{Effect: access.Deny}, nil }
			}
			url, served := logServer(t, w)
			ws, resp, err := dialLog(t, url+c.uri, c.protocol)
			if ws != nil || resp == nil {
				t.Fatalf("dialled: %v", err)
			}
			body, err := io.ReadAll(resp.Body)
			must(t, err)
			<-served
			if resp.StatusCode != c.code || !strings.Contains(string(body), c.says) || !resp.Close {
				t.Errorf("answered %d, closing %v, %s", resp.StatusCode, resp.Close, body)
			}
			if asked := w.last() != nil; asked != c.asked {
				t.Errorf("the upstream was asked: %v", asked)
			}
		})
	}
}
