package attack

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatebook/internal/access"
	"gatebook/test/lab"
)

// answerEmpty is an API server with nothing in it.
func answerEmpty(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}`)
}

// K5: who asks to act as somebody else is refused, however it is written.
func TestK05Impersonation(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	var table []attempt
	for _, h := range []string{
		"Impersonate-User: system:admin", "impersonate-user: system:admin", "IMPERSONATE-USER: system:admin", "iMpErSoNaTe-uSeR: system:admin",
		"Impersonate-User: ", "Impersonate-Group: system:masters", "Impersonate-Uid: 0", "Impersonate-UID: 0", "Impersonate-Extra-Scopes: all",
		"impersonate-extra-authentication.kubernetes.io%2fpod-name: x", "Impersonate-Extra-: x", "Impersonate-Anything: x",
		"Impersonate-Extra-a%20b: x", "Impersonate-Extra-a!b: x", "impersonate-extra-A|b: x", "Impersonate-: x",
	} {
		for _, p := range []string{"/api/v1/namespaces", "/version", execPath, "/api/v1/namespaces/default/pods/x/proxy/"} {
			table = append(table, attempt{name: h + " " + p, code: access.CodeMalformed, request: request{path: "/t/lab" + p, header: []string{h}}})
		}
	}
	table = append(table,
		attempt{name: "upgrade", over: h1, code: access.CodeMalformed, request: request{path: "/t/lab" + execPath, header: append(webSocket("v5.channel.k8s.io"), "Impersonate-User: system:admin")}},
		attempt{name: "nominated", over: h1, code: access.CodeMalformed, request: request{path: "/t/lab/version", header: []string{"Connection: Impersonate-User", "Impersonate-User: system:admin"}}},
		attempt{name: "twice", code: access.CodeMalformed, request: request{path: "/t/lab/version", header: []string{"Impersonate-User: a", "Impersonate-User: b"}}},
	)
	attack(t, g, table)
}

// claimingHeaders are headers by which a client could speak for somebody, or change what is asked, each with a canary.
var claimingHeaders = []string{
	"X-Remote-User: canary", "X-Remote-Group: canary", "X-Remote-Uid: canary", "X-Remote-Extra-Scopes: canary", "x-remote-user: canary",
	"X-Forwarded-User: canary", "X-Forwarded-Email: canary", "X-Forwarded-For: canary", "X-Forwarded-Host: canary", "X-Forwarded-Proto: canary",
	"X-Forwarded-Client-Cert: canary", "X-Forwarded-Access-Token: canary", "X-Forwarded-Uri: /canary", "X-Forwarded-Prefix: canary",
	"Forwarded: for=canary", "Via: 1.1 canary", "X-Real-Ip: canary", "Cookie: session=canary", "Proxy-Authorization: Basic canary",
	"Audit-ID: canary", "X-HTTP-Method-Override: DELETE-canary", "X-HTTP-Method: DELETE-canary", "X-Method-Override: DELETE-canary", "x-http-method-override: DELETE-canary",
	"Accept-Encoding: canary", "Expect: canary", "Te: canary",
	"X-Client-Cert: canary", "X-SSL-Client-Cert: canary", "Ssl-Client-Cert: canary", "X-Client-Dn: canary", "X-Auth-Request-User: canary", "X-Auth-Request-Access-Token: canary",
	"X-Auth-Token: canary", "X-Original-Url: /canary", "X-Rewrite-Url: /canary", "X-Original-Method: canary", "X-Original-Uri: canary",
	"X-Authenticated-User: canary", "X-Webauth-User: canary", "Remote-User: canary", "X-Ms-Client-Principal: canary",
	"X-Amzn-Oidc-Identity: canary", "X-Goog-Authenticated-User-Email: canary", "X-Consumer-Username: canary", "Tailscale-User-Login: canary",
	"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.canary",
	"X_Remote_User: canary", "x_forwarded_user: canary", "Remote_User: canary", "X_HTTP_Method_Override: DELETE-canary", "Impersonate_User: canary",
}

// K5, K24: headers that claim an identity, an origin or another method do not reach the upstream.
func TestK05ClaimsAreStripped(t *testing.T) {
	fake := lab.StartUpstream(t, true, answerEmpty)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}, Targets: fake.Target("fake", "")})
	token := g.Person("actor-claimingHeaders")
	for n, h := range claimingHeaders {
		for _, proto := range []string{h1, h2} {
			if proto == h2 && strings.HasPrefix(h, "Te:") {
				continue // HTTP/2 itself refuses it
			}
			path := []string{"/api/v1/pods", "/api/v1/namespaces/a/pods/b/proxy/c", "/api/v1/namespaces/a/services/b/proxy/"}[n%3]
			n := len(fake.Seen())
			a := over(t, g, proto).do(request{path: "/t/fake" + path, token: token, header: []string{h}})
			for _, s := range fake.Seen()[n:] {
				if strings.Contains(strings.ToLower(s.Dump), "canary") {
					t.Errorf("%s by %s reached the upstream:\n%s", h, proto, s.Dump)
				}
				assertOwnIdentity(t, s, "actor-claimingHeaders")
			}
			if len(fake.Seen()) == n && a.code < 400 {
				t.Errorf("%s by %s: answered %d %s without the upstream", h, proto, a.code, a.body)
			}
		}
	}
}

// assertOwnIdentity asserts that the upstream was told by the gateway, and only by it, who acts.
func assertOwnIdentity(t *testing.T, s lab.Seen, who string, groups ...string) {
	t.Helper()
	if got := s.Header["Authorization"]; !slices.Equal(got, []string{"Bearer " + lab.UpstreamToken}) {
		t.Errorf("the upstream got the credential %q", got)
	}
	if got := s.Header["Impersonate-User"]; !slices.Equal(got, []string{who}) {
		t.Errorf("the upstream was told that %q acts, want %q:\n%s", got, who, s.Dump)
	}
	if got := s.Header["Impersonate-Group"]; !slices.Equal(got, groups) {
		t.Errorf("the upstream was told groups %q, want %q", got, groups)
	}
}

// K6: a Connection header cannot take the gateway's own headers off the request.
func TestK06ConnectionNominatesOwnHeaders(t *testing.T) {
	fake := lab.StartUpstream(t, false, answerEmpty)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}, Targets: fake.Target("fake", "")})
	token := g.Person("actor-nominate", "red", "blue")
	for _, nominated := range []string{"Impersonate-User", "impersonate-user", "Impersonate-Group", "Authorization", "authorization, Impersonate-User, Impersonate-Group",
		"Audit-Id", "Accept-Encoding", "Impersonate-User, keep-alive", "close, Impersonate-User", ",,Impersonate-User,,", "\tImpersonate-User\t", "Host", "Content-Length", "Accept"} {
		for _, header := range [][]string{{"Connection: " + nominated}, {"Connection: keep-alive", "Connection: " + nominated}, {"Proxy-Connection: " + nominated}, {"Keep-Alive: " + nominated}} {
			n := len(fake.Seen())
			a := over(t, g, h1).do(request{path: "/t/fake/api/v1/pods", token: token, header: header})
			seen := fake.Seen()[n:]
			if a.code != 200 || len(seen) != 1 {
				t.Errorf("%q: answered %d, %d requests upstream: %s", header, a.code, len(seen), a.body)
				continue
			}
			assertOwnIdentity(t, seen[0], "actor-nominate", "blue", "red")
			h := seen[0].Header
			if h.Get("Accept-Encoding") != "identity" || h.Get("Audit-Id") == "" || h.Get("Accept") == "" || len(h["Connection"]) > 0 {
				t.Errorf("%q: the upstream got\n%s", header, seen[0].Dump)
			}
		}
	}
}

// K6: what Connection does nominate is about that connection, and goes no further.
func TestK06NominatedHeadersStay(t *testing.T) {
	fake := lab.StartUpstream(t, false, answerEmpty)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}, Targets: fake.Target("fake", "")})
	token := g.Person("actor-nominate")
	for _, connection := range []string{"X-Own", "x-own", "keep-alive, X-Own", ",X-OWN ,"} {
		n := len(fake.Seen())
		a := over(t, g, h1).do(request{path: "/t/fake/api/v1/pods", token: token, header: []string{"X-Other: goes-on", "X-Own: canary", "Connection: " + connection}})
		seen := fake.Seen()[n:]
		if a.code != 200 || len(seen) != 1 {
			t.Errorf("%q: answered %d, %d requests upstream: %s", connection, a.code, len(seen), a.body)
			continue
		}
		if strings.Contains(seen[0].Dump, "canary") || !strings.Contains(seen[0].Dump, "goes-on") {
			t.Errorf("%q: the upstream got\n%s", connection, seen[0].Dump)
		}
	}
}

// K6, at the real API server: it sees the agent, and not the gateway's own administrator.
func TestK06AtTheCluster(t *testing.T) {
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	audit := cluster.Audit(t)
	agent := "system:serviceaccount:" + ns + ":claude"
	token := g.Agent(ns, "claude", "")
	paths := []string{"/api/v1/namespaces/" + ns + "/pods", "/version", "/api/v1/namespaces/" + ns + "/pods/x/exec?command=id"}
	n := 0
	for _, p := range paths {
		for _, h := range []string{"Connection: Impersonate-User", "Connection: Impersonate-User, Impersonate-Group, Impersonate-Uid, Authorization", "X-Remote-User: system:admin", "X-Remote-Group: system:masters"} {
			over(t, g, h1).do(request{path: "/t/lab" + p, token: token, header: []string{h}})
			n++
		}
	}
	c := over(t, g, h1)
	c.do(request{path: "/t/lab" + paths[2], token: token, header: append(webSocket("v5.channel.k8s.io"), "Connection: Impersonate-User, Impersonate-Group")})
	seen := 0
	for _, e := range audit.Events(t, "") {
		if !strings.Contains(e.URI, ns+"/pods") && e.Impersonated.Username != agent {
			continue
		}
		seen++
		if e.Impersonated.Username != agent || !slices.Contains(e.Impersonated.Groups, "system:serviceaccounts:"+ns) || e.Impersonated.UID == "" {
			t.Errorf("%s reached the API server as %+v", e.URI, e.Impersonated)
		}
	}
	if seen < n {
		t.Errorf("%d of %d requests reached the API server", seen, n)
	}
}

// K5: trailers are headers, too.
func TestK05Trailers(t *testing.T) {
	fake := lab.StartUpstream(t, false, answerEmpty)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}, Targets: fake.Target("fake", "")})
	body := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}`
	c := over(t, g, h1)
	c.send(request{method: "POST", path: "/t/fake/api/v1/namespaces/a/configmaps", token: g.Person("actor-late"), header: []string{
		"Content-Type: application/json", "Transfer-Encoding: chunked", "Trailer: Impersonate-User, X-Remote-User, Authorization"}})
	c.write([]byte(fmt.Sprintf("%x\r\n%s\r\n0\r\nImpersonate-User: canary\r\nX-Remote-User: canary\r\nAuthorization: Bearer canary\r\n\r\n", len(body), body)))
	a := c.read("POST")
	seen := fake.Seen()
	if a.code != 200 || len(seen) != 1 {
		t.Fatalf("answered %d %s, %d requests upstream", a.code, a.body, len(seen))
	}
	assertOwnIdentity(t, seen[0], "actor-late")
	if d := strings.ToLower(seen[0].Dump); strings.Contains(d, "canary") || strings.Contains(d, "trailer") {
		t.Errorf("the upstream got\n%s", seen[0].Dump)
	}
}

// K24: a method is what the request line says: a GET with an override stays a read for policy, record and upstream, and
// a POST that would like to be a GET is judged as the change that it is.
func TestK24MethodOverride(t *testing.T) {
	ns := namespace(t)
	must(t, admin(t, "", "-n", ns, "create", "configmap", "keep"))
	g := cluster.StartGateway(t, binary, lab.Options{Config: "approvals: {hold: 1ms, holdOthers: 1ms}\n"})
	token := g.Agent(ns, "claude", "")
	path := "/t/lab/api/v1/namespaces/" + ns + "/configmaps/keep"
	for _, proto := range []string{h1, h2} {
		for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-method-override", "X-Original-Method"} {
			c := over(t, g, proto)
			if a := c.do(request{path: path + "?_method=DELETE&method=DELETE", token: token, header: []string{name + ": DELETE"}}); a.code != 200 || !strings.Contains(string(a.body), `"keep"`) {
				t.Errorf("GET with %s by %s: answered %d %s", name, proto, a.code, a.body)
			}
			a := c.do(request{method: "DELETE", path: path, token: token, header: []string{name + ": GET"}})
			if a.code != http.StatusForbidden || cause(a.status(t), "GatebookCode") != string(access.CodeApprovalPending) {
				t.Errorf("DELETE with %s by %s: answered %d %s", name, proto, a.code, a.body)
			}
		}
	}
	must(t, admin(t, "", "-n", ns, "get", "configmap", "keep"))
	overridesStay(t)
	for _, r := range own(book(t, g, "system:serviceaccount:"+ns+":claude")) {
		want := "delete"
		if r.Refused == nil {
			want = "get"
		}
		if r.Operation.Verb != want {
			t.Errorf("recorded as %s, refused %+v", r.Operation.Verb, r.Refused)
		}
	}
}

// overridesStay asserts that no override goes on: what is behind a proxy path, or an aggregated API, may heed one.
func overridesStay(t *testing.T) {
	t.Helper()
	fake := lab.StartUpstream(t, false, answerEmpty)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}, Targets: fake.Target("fake", "")})
	token := g.Person("actor-override")
	for _, proto := range []string{h1, h2} {
		for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Http_Method_Override", "X-Original-Method"} {
			n := len(fake.Seen())
			a := over(t, g, proto).do(request{path: "/t/fake/api/v1/namespaces/a/services/b/proxy/", token: token, header: []string{name + ": DELETE"}})
			seen := fake.Seen()[n:]
			if a.code != 200 || len(seen) != 1 {
				t.Errorf("%s by %s: answered %d, %d requests upstream: %s", name, proto, a.code, len(seen), a.body)
			} else if strings.Contains(seen[0].Dump, "DELETE") {
				t.Errorf("%s by %s reached the upstream:\n%s", name, proto, seen[0].Dump)
			}
		}
	}
}
