package attack

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gatebook/internal/access"
	"gatebook/test/lab"
)

const (
	execPath    = "/api/v1/namespaces/default/pods/x/exec?command=id&stdout=1"
	attachPath  = "/api/v1/namespaces/default/pods/x/attach?stdout=1"
	forwardPath = "/api/v1/namespaces/default/pods/x/portforward?ports=80"
)

// webSocket are the headers of a client that asks for a WebSocket with one of the protocols.
func webSocket(protocols ...string) []string {
	out := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	if len(protocols) > 0 {
		out = append(out, "Sec-WebSocket-Protocol: "+strings.Join(protocols, ", "))
	}
	return out
}

// spdy are the headers of a client that asks for SPDY.
func spdy(protocols ...string) []string {
	out := []string{"Connection: Upgrade", "Upgrade: SPDY/3.1"}
	for _, p := range protocols {
		out = append(out, "X-Stream-Protocol-Version: "+p)
	}
	return out
}

// hijacked answers a request by hand, in raw bytes.
func hijacked(t *testing.T, raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if _, err := rw.WriteString(raw); err != nil {
			t.Error(err)
		}
		if err := rw.Flush(); err != nil {
			t.Error(err)
		}
	}
}

func answering(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Add(name, value)
		}
		w.WriteHeader(code)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"made up","code":`+fmt.Sprint(code)+`}`)
	}
}

// upgrades are the ways to ask for a stream.
var upgrades = []struct {
	name, method, path string
	header             []string
}{
	{"exec by WebSocket", "GET", execPath, webSocket("v5.channel.k8s.io")},
	{"exec by WebSocket v4", "GET", execPath, webSocket("v4.channel.k8s.io")},
	{"exec by SPDY", "POST", execPath, spdy("v4.channel.k8s.io")},
	{"attach by WebSocket", "GET", attachPath, webSocket("v5.channel.k8s.io")},
	{"attach by SPDY", "POST", attachPath, spdy("v4.channel.k8s.io")},
	{"port-forward by SPDY in WebSocket", "GET", forwardPath, webSocket("SPDY/3.1+portforward.k8s.io")},
	{"port-forward by SPDY", "POST", forwardPath, spdy("portforward.k8s.io")},
}

// K1: an upgrade that the upstream answers with an error ends the connection: no request that follows on it, in the
// same bytes or later, is read.
func TestK01FailedUpgradeEndsTheConnection(t *testing.T) {
	codes := []int{400, 401, 403, 404, 409, 426, 429, 500, 502, 503}
	for n, u := range upgrades {
		t.Run(u.name, func(t *testing.T) {
			code := codes[n]
			fake := lab.StartUpstream(t, false, answering(code, "Content-Type: application/json", "Connection: keep-alive"))
			g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}, Targets: fake.Target("fake", "")})
			token := g.Person("actor")
			c := over(t, g, h1)
			c.send(request{method: u.method, path: "/t/fake" + u.path, token: token, header: u.header})
			c.send(request{path: "/t/fake/api/v1/secrets", token: token})
			a := c.read(u.method)
			want := code
			if code == 401 { // the upstream's word on the gateway's own credential
				want = http.StatusBadGateway
			}
			if a.code != want {
				t.Errorf("answered %d, want %d: %s", a.code, want, a.body)
			}
			if !c.isClosed() {
				t.Error("the connection goes on")
			}
			for _, s := range fake.Seen() {
				if !strings.Contains(s.URI, "/pods/x/") {
					t.Errorf("the request behind the failed upgrade reached the upstream: %s", s.Dump)
				}
			}
			all := own(book(t, g, "actor"))
			if len(all) != 1 || all[0].Outcome == nil || all[0].Outcome.Code != want || all[0].Operation.Kubernetes.Resource != "pods" {
				t.Errorf("recorded: %+v", all)
			}
		})
	}
}

// K1, against the real API server: exec into a pod that is not there.
func TestK01FailedUpgradeAtTheCluster(t *testing.T) {
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	token := g.Agent(ns, "claude", "")
	audit := cluster.Audit(t)
	for _, u := range upgrades {
		c := over(t, g, h1)
		c.send(request{method: u.method, path: "/t/lab" + strings.Replace(u.path, "default", ns, 1), token: token, header: u.header})
		c.send(request{path: "/t/lab/api/v1/secrets", token: token})
		if a := c.read(u.method); a.code != 404 || !strings.Contains(string(a.body), "not found") {
			t.Errorf("%s: answered %d %s", u.name, a.code, a.body)
		}
		if !c.isClosed() {
			t.Errorf("%s: the connection goes on", u.name)
		}
	}
	for _, e := range audit.Events(t, ns+":claude") {
		if e.Object.Resource == "secrets" {
			t.Errorf("the request behind a failed upgrade reached the API server: %+v", e)
		}
	}
}

// K2: an upgrade that is answered with anything but 101 or an error is refused, and nothing of the answer is relayed.
func TestK02UpgradeAnsweredOtherwise(t *testing.T) {
	const canary = "canary-4711"
	for _, x := range []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"200", answering(200, "X-Canary: "+canary)},
		{"201", answering(201, "X-Canary: "+canary)},
		{"204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }},
		{"301", answering(301, "Location: https://"+canary+".example/")},
		{"302", answering(302, "Location: https://"+canary+".example/")},
		{"303", answering(303, "Location: //"+canary+".example/")},
		{"307", answering(307, "Location: /"+canary)},
		{"308", answering(308, "Location: /"+canary)},
		{"300", answering(300, "X-Canary: "+canary)},
		{"304", answering(304, "X-Canary: "+canary)},
		{"101 to something else", hijacked(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nX-Canary: "+canary+"\r\n\r\n"+canary)},
		{"101 to nothing", hijacked(t, "HTTP/1.1 101 Switching Protocols\r\nX-Canary: "+canary+"\r\n\r\n"+canary)},
		{"101 with another key", hijacked(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"+canary)},
		{"no HTTP", hijacked(t, canary+"\r\n\r\n")},
	} {
		t.Run(x.name, func(t *testing.T) {
			fake := lab.StartUpstream(t, false, x.answer)
			g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}, Targets: fake.Target("fake", "")})
			for _, u := range upgrades {
				who := fmt.Sprintf("actor-%05d", actors.Add(1))
				c := over(t, g, h1)
				c.send(request{method: u.method, path: "/t/fake" + u.path, token: g.Person(who), header: u.header})
				a := c.read(u.method)
				if a.code != http.StatusBadGateway || cause(a.status(t), "GatebookCode") != string(access.CodeUpstream) {
					t.Errorf("%s: answered %d %s", u.name, a.code, a.body)
				}
				if all := fmt.Sprint(a.header, string(a.body)); strings.Contains(all, canary) || a.header.Get("Location") != "" {
					t.Errorf("%s: the upstream's answer was relayed: %s", u.name, all)
				}
				if !c.isClosed() {
					t.Errorf("%s: the connection goes on", u.name)
				}
				r := own(book(t, g, who))
				if len(r) != 1 || r[0].Outcome == nil || r[0].Outcome.Code != http.StatusBadGateway {
					t.Errorf("%s: recorded: %+v", u.name, r)
				}
			}
			for _, s := range fake.Seen() {
				if !strings.HasPrefix(s.URI, "/api/v1/namespaces/default/pods/x/") {
					t.Errorf("a redirect was followed: %s", s.Dump)
				}
			}
		})
	}
}

// unknownUpgrades are upgrades whose bytes the gateway could not decode, or that contradict themselves.
var unknownUpgrades = []struct {
	name   string
	header []string
}{
	{"h2c", []string{"Connection: Upgrade", "Upgrade: h2c"}},
	{"h2c with settings", []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"}},
	{"h2c by a list", []string{"Connection: keep-alive, Upgrade", "Upgrade: h2c"}},
	{"h2c in capitals", []string{"connection: UPGRADE", "UPGRADE: H2C"}},
	{"h2c without Connection", []string{"Upgrade: h2c"}},
	{"Connection without Upgrade", []string{"Connection: Upgrade"}},
	{"TLS/1.0", []string{"Connection: Upgrade", "Upgrade: TLS/1.0"}},
	{"HTTP/2.0", []string{"Connection: Upgrade", "Upgrade: HTTP/2.0"}},
	{"tcp", []string{"Connection: Upgrade", "Upgrade: tcp"}},
	{"connect-udp", []string{"Connection: Upgrade", "Upgrade: connect-udp"}},
	{"SPDY/3", []string{"Connection: Upgrade", "Upgrade: SPDY/3"}},
	{"SPDY/2", []string{"Connection: Upgrade", "Upgrade: SPDY/2"}},
	{"two", []string{"Connection: Upgrade", "Upgrade: websocket, h2c"}},
	{"two, the other first", []string{"Connection: Upgrade", "Upgrade: h2c, websocket"}},
	{"two headers", append(webSocket("v5.channel.k8s.io"), "Upgrade: h2c")},
	{"two headers, both known", append(webSocket("v5.channel.k8s.io"), "Upgrade: SPDY/3.1")},
	{"empty", []string{"Connection: Upgrade", "Upgrade: "}},
	{"WebSocket version 12", []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 12", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}},
	{"websocket/13", []string{"Connection: Upgrade", "Upgrade: websocket/13", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}},
	{"WebSocket without a key", []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"}},
	{"unprintable", []string{"Connection: Upgrade", "Upgrade: h2c\tx"}},
}

// K4: whatever policy says, an upgrade that is not understood goes nowhere.
func TestK04UnknownUpgrade(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	var table []attempt
	for _, u := range unknownUpgrades {
		for _, p := range []string{"/api/v1/namespaces/default/pods", execPath, "/version"} {
			table = append(table, attempt{name: u.name + " " + p, over: h1, code: access.CodeMalformed, request: request{path: "/t/lab" + p, header: u.header}})
		}
	}
	// Where no stream is, the known ones are as unknown.
	for _, p := range []string{"/api/v1/namespaces/default/pods?watch=1", "/api/v1/namespaces/default/pods/x/status",
		"/apis/x.example.org/v1/namespaces/default/pods/x/log", "/api/v1/namespaces/default/pods/x/proxy/",
		"/api/v1/namespaces/default/services/x/proxy/", "/api/v1/nodes/labnode/proxy/exec/a/b/c?command=id", "/api/v1/nodes/labnode/proxy/run/a/b/c?cmd=id",
		"/api/v1/proxy/nodes/labnode/exec/a/b/c?command=id", "/", "/version", "/apis/apps/v1/namespaces/default/deployments/x/exec",
		"/apis/x.example.org/v1/namespaces/default/pods/x/exec", "/api/v1/namespaces/default/pods/x/exec2", "/api/v1/namespaces/default/services/x/portforward"} {
		table = append(table,
			attempt{name: "websocket " + p, over: h1, code: access.CodeMalformed, request: request{path: "/t/lab" + p, header: webSocket("v5.channel.k8s.io", "base64.binary.k8s.io")}},
			attempt{name: "SPDY " + p, over: h1, code: access.CodeMalformed, request: request{method: "POST", path: "/t/lab" + p, header: spdy("v4.channel.k8s.io")}},
			attempt{name: "h2c " + p, over: h1, code: access.CodeMalformed, request: request{method: "POST", path: "/t/lab" + p, header: unknownUpgrades[1].header}})
	}
	for _, m := range []string{"PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"} {
		table = append(table, attempt{name: m, over: h1, code: access.CodeMalformed, request: request{method: m, path: "/t/lab" + execPath, header: webSocket("v5.channel.k8s.io")}})
	}
	attack(t, g, table)
}

// K4, over HTTP/2: the headers of an upgrade, which mean nothing there, and the extended CONNECT of RFC 8441.
func TestK04UpgradeOverHTTP2(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	audit := cluster.Audit(t)
	token := g.Person("actor-h2up")
	for _, q := range []request{
		{path: "/t/lab" + execPath, header: webSocket("v5.channel.k8s.io")},
		{method: "POST", path: "/t/lab" + execPath, header: spdy("v4.channel.k8s.io")},
		{path: "/t/lab/api/v1/pods", header: []string{"Upgrade: h2c"}},
		{path: "/t/lab/api/v1/pods", header: []string{"Connection: Upgrade"}},
		{method: "CONNECT", path: "/t/lab" + execPath, header: []string{":protocol: websocket", "Sec-WebSocket-Version: 13"}},
	} {
		q.token = token
		if a := over(t, g, h2).do(q); a.code != 0 && a.code < 400 {
			t.Errorf("%s %s %q: answered %d %s", q.method, q.path, q.header, a.code, a.body)
		}
	}
	if e := audit.Events(t, "actor-h2up"); len(e) > 0 {
		t.Errorf("reached the API server: %+v", e)
	}
}

// K4: bytes that are sent right behind an upgrade, before its answer, are neither passed on raw nor read as a request.
func TestK04BytesBehindAnUnknownUpgrade(t *testing.T) {
	fake := lab.StartUpstream(t, false, hijacked(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"))
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}, Targets: fake.Target("fake", "")})
	c := over(t, g, h1)
	token := g.Person("actor-bytes")
	c.send(request{path: "/t/fake/api/v1/pods", token: token, header: unknownUpgrades[1].header})
	c.write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	if a := c.read("GET"); a.code != http.StatusBadRequest || cause(a.status(t), "GatebookCode") != string(access.CodeMalformed) {
		t.Errorf("answered %d %s", a.code, a.body)
	}
	if s := fake.Seen(); len(s) > 0 {
		t.Errorf("reached the upstream: %+v", s)
	}
	refusedOnce(t, g, "actor-bytes", access.CodeMalformed)
}

// K4: an upstream that switches protocols unasked, on a plain request, is not followed.
func TestK04UpstreamSwitchesUnasked(t *testing.T) {
	fake := lab.StartUpstream(t, false, hijacked(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\ncanary-4711"))
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}, Targets: fake.Target("fake", "")})
	for _, proto := range []string{h1, h2} {
		a := over(t, g, proto).do(request{path: "/t/fake/api/v1/pods", token: g.Person("actor-unasked")})
		if a.code != http.StatusBadGateway || strings.Contains(string(a.body), "canary") {
			t.Errorf("%s: answered %d %s", proto, a.code, a.body)
		}
	}
}
