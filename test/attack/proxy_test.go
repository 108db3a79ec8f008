package attack

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatebook/internal/access"
	"gatebook/test/lab"
)

// quick lets nobody be waited for: who needs an approval is told so at once.
const quick = "approvals: {hold: 1ms, holdOthers: 1ms}\n"

// is asserts what an operation was recorded as.
func is(verb, resource, subresource string) func(*testing.T, access.Record) {
	return func(t *testing.T, r access.Record) {
		t.Helper()
		if k := r.Operation.Kubernetes; k.Verb != verb || k.Resource != resource || k.Subresource != subresource {
			t.Errorf("%s: recorded as %s %s/%s, want %s %s/%s", r.Operation.Command, k.Verb, k.Resource, k.Subresource, verb, resource, subresource)
		}
	}
}

// runs asserts that an operation was read as a command.
func runs(command ...string) func(*testing.T, access.Record) {
	return func(t *testing.T, r access.Record) {
		t.Helper()
		if e := r.Operation.Kubernetes.Exec; e == nil || !slices.Equal(e.Command, command) {
			t.Errorf("%s: recorded with command %+v, want %q", r.Operation.Command, e, command)
		}
	}
}

// K8: what reaches a kubelet is denied by the default policy, by any method and path, and a command in it is read.
func TestK08NodeProxy(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick})
	node := "/t/lab/api/v1/nodes/labnode/proxy"
	var table []attempt
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		for _, p := range []string{"", "/", "/pods", "/exec/ns/pod/c?command=id&output=1", "/run/ns/pod/c?cmd=id", "/attach/ns/pod/c", "/portForward/ns/pod?port=80", "/cri/exec/token",
			"/containerLogs/ns/pod/c", "/logs/", "/configz", "/metrics", "/debug/pprof/", "/checkpoint/ns/pod/c"} {
			table = append(table, attempt{name: m + " " + p, request: request{method: m, path: node + p}, code: access.CodeDenied, rule: "node-proxy", check: is("proxy", "nodes", "proxy")})
		}
	}
	for _, n := range []string{"labnode:10250", "https:labnode:10250", "http:labnode:10255", "https:labnode:", "10.244.53.1"} {
		table = append(table, attempt{name: n, request: request{path: "/t/lab/api/v1/nodes/" + n + "/proxy/pods"}, code: access.CodeDenied, rule: "node-proxy"})
	}
	table = append(table,
		attempt{name: "exec", request: request{path: node + "/exec/ns/pod/c?command=cat&command=/etc/shadow&output=1"}, code: access.CodeDenied, rule: "node-proxy", check: runs("cat", "/etc/shadow")},
		attempt{name: "exec with a uid", request: request{path: node + "/exec/ns/pod/uid/c?command=id"}, code: access.CodeDenied, check: runs("id")},
		attempt{name: "run", request: request{method: "POST", path: node + "/run/ns/pod/c?cmd=cat%20/etc/shadow"}, code: access.CodeDenied, check: runs("cat", "/etc/shadow")},
		attempt{name: "exec by WebSocket", over: h1, request: request{path: node + "/exec/ns/pod/c?command=id&output=1", header: webSocket("v4.channel.k8s.io")}, code: access.CodeMalformed, check: is("proxy", "nodes", "proxy")},
		attempt{name: "exec by SPDY", over: h1, request: request{method: "POST", path: node + "/exec/ns/pod/c?command=id&output=1", header: spdy("v4.channel.k8s.io")}, code: access.CodeMalformed},
	)
	attack(t, g, table)
}

// K8: whoever allows nodes/proxy to read metrics does not allow commands with it, and no stream that is not decoded.
func TestK08NodeProxyAllowed(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick, Policy: map[string]string{"p.yaml": `rules:
  - {id: kubelet, protocol: kubernetes, effect: allow, resources: [nodes/proxy], reason: metrics are needed}
  - {id: commands, protocol: kubernetes, effect: approve, when: has(kubernetes.exec), reason: a command}
`}})
	node := "/t/lab/api/v1/nodes/labnode/proxy"
	attack(t, g, []attempt{
		{name: "metrics", request: request{path: node + "/metrics"}},
		{name: "exec", request: request{path: node + "/exec/ns/pod/c?command=id"}, code: access.CodeApprovalPending, rule: "commands"},
		{name: "exec with a slash", request: request{path: node + "/exec/ns/pod/c/?command=id"}, code: access.CodeApprovalPending, rule: "commands"},
		{name: "exec by POST", request: request{method: "POST", path: node + "/exec/ns/pod/c?command=id"}, code: access.CodeApprovalPending, rule: "commands"},
		{name: "exec with a uid", request: request{path: node + "/exec/ns/pod/uid/c?command=id"}, code: access.CodeApprovalPending, rule: "commands"},
		{name: "attach", request: request{path: node + "/attach/ns/pod/c"}, code: access.CodeApprovalPending, rule: "commands"},
		{name: "run", request: request{method: "POST", path: node + "/run/ns/pod/c?cmd=id"}, code: access.CodeApprovalPending, rule: "commands"},
		{name: "run with a uid", request: request{method: "POST", path: node + "/run/ns/pod/uid/c?cmd=id"}, code: access.CodeApprovalPending, rule: "commands"},
		{name: "by name and port", request: request{path: "/t/lab/api/v1/nodes/https:labnode:10250/proxy/exec/ns/pod/c?command=id"}, code: access.CodeApprovalPending, rule: "commands"},
		{name: "WebSocket", over: h1, request: request{path: node + "/exec/ns/pod/c?command=id", header: webSocket("v4.channel.k8s.io")}, code: access.CodeMalformed},
		{name: "SPDY", over: h1, request: request{method: "POST", path: node + "/exec/ns/pod/c?command=id", header: spdy("v4.channel.k8s.io")}, code: access.CodeMalformed},
	})
}

// K10: a request through a pod's or service's proxy is a verb of its own: who may read pods may not go through them.
func TestK10Proxy(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick})
	var table []attempt
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		for _, r := range []string{"pods", "services"} {
			for _, p := range []string{"/x/proxy", "/x/proxy/", "/x/proxy/a/b?c=d", "/x:80/proxy/", "/https:x:443/proxy/", "/x:http/proxy/proxy", "/x/proxy/api/v1/secrets"} {
				table = append(table, attempt{name: m + " " + r + p, code: access.CodeApprovalPending, rule: "proxy", check: is("proxy", r, "proxy"),
					request: request{method: m, path: "/t/lab/api/v1/namespaces/default/" + r + p}})
			}
		}
	}
	table = append(table,
		attempt{name: "WebSocket", over: h1, code: access.CodeMalformed, request: request{path: "/t/lab/api/v1/namespaces/default/pods/x/proxy/", header: webSocket()}},
		attempt{name: "in kube-system", code: access.CodeApprovalPending, rule: "system-namespaces", request: request{path: "/t/lab/api/v1/namespaces/kube-system/services/x/proxy/"}})
	attack(t, g, table)
	// A rule for reads, as wide as can be, says nothing about the proxy.
	g = cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"p.yaml": `rules:
  - {id: reads, protocol: kubernetes, effect: allow, verbs: [get, list, watch], resources: ["*", "*/*"], reason: reads}
`}})
	attack(t, g, []attempt{
		{name: "pod", code: access.CodeDenied, request: request{path: "/t/lab/api/v1/namespaces/default/pods/x/proxy/"}},
		{name: "service", code: access.CodeDenied, request: request{path: "/t/lab/api/v1/namespaces/default/services/x/proxy/metrics"}},
		{name: "node", code: access.CodeDenied, request: request{path: "/t/lab/api/v1/nodes/labnode/proxy/pods"}},
		{name: "exec by GET", code: access.CodeDenied, request: request{path: "/t/lab" + execPath}},
		{name: "exec by WebSocket", over: h1, code: access.CodeDenied, request: request{path: "/t/lab" + execPath, header: webSocket("v5.channel.k8s.io")}},
		{name: "attach by GET", code: access.CodeDenied, request: request{path: "/t/lab" + attachPath}},
		{name: "port-forward by GET", code: access.CodeDenied, request: request{path: "/t/lab" + forwardPath}},
		{name: "a read", request: request{path: "/t/lab/api/v1/namespaces/default/pods/x/log"}},
	})
}

// K11: the paths of old: what watches is a watch, what proxies is denied, whatever the method.
func TestK11LegacyPaths(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick})
	var table []attempt
	for _, m := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"} {
		for _, p := range []string{"/api/v1/proxy/nodes/labnode/exec/a/b/c?command=id", "/api/v1/proxy/nodes/labnode/run/a/b/c?cmd=id", "/api/v1/proxy/nodes/labnode",
			"/api/v1/proxy/namespaces/default/pods/x/y", "/api/v1/proxy/namespaces/default/services/x:80/y"} {
			table = append(table, attempt{name: m + " " + p, code: access.CodeDenied, request: request{method: m, path: "/t/lab" + p}, check: func(t *testing.T, r access.Record) {
				if r.Operation.Kubernetes.Verb != "proxy" {
					t.Errorf("%s: recorded as %s", r.Operation.Command, r.Operation.Kubernetes.Verb)
				}
			}})
		}
		if m == "GET" {
			continue
		}
		for _, p := range []string{"/api/v1/watch/secrets", "/api/v1/watch/namespaces/default/configmaps/x", "/apis/apps/v1/watch/deployments"} {
			table = append(table, attempt{name: m + " " + p, code: access.CodeMalformed, request: request{method: m, path: "/t/lab" + p}})
		}
	}
	table = append(table,
		attempt{name: "watch of an exec", code: access.CodeApprovalPending, rule: "exec", request: request{path: "/t/lab/api/v1/watch/namespaces/default/pods/x/exec?command=id"}},
		attempt{name: "watch of a proxy", code: access.CodeApprovalPending, rule: "proxy", request: request{path: "/t/lab/api/v1/watch/namespaces/default/pods/x/proxy/y"}},
		attempt{name: "watch of a kubelet", code: access.CodeDenied, rule: "node-proxy", request: request{path: "/t/lab/api/v1/watch/nodes/labnode/proxy/exec"}},
		attempt{name: "a version of old", code: access.CodeApprovalPending, rule: "exec", request: request{path: "/t/lab/api/v1beta3/namespaces/default/pods/x/exec"}})
	attack(t, g, table)
}

// K11: a legacy watch of Secrets is masked as the watch that it is.
func TestK11LegacyWatchIsMasked(t *testing.T) {
	ns := namespace(t)
	must(t, admin(t, "", "-n", ns, "create", "secret", "generic", "db", "--from-literal=password=correct-horse-battery"))
	g := cluster.StartGateway(t, binary, lab.Options{})
	token := g.Agent(ns, "claude", "")
	for _, p := range []string{"/api/v1/watch/namespaces/" + ns + "/secrets", "/api/v1/watch/namespaces/" + ns + "/secrets/db", "/api/v1/namespaces/" + ns + "/secrets?watch=T",
		"/api/v1/namespaces/" + ns + "/secrets?watch", "/api/v1/namespaces/" + ns + "/secrets?watch=1&watch=0"} {
		sep := "?"
		if strings.Contains(p, "?") {
			sep = "&"
		}
		a := over(t, g, h2).do(request{path: "/t/lab" + p + sep + "timeoutSeconds=1", token: token})
		if a.code != http.StatusOK || !strings.Contains(string(a.body), `"ADDED"`) || strings.Contains(string(a.body), "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5") {
			t.Errorf("%s: answered %d %s", p, a.code, a.body)
		}
	}
	for _, r := range own(book(t, g, "system:serviceaccount:"+ns+":claude")) {
		if r.Operation.Verb != "watch" {
			t.Errorf("%s: recorded as %s", r.Operation.Command, r.Operation.Verb)
		}
	}
}
