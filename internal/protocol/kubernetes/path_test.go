package kubernetes

import (
	"bufio"
	"bytes"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
)

func readLine(t testing.TB, method, uri string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + uri + " HTTP/1.1\r\nHost: gateway\r\n\r\n")))
	if err != nil {
		t.Fatalf("reading the request line %q %q: %v", method, uri, err)
	}
	return r
}

// K14: what two readers could read differently is refused.
func TestAmbiguousPathsAreRefused(t *testing.T) {
	for _, uri := range []string{
		"/api/v1//pods", "//api/v1/pods", "/api/v1/pods//", "/api/v1/./pods", "/api/v1/../v1/pods", "/api/v1/pods/..", "/.", "/..",
		"/api/v1/namespaces/a%2fb/pods", "/api/v1/namespaces/a%2Fpods", "/api%2fv1/pods", "/api/v1/%2e%2e/pods", "/api/v1/%2e/pods",
		"/api/v1/pods;a=b", "/api/v1/pods%3ba=b", "/api/v1/pods%00", "/api/v1/pods%0a", "/api/v1/pods%7f", "/api/v1/%70ods",
		"/api/v1/pods%252f", "/api/v1/pods%25", "/api/v1/pods%5c..", "/api/v1/pods\\..", "/api/v1/%ff", "/api/v1/%c0%af", "/api/v1/secrets%5F",
		"/api/v1/a%2Fb\u00e9", "/api/v1/pods?a=%zz", "/api/v1/pods?a;b", "/api/v1/pods?a=%ff", "/api/v1/pods?a=%00", "*",
		"/api/v1/watch", "/api/v1/proxy",
	} {
		r := readLine(t, map[bool]string{true: "OPTIONS", false: "GET"}[uri == "*"], uri)
		if _, why := readRequest(r); why == nil || why.Code != access.CodeMalformed {
			t.Errorf("%s: passed, want it refused as malformed", uri)
		}
	}
}

func TestCleanPathsPass(t *testing.T) {
	for _, uri := range []string{
		"/", "/api", "/api/v1/pods/", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
		"/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode", "/api/v1/namespaces/a/services/http:web:80/proxy/a%20b/(c)",
		"/api/v1/namespaces/a/services/web/proxy/caf%C3%A9?q=%C3%A9&r=1%2B1",
	} {
		if _, why := readRequest(readLine(t, "GET", uri)); why != nil {
			t.Errorf("%s: %v", uri, why)
		}
	}
}

func TestMethods(t *testing.T) {
	for _, c := range []struct{ method, uri string }{
		{"CONNECT", "/api/v1/pods"}, {"TRACE", "/api/v1/pods"}, {"get", "/api/v1/pods"}, {"PROPFIND", "/api/v1/pods"},
		{"OPTIONS", "/api/v1/pods"}, {"POST", "/api/v1/watch/pods"}, {"DELETE", "/api/v1/watch/namespaces/a/secrets/b"},
		{"POST", "/api/v1/namespaces/a/pods/b"},
	} {
		r := readLine(t, "GET", c.uri)
		r.Method = c.method
		if _, why := readRequest(r); why == nil {
			t.Errorf("%s %s passed", c.method, c.uri)
		}
	}
}

func TestReading(t *testing.T) {
	for _, c := range []struct {
		method, uri string
		want        access.Kubernetes
	}{
		{"GET", "/version", access.Kubernetes{Verb: "get", Path: "/version"}},
		{"HEAD", "/version", access.Kubernetes{Verb: "head", Path: "/version"}},
		{"GET", "/api/v1/pods", access.Kubernetes{Verb: "list", Version: "v1", Resource: "pods"}},
		{"GET", "/api/v1/pods?watch=1", access.Kubernetes{Verb: "watch", Version: "v1", Resource: "pods"}},
		{"GET", "/api/v1/pods?watch=TRUE", access.Kubernetes{Verb: "watch", Version: "v1", Resource: "pods"}},
		{"GET", "/api/v1/pods?watch", access.Kubernetes{Verb: "watch", Version: "v1", Resource: "pods"}},
		{"GET", "/api/v1/pods?watch=0", access.Kubernetes{Verb: "list", Version: "v1", Resource: "pods"}},
		{"GET", "/api/v1/pods?watch=false&watch=true", access.Kubernetes{Verb: "list", Version: "v1", Resource: "pods"}},
		{"GET", "/api/v1/pods?watch=x&resourceVersion=a&limit=b", access.Kubernetes{Verb: "watch", Version: "v1", Resource: "pods"}},
		{"GET", "/api/v1/watch/namespaces/a/secrets/b", access.Kubernetes{Verb: "watch", Version: "v1", Resource: "secrets", Namespace: "a", Name: "b"}},
		{"GET", "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Db", access.Kubernetes{Verb: "list", Version: "v1", Resource: "secrets", Namespace: "a", Name: "b", FieldSelector: "metadata.name=b"}},
		{"DELETE", "/api/v1/namespaces/a/pods?labelSelector=x", access.Kubernetes{Verb: "deletecollection", Version: "v1", Resource: "pods", Namespace: "a", LabelSelector: "x"}},
		{"DELETE", "/api/v1/namespaces/a", access.Kubernetes{Verb: "delete", Version: "v1", Resource: "namespaces", Namespace: "a", Name: "a"}},
		{"PUT", "/api/v1/namespaces/a/finalize", access.Kubernetes{Verb: "update", Version: "v1", Resource: "namespaces", Namespace: "a", Name: "a", Subresource: "finalize"}},
		{"PATCH", "/apis/apps/v1/namespaces/a/deployments/b/scale?dryRun=All&fieldManager=me", access.Kubernetes{Verb: "patch", Group: "apps", Version: "v1", Resource: "deployments", Subresource: "scale", Namespace: "a", Name: "b", DryRun: true, FieldManager: "me"}},
		{"POST", "/api/v1/namespaces/a/pods/b/eviction", access.Kubernetes{Verb: "create", Version: "v1", Resource: "pods", Subresource: "eviction", Namespace: "a", Name: "b"}},
		{"PATCH", "/api/v1/namespaces/a/pods/b/ephemeralcontainers", access.Kubernetes{Verb: "patch", Version: "v1", Resource: "pods", Subresource: "ephemeralcontainers", Namespace: "a", Name: "b"}},
		{"POST", "/api/v1/namespaces/a/serviceaccounts/b/token", access.Kubernetes{Verb: "create", Version: "v1", Resource: "serviceaccounts", Subresource: "token", Namespace: "a", Name: "b"}},
		// K9: by GET and by POST.
		{"GET", "/api/v1/namespaces/a/pods/b/exec?command=id&dryRun=All", access.Kubernetes{Verb: "create", Version: "v1", Resource: "pods", Subresource: "exec", Namespace: "a", Name: "b"}},
		{"POST", "/api/v1/namespaces/a/pods/b/exec?command=id", access.Kubernetes{Verb: "create", Version: "v1", Resource: "pods", Subresource: "exec", Namespace: "a", Name: "b"}},
		{"POST", "/api/v1/namespaces/a/pods/b/portforward", access.Kubernetes{Verb: "create", Version: "v1", Resource: "pods", Subresource: "portforward", Namespace: "a", Name: "b"}},
		// K10
		{"GET", "/api/v1/namespaces/a/pods/b:80/proxy/x/y/?z", access.Kubernetes{Verb: "proxy", Version: "v1", Resource: "pods", Subresource: "proxy", Namespace: "a", Name: "b:80", ProxyPath: "/x/y/"}},
		{"OPTIONS", "/api/v1/namespaces/a/services/b/proxy", access.Kubernetes{Verb: "proxy", Version: "v1", Resource: "services", Subresource: "proxy", Namespace: "a", Name: "b", ProxyPath: "/"}},
		// K11
		{"DELETE", "/api/v1/proxy/namespaces/a/services/b/x", access.Kubernetes{Verb: "proxy", Version: "v1", Resource: "services", Namespace: "a", Name: "b", ProxyPath: "/x"}},
		// K8
		{"GET", "/api/v1/nodes/n/proxy/exec/a/b/c?command=sh&command=-c&command=id&input=1&output=1&tty=true", access.Kubernetes{Verb: "proxy", Version: "v1", Resource: "nodes", Subresource: "proxy", Name: "n", ProxyPath: "/exec/a/b/c",
			Exec: &access.Exec{Container: "c", Command: []string{"sh", "-c", "id"}, Stdin: true, Stdout: true}}},
		{"POST", "/api/v1/nodes/n/proxy/run/a/b/c?cmd=rm+-rf", access.Kubernetes{Verb: "proxy", Version: "v1", Resource: "nodes", Subresource: "proxy", Name: "n", ProxyPath: "/run/a/b/c",
			Exec: &access.Exec{Container: "c", Command: []string{"rm", "-rf"}, Stdout: true, Stderr: true}}},
		{"POST", "/api/v1/proxy/nodes/n/exec/a/b/uid/c?command=id", access.Kubernetes{Verb: "proxy", Version: "v1", Resource: "nodes", Name: "n", ProxyPath: "/exec/a/b/uid/c",
			Exec: &access.Exec{Container: "c", Command: []string{"id"}}}},
		{"GET", "/apis/example.com/v1/namespaces/a/pods/b/exec", access.Kubernetes{Verb: "get", Group: "example.com", Version: "v1", Resource: "pods", Subresource: "exec", Namespace: "a", Name: "b"}},
	} {
		k, why := readRequest(readLine(t, c.method, c.uri))
		if why != nil {
			t.Errorf("%s %s: %v", c.method, c.uri, why)
			continue
		}
		if d := cmp.Diff(c.want, k.Kubernetes); d != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.method, c.uri, d)
		}
	}
}

// What passes is read by the API server, from the bytes that it is sent, as it was read here.
func FuzzReadRequestAsTheAPIServer(f *testing.F) {
	for _, s := range []string{"/api/v1/pods", "/api/v1/namespaces/a/pods/b/exec?command=id", "/apis/apps/v1/watch/deployments", "/api/v1/a%2fb",
		"/api/v1/nodes/n/proxy/exec/a/b/c", "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Db&watch", "/a/%3A/(b)/%C3%A9"} {
		f.Add("GET", s)
		f.Add("POST", s)
	}
	f.Fuzz(func(t *testing.T, method, uri string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + uri + " HTTP/1.1\r\nHost: gateway\r\n\r\n")))
		if err != nil {
			return
		}
		k, why := readRequest(r)
		if why != nil {
			return
		}
		sent := &http.Request{Method: r.Method, Host: "upstream", URL: &url.URL{Path: r.URL.Path, RawPath: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery}}
		var wire bytes.Buffer
		if err := sent.Write(&wire); err != nil {
			t.Fatalf("%s %s cannot be sent: %v", method, uri, err)
		}
		seen, err := http.ReadRequest(bufio.NewReader(&wire))
		if err != nil {
			t.Fatalf("%s %s is not read by the upstream: %v", method, uri, err)
		}
		if clean := path.Clean(seen.URL.Path); clean != seen.URL.Path && clean+"/" != seen.URL.Path {
			t.Fatalf("path %q is not clean", seen.URL.Path)
		}
		if again, err := url.PathUnescape(seen.URL.Path); err != nil || again != seen.URL.Path {
			t.Fatalf("path %q changes when it is decoded twice", seen.URL.Path)
		}
		info, err := apiServer.NewRequestInfo(seen)
		if err != nil {
			t.Fatalf("%s %s: the upstream cannot read it: %v", method, uri, err)
		}
		got := []any{k.isResource, k.Group, k.Version, k.Resource, k.Subresource, k.Namespace, k.Name, k.LabelSelector, k.FieldSelector}
		want := []any{info.IsResourceRequest, info.APIGroup, info.APIVersion, info.Resource, info.Subresource, info.Namespace, info.Name, info.LabelSelector, info.FieldSelector}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%s %s (-upstream +gateway):\n%s", method, uri, d)
		}
		if k.Verb != info.Verb && !k.isStream && !k.isProxy {
			t.Fatalf("%s %s: the upstream reads verb %q, the gateway %q", method, uri, info.Verb, k.Verb)
		}
	})
}

// A query that would have to be written otherwise to be one is refused: a server behind may cut it elsewhere.
func TestAmbiguousQueriesAreRefused(t *testing.T) {
	for _, raw := range []string{"a=b c", "a=b#c", "a=b\x7f", "a=\u00e9", "a=b;c=d", "a=%zz", "a=%00"} {
		if _, why := parseQuery(&url.URL{RawQuery: raw}); why == nil {
			t.Errorf("%q passed", raw)
		}
	}
}
