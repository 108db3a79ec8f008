package attack

import (
	"fmt"
	"strings"
	"testing"

	"gatebook/internal/access"
	"gatebook/test/lab"
)

// write is a change with a body.
func write(method, path, contentType, body string) request {
	return request{method: method, path: "/t/lab" + path, header: []string{"Content-Type: " + contentType}, body: body}
}

const (
	jsonType      = "application/json"
	yamlType      = "application/yaml"
	mergeType     = "application/merge-patch+json"
	strategicType = "application/strategic-merge-patch+json"
	jsonPatchType = "application/json-patch+json"
	applyType     = "application/apply-patch+yaml"
)

// K12: what policy does not know is denied: kinds, subresources, groups, verbs, paths.
func TestK12UnknownIsDenied(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick})
	var table []attempt
	for _, p := range []string{"/api/v1/namespaces/default/pods/x/unknown", "/api/v1/namespaces/default/secrets/x/unmasked", "/apis/x.example/v1/namespaces/a/things/b/exec",
		"/api/v1/namespaces/default/pods/x/debug", "/apis/apps/v1/namespaces/default/deployments/x/rollback", "/api/v1/namespaces/default/serviceaccounts/x/token",
		"/metrics", "/logs/", "/logs/kube-apiserver.log", "/debug/pprof/heap", "/configz", "/flagz", "/statusz", "/ui", "/swaggerapi", "/apisx", "/openapi/v4", "/healthzx", "/.well-known/x", "/index.html"} {
		table = append(table, attempt{name: p, request: request{path: "/t/lab" + p}, code: access.CodeDenied})
	}
	for _, m := range []string{"POST", "PUT", "DELETE"} {
		for _, p := range []string{"/apis/x.example/v1/namespaces/a/things", "/apis/x.example/v1/things", "/api/v1/namespaces/default/secrets/x/unmasked",
			"/apis/x.example/v1/namespaces/a/things/b/status", "/version", "/api/v1", "/healthz"} {
			if m != "POST" && strings.HasSuffix(p, "/things") {
				p += "/b"
			}
			table = append(table, attempt{name: m + " " + p, request: write(m, p, jsonType, `{}`), code: access.CodeDenied})
		}
	}
	for _, p := range []string{"/apis/x.example/v1/namespaces/a/things/b", "/api/v1/namespaces/default/secrets/x/unmasked", "/apis/x.example/v1/namespaces/kube-system/things/b", "/version"} {
		table = append(table, attempt{name: "PATCH " + p, request: write("PATCH", p, mergeType, `{}`), code: access.CodeDenied})
	}
	for _, p := range []string{"/apis/x.example/v1/namespaces/a/things", "/apis/x.example/v1/things", "/apis/metrics.k8s.io/v1beta1/namespaces/a/pods"} {
		table = append(table, attempt{name: "DELETE all " + p, request: write("DELETE", p, jsonType, `{}`), code: access.CodeDenied})
	}
	table = append(table, attempt{name: "POST in kube-system", request: write("POST", "/apis/x.example/v1/namespaces/kube-system/things", jsonType, `{}`), code: access.CodeDenied})
	attack(t, g, table)
}

// K17: each subresource is decided as itself, and not as the object that it belongs to.
func TestK17Subresources(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick})
	pod := "/api/v1/namespaces/default/pods/x"
	attack(t, g, []attempt{
		{name: "ephemeral containers", code: access.CodeApprovalPending, rule: "debug-container", check: is("patch", "pods", "ephemeralcontainers"),
			request: write("PATCH", pod+"/ephemeralcontainers", strategicType, `{"spec":{"ephemeralContainers":[{"name":"d","image":"i"}]}}`)},
		{name: "ephemeral containers, whole", code: access.CodeApprovalPending, rule: "debug-container", check: is("update", "pods", "ephemeralcontainers"),
			request: write("PUT", pod+"/ephemeralcontainers", jsonType, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"ephemeralContainers":[{"name":"d","image":"i"}]}}`)},
		{name: "eviction", code: access.CodeApprovalPending, rule: "change", check: is("create", "pods", "eviction"),
			request: write("POST", pod+"/eviction", jsonType, `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"x"}}`)},
		{name: "eviction, deleted", code: access.CodeDenied, check: is("delete", "pods", "eviction"), request: write("DELETE", pod+"/eviction", jsonType, "")},
		{name: "eviction, patched", code: access.CodeDenied, check: is("patch", "pods", "eviction"), request: write("PATCH", pod+"/eviction", mergeType, `{}`)},
		{name: "scale, deleted", code: access.CodeDenied, check: is("delete", "deployments", "scale"),
			request: write("DELETE", "/apis/apps/v1/namespaces/default/deployments/x/scale", jsonType, "")},
		{name: "binding", code: access.CodeApprovalPending, rule: "bind-pod", check: is("create", "pods", "binding"),
			request: write("POST", pod+"/binding", jsonType, `{"apiVersion":"v1","kind":"Binding","metadata":{"name":"x"},"target":{"name":"labnode"}}`)},
		{name: "bindings", code: access.CodeApprovalPending, rule: "bind-pod", check: is("create", "bindings", ""),
			request: write("POST", "/api/v1/namespaces/default/bindings", jsonType, `{"apiVersion":"v1","kind":"Binding","metadata":{"name":"x"},"target":{"name":"labnode"}}`)},
		{name: "pod status", code: access.CodeApprovalPending, rule: "write-status", check: is("patch", "pods", "status"), request: write("PATCH", pod+"/status", mergeType, `{"status":{"phase":"Failed"}}`)},
		{name: "node status", code: access.CodeApprovalPending, rule: "write-status", check: is("patch", "nodes", "status"), request: write("PATCH", "/api/v1/nodes/labnode/status", mergeType, `{"status":{}}`)},
		{name: "scale", code: access.CodeApprovalPending, rule: "change", check: is("patch", "deployments", "scale"),
			request: write("PATCH", "/apis/apps/v1/namespaces/default/deployments/x/scale", mergeType, `{"spec":{"replicas":0}}`)},
		{name: "resize", code: access.CodeApprovalPending, rule: "change", check: is("patch", "pods", "resize"), request: write("PATCH", pod+"/resize", mergeType, `{"spec":{}}`)},
		{name: "finalize", code: access.CodeApprovalPending, rule: "change-namespace", check: is("update", "namespaces", "finalize"),
			request: write("PUT", "/api/v1/namespaces/default/finalize", jsonType, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"default"},"spec":{"finalizers":[]}}`)},
		{name: "approval of a CSR", code: access.CodeDenied, rule: "certificate-requests", check: is("update", "certificatesigningrequests", "approval"),
			request: write("PUT", "/apis/certificates.k8s.io/v1/certificatesigningrequests/x/approval", jsonType, `{}`)},
	})
}

// K18: a token of a service account is asked for by nobody alone.
func TestK18Token(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick})
	var table []attempt
	for _, sa := range []string{"default", "admin"} {
		for _, body := range []string{``, `{}`, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":["x"]}}`} {
			for _, ns := range []string{"default", "kube-system"} {
				table = append(table, attempt{name: sa + body, code: access.CodeApprovalPending, rule: "service-account-token", check: is("create", "serviceaccounts", "token"),
					request: write("POST", "/api/v1/namespaces/"+ns+"/serviceaccounts/"+sa+"/token", jsonType, body)})
			}
		}
	}
	attack(t, g, table)
}

// K19: certificates are credentials that work without the gateway.
func TestK19Certificates(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick})
	var table []attempt
	base := "/apis/certificates.k8s.io/v1/certificatesigningrequests"
	add := func(m, p string) {
		table = append(table, attempt{name: m + " " + p, code: access.CodeDenied, rule: "certificate-requests", request: write(m, p, jsonType, `{}`)})
	}
	add("POST", base)
	add("DELETE", base)
	for _, m := range []string{"PUT", "PATCH", "DELETE"} {
		add(m, base+"/x")
	}
	for _, sub := range []string{"approval", "status", "anything"} {
		for _, m := range []string{"PUT", "PATCH"} {
			add(m, base+"/x/"+sub)
		}
	}
	add("POST", "/apis/certificates.k8s.io/v1beta1/certificatesigningrequests")
	add("POST", "/apis/certificates.k8s.io/v1beta1/namespaces/default/podcertificaterequests")
	add("PUT", "/apis/certificates.k8s.io/v1beta1/namespaces/default/podcertificaterequests/x/status")
	attack(t, g, table)
}

// escalating are rules of a role that lead to every right.
var escalating = []string{
	`{"apiGroups":["rbac.authorization.k8s.io"],"resources":["clusterroles"],"verbs":["escalate"]}`,
	`{"apiGroups":["rbac.authorization.k8s.io"],"resources":["roles"],"verbs":["get","bind"]}`,
	`{"apiGroups":[""],"resources":["users"],"verbs":["impersonate"]}`,
	`{"apiGroups":[""],"resources":["groups"],"verbs":["impersonate:user-info"]}`,
	`{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}`,
	`{"apiGroups":[""],"resources":["serviceaccounts"],"verbs":["*"]}`,
}

// K20: rights to every right, and what sees every request, are denied, by each way to write them.
func TestK20Escalation(t *testing.T) {
	ns := namespace(t)
	role := ns + "-role"
	must(t, admin(t, "", "create", "clusterrole", role, "--verb=get", "--resource=pods"))
	t.Cleanup(func() { admin(t, "", "delete", "clusterrole", role) })
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick})
	token := g.Agent(ns, "claude", "")
	agent := "system:serviceaccount:" + ns + ":claude"
	base := "/apis/rbac.authorization.k8s.io/v1/clusterroles"
	var all []request
	for _, r := range escalating {
		object := `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"` + role + `"},"rules":[` + r + `]}`
		all = append(all,
			write("POST", base, jsonType, object), write("POST", base+"?dryRun=All", jsonType, object), write("POST", base, yamlType, object),
			write("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/"+ns+"/roles", jsonType, strings.Replace(object, "ClusterRole", "Role", 1)),
			write("PUT", base+"/"+role, jsonType, object),
			write("PATCH", base+"/"+role, mergeType, `{"rules":[`+r+`]}`),
			write("PATCH", base+"/"+role, strategicType, `{"rules":[`+r+`]}`),
			write("PATCH", base+"/"+role, jsonPatchType, `[{"op":"add","path":"/rules/-","value":`+r+`}]`),
			write("PATCH", base+"/"+role, jsonPatchType, `[{"op":"replace","path":"/rules","value":[`+r+`]}]`),
			write("PATCH", base+"/"+role+"?fieldManager=x&force=true", applyType, object),
			write("PATCH", base+"/"+role+"-new?fieldManager=x", applyType, object),
			write("POST", base, jsonType, strings.NewReplacer(`"verbs"`, `"\u0076erbs"`, `impersonate`, `imperson\u0061te`, `escalate`, `escalat\u0065`).Replace(object)))
	}
	audit := cluster.Audit(t)
	for n, q := range all {
		q.token = token
		a := over(t, g, []string{h1, h2}[n%2]).do(q)
		if s := a.status(t); a.code != 403 || cause(s, "GatebookCode") != string(access.CodeDenied) || cause(s, "GatebookRule") == "" {
			t.Errorf("%s %s %s: answered %d %s", q.method, q.path, q.body, a.code, a.body)
		}
	}
	if e := reached(t, g, audit, agent); len(e) > 0 {
		t.Errorf("reached the API server: %+v", e)
	}
	records := own(book(t, g, agent))
	if len(records) != len(all) {
		t.Errorf("%d records of %d requests", len(records), len(all))
	}
	for _, r := range records {
		if r.Refused == nil || r.Refused.Code != access.CodeDenied || !decidedBy(r.Decision, "grant-escalation") {
			t.Errorf("recorded %s: %+v %+v", r.Operation.Command, r.Refused, r.Decision)
		}
	}
}

// K20: webhooks and admission policies.
func TestK20AdmissionControl(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick})
	var table []attempt
	for _, kind := range []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies"} {
		for _, x := range [][2]string{{"POST", ""}, {"PUT", "/x"}, {"PATCH", "/x"}, {"DELETE", "/x"}, {"DELETE", ""}, {"PUT", "/x/status"}} {
			for _, v := range []string{"v1", "v1beta1"} {
				p := fmt.Sprintf("/apis/admissionregistration.k8s.io/%s/%s%s", v, kind, x[1])
				table = append(table, attempt{name: x[0] + p, code: access.CodeDenied, rule: "admission-control", request: write(x[0], p, jsonType, `{}`)})
			}
		}
	}
	attack(t, g, table)
}

// K30b: a dry run is judged as the change that it rehearses, and its record says that it was one.
func TestK30bDryRun(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick})
	cm := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}`
	said := func(want bool) func(*testing.T, access.Record) {
		return func(t *testing.T, r access.Record) {
			t.Helper()
			if r.Operation.Kubernetes.DryRun != want {
				t.Errorf("%s: recorded with dryRun %v", r.Operation.Command, r.Operation.Kubernetes.DryRun)
			}
		}
	}
	base := "/api/v1/namespaces/default/configmaps"
	attack(t, g, []attempt{
		{name: "create", code: access.CodeApprovalPending, check: said(true), request: write("POST", base+"?dryRun=All", jsonType, cm)},
		{name: "update", code: access.CodeApprovalPending, check: said(true), request: write("PUT", base+"/x?dryRun=All", jsonType, cm)},
		{name: "patch", code: access.CodeApprovalPending, check: said(true), request: write("PATCH", base+"/x?dryRun=All", mergeType, `{"data":{}}`)},
		{name: "apply", code: access.CodeApprovalPending, check: said(true), request: write("PATCH", base+"/x?dryRun=All&fieldManager=m", applyType, cm)},
		{name: "delete", code: access.CodeApprovalPending, check: said(true), request: request{method: "DELETE", path: "/t/lab" + base + "/x?dryRun=All"}},
		{name: "delete by its body", code: access.CodeApprovalPending, check: said(true), request: write("DELETE", base+"/x", jsonType, `{"kind":"DeleteOptions","apiVersion":"v1","dryRun":["All"]}`)},
		{name: "delete whose body says otherwise", code: access.CodeApprovalPending, check: said(false), request: write("DELETE", base+"/x?dryRun=All", jsonType, `{"kind":"DeleteOptions","apiVersion":"v1"}`)},
		{name: "a secret", code: access.CodeApprovalPending, check: said(true), rule: "modify-secret", request: write("POST", "/api/v1/namespaces/default/secrets?dryRun=All", jsonType, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}`)},
		{name: "exec, which knows none", code: access.CodeApprovalPending, check: said(false), request: request{path: "/t/lab" + execPath + "&dryRun=All"}},
		{name: "in lower case", code: access.CodeApprovalPending, check: said(false), request: write("POST", base+"?dryRun=all", jsonType, cm)},
		{name: "elsewhere in capitals", code: access.CodeApprovalPending, check: said(false), request: write("POST", base+"?dryrun=All", jsonType, cm)},
		{name: "a denied kind", code: access.CodeDenied, request: write("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests?dryRun=All", jsonType, `{}`)},
	})
}
