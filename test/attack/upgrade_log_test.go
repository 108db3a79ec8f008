package attack

import (
	"net/http"
	"testing"

	"gatebook/internal/access"
	"gatebook/test/lab"
)

// K4, K8: a log by WebSocket is a log. It is asked for over HTTP, so that nobody's frames are passed on; a rule about
// logs holds for it; and a subprotocol that is none of a log's, or SPDY, goes nowhere.
func TestK04LogByWebSocket(t *testing.T) {
	const path = "/t/fake/api/v1/namespaces/default/pods/x/log?follow=1"
	fake := lab.StartUpstream(t, false, answering(404, "Content-Type: application/json"))
	g := cluster.StartGateway(t, binary, lab.Options{Targets: fake.Target("fake", ""), Policy: map[string]string{"logs.yaml": allowAll +
		"  - {id: no-logs, protocol: kubernetes, effect: deny, reason: a test, when: 'kubernetes.subresource == \"log\" && principal.name == \"actor-denied\"'}\n"}})
	for _, x := range []struct {
		who, method string
		header      []string
		http        int
		code        access.Code
	}{
		{"actor-denied", "GET", webSocket("binary.k8s.io"), http.StatusForbidden, access.CodeDenied},
		{"actor-channels", "GET", webSocket("v5.channel.k8s.io", "channel.k8s.io"), http.StatusBadRequest, access.CodeMalformed},
		{"actor-token", "GET", webSocket("base64url.bearer.authorization.k8s.io.eA"), http.StatusBadRequest, access.CodeMalformed},
		{"actor-spdy", "GET", spdy("v4.channel.k8s.io"), http.StatusBadRequest, access.CodeMalformed},
		{"actor-post", "POST", webSocket("binary.k8s.io"), http.StatusBadRequest, access.CodeMalformed},
		{"actor-h2c", "GET", unknownUpgrades[1].header, http.StatusBadRequest, access.CodeMalformed},
	} {
		c := over(t, g, h1)
		c.send(request{method: x.method, path: path, token: g.Person(x.who), header: x.header})
		if a := c.read(x.method); a.code != x.http || cause(a.status(t), "GatebookCode") != string(x.code) {
			t.Errorf("%s: answered %d %s", x.who, a.code, a.body)
		}
		if !c.isClosed() {
			t.Errorf("%s: the connection goes on", x.who)
		}
		refusedOnce(t, g, x.who, x.code)
	}
	if s := fake.Seen(); len(s) > 0 {
		t.Errorf("reached the upstream: %+v", s)
	}
	c := over(t, g, h1)
	token := g.Person("actor-allowed")
	c.send(request{path: path, token: token, header: append(webSocket("v5.channel.k8s.io", "base64.binary.k8s.io"), "Origin: https://evil.example")})
	c.send(request{path: "/t/fake/api/v1/secrets", token: token})
	if a := c.read("GET"); a.code != http.StatusNotFound || !c.isClosed() {
		t.Errorf("allowed: answered %d %s", a.code, a.body)
	}
	s := fake.Seen()
	if len(s) != 1 {
		t.Fatalf("%d requests reached the upstream, want 1: %+v", len(s), s)
	}
	for _, name := range []string{"Upgrade", "Connection", "Origin", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Protocol"} {
		if v := s[0].Header[name]; v != nil {
			t.Errorf("%s reached the upstream: %q", name, v)
		}
	}
}
