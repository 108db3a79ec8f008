package attack

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/test/lab"
)

// redirects are answers that would lead a client elsewhere.
var redirects = []int{300, 301, 302, 303, 305, 307, 308}

// thief is a server that must never be asked.
func thief(t *testing.T) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1) }))
	t.Cleanup(s.Close)
	return s, &asked
}

// K3: a real aggregated API that answers with redirects. None is relayed, and nobody sends credentials after it. (This
// API server refuses them by itself; TestK03UpstreamRedirect is about one that does not.)
func TestK03AggregatedRedirect(t *testing.T) {
	ns := namespace(t)
	elsewhere, asked := thief(t)
	group := ns + ".attack.example"
	api := lab.StartUpstream(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if code := r.URL.Query().Get("code"); code != "" {
			w.Header().Set("Location", elsewhere.URL+"/canary-4711")
			var n int
			fmt.Sscan(code, &n)
			w.WriteHeader(n)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/things") {
			fmt.Fprint(w, `{"kind":"ThingList","apiVersion":"`+group+`/v1","items":[]}`)
			return
		}
		fmt.Fprint(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"`+group+`/v1","resources":[{"name":"things","namespaced":true,"kind":"Thing","verbs":["get","list"]}]}`)
	})
	register(t, ns, group, api.URL)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	token := g.Agent(ns, "claude", "")
	path := "/t/lab/apis/" + group + "/v1/namespaces/" + ns + "/things"
	waitFor(t, "the aggregated API to be served", func() bool {
		return over(t, g, h2).do(request{path: path, token: token}).code == 200
	})
	before := len(own(book(t, g, "system:serviceaccount:"+ns+":claude")))
	tried := 0
	for _, code := range redirects {
		for _, m := range []string{"GET", "HEAD", "POST", "PUT", "DELETE"} {
			q := request{method: m, path: fmt.Sprintf("%s/x?code=%d", path, code), token: token}
			if m == "POST" {
				q.path = fmt.Sprintf("%s?code=%d", path, code)
			}
			for _, proto := range []string{h1, h2} {
				tried++
				a := over(t, g, proto).do(q)
				if a.code != http.StatusBadGateway || strings.Contains(fmt.Sprint(a.header, string(a.body)), "canary") {
					t.Errorf("%s %d by %s: answered %d %v %s", m, code, proto, a.code, a.header, a.body)
				}
			}
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the redirect was followed %d times", n)
	}
	all := own(book(t, g, "system:serviceaccount:"+ns+":claude"))[before:]
	if len(all) != tried {
		t.Errorf("%d records of %d requests", len(all), tried)
	}
	for _, r := range all {
		if r.Outcome == nil || r.Outcome.Code != http.StatusBadGateway {
			t.Errorf("recorded: %+v %+v", r.Operation.Command, r.Outcome)
		}
	}
}

// register makes an aggregated API of group at url, for the time of the test.
func register(t *testing.T, ns, group, at string) {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, admin(t, "", "delete", "apiservice", "v1."+group)) })
	must(t, admin(t, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: api, namespace: %[1]s}
spec: {type: ExternalName, externalName: localhost, ports: [{port: %[2]s}]}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.%[3]s}
spec: {group: %[3]s, version: v1, insecureSkipTLSVerify: true, groupPriorityMinimum: 1, versionPriority: 1, service: {name: api, namespace: %[1]s, port: %[2]s}}
`, ns, u.Port(), group), "apply", "-f", "-"))
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(lab.Patience); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s", what)
		}
	}
}

// K3: the same of an upstream that redirects by itself, on every kind of path.
func TestK03UpstreamRedirect(t *testing.T) {
	elsewhere, asked := thief(t)
	fake := lab.StartUpstream(t, true, func(w http.ResponseWriter, r *http.Request) {
		var n int
		if _, err := fmt.Sscan(r.URL.Query().Get("code"), &n); err != nil { // the gateway looks up what to mask
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Location", elsewhere.URL+"/canary-4711")
		w.Header().Set("Refresh", "0; url="+elsewhere.URL+"/canary-4711")
		w.Header().Set("Link", "<"+elsewhere.URL+"/canary-4711>; rel=canonical")
		w.Header().Set("Alt-Svc", `h2="canary-4711.example:443"`)
		w.Header().Set("Content-Location", elsewhere.URL+"/canary-4711")
		w.WriteHeader(n)
	})
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}, Targets: fake.Target("fake", "")})
	token := g.Person("actor-redirect")
	tried := 0
	for _, code := range redirects {
		for _, p := range []string{"/api/v1/secrets", "/api/v1/pods?watch=1", "/api/v1/namespaces/a/pods/b/log", "/api/v1/namespaces/a/pods/b/proxy",
			"/api/v1/namespaces/a/services/b/proxy/", "/api/v1/nodes/n/proxy/pods", "/apis/x.example/v1/y", "/version", "/", "/openapi/v2", "/api/v1/namespaces/a/pods/b/exec?command=x"} {
			sep := "?"
			if strings.Contains(p, "?") {
				sep = "&"
			}
			tried++
			a := over(t, g, h2).do(request{path: fmt.Sprintf("/t/fake%s%scode=%d", p, sep, code), token: token})
			if a.code != http.StatusBadGateway || cause(a.status(t), "GatebookCode") != string(access.CodeUpstream) ||
				strings.Contains(fmt.Sprint(a.header, string(a.body)), "canary") {
				t.Errorf("%s %d: answered %d %v %s", p, code, a.code, a.header, a.body)
			}
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the redirect was followed %d times", n)
	}
	if n := len(fake.Seen()); n != tried {
		t.Errorf("the upstream was asked %d times for %d requests", n, tried)
	}
}
