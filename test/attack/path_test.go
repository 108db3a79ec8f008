package attack

import (
	"strings"
	"testing"

	"gatebook/internal/access"
	"gatebook/test/lab"
)

// ambiguous are paths that two readers could read differently, relative to the target.
var ambiguous = []string{
	// Empty and dot segments, plain and escaped, one, two and three times.
	"//api/v1/namespaces/default/secrets",
	"/api//v1/secrets",
	"/api/v1//secrets",
	"/api/v1/secrets//",
	"///",
	"/api/v1/namespaces//secrets",
	"/./api/v1/secrets",
	"/api/v1/./secrets",
	"/api/v1/secrets/.",
	"/api/v1/secrets/..",
	"/api/v1/pods/../secrets",
	"/api/v1/namespaces/default/pods/x/../../secrets",
	"/version/../api/v1/secrets",
	"/../api/v1/secrets",
	"/../../t/lab/api/v1/secrets",
	"/api/v1/pods/%2e%2e/secrets",
	"/api/v1/pods/%2E%2E/secrets",
	"/api/v1/pods/.%2e/secrets",
	"/api/v1/pods/%2e./secrets",
	"/api/v1/%2e/secrets",
	"/api/v1/pods/%252e%252e/secrets",
	"/healthz/..;/api/v1/secrets",
	"/healthz/..%3b/api/v1/secrets",
	// Slashes that are none, or are.
	"/api/v1%2fsecrets",
	"/api/v1%2Fsecrets",
	"/api/v1/namespaces/default%2fsecrets",
	"/api/v1/namespaces/default/pods/a%2f..%2fb",
	"/api/v1/namespaces/default/pods/a%2Fexec",
	"/api/v1/namespaces/default/pods/a%252fexec",
	"/%2fapi/v1/secrets",
	"/api/v1/pods/%5c..%5csecrets",
	"/api/v1/pods/%5C..%5Csecrets",
	`/api/v1/pods\..\secrets`,
	`/api/v1\secrets`,
	"/api/v1/namespaces/default/pods/a%c0%afexec",
	"/api/v1/namespaces/default/pods/%c0%ae%c0%ae/secrets",
	"/api/v1/namespaces/default/pods/%e0%80%afexec",
	"/api/v1/namespaces/default/pods/%ef%bc%8fexec/%ff",
	// Parameters of segments.
	"/api/v1/secrets;a=b",
	"/api/v1;/secrets",
	"/api/v1/namespaces/default;x/secrets",
	"/api/v1/secrets%3b",
	"/api/v1/secrets%3Ba=b",
	// Ends of strings and lines, other control characters.
	"/api/v1/secrets%00",
	"/api/v1/secrets%00.json",
	"/api/v1/%00secrets",
	"/api/v1/secrets%0a",
	"/api/v1/secrets%0d%0aImpersonate-User:%20admin",
	"/api/v1/secrets%0D",
	"/api/v1/secrets%09",
	"/api/v1/secrets%7f",
	"/api/v1/secrets%1b[31m",
	"/api/v1/secrets%1f",
	// Escapes of what needs none, of the escape itself.
	"/%61pi/v1/secrets",
	"/api/%761/secrets",
	"/api/v1/%73ecrets",
	"/api/v1/secret%73",
	"/api/v1/namespaces/default/pods/x/ex%65c",
	"/api/v1/namespaces/default/pods/x/%65xec",
	"/api/v1/namespaces/d%65fault/secrets",
	"/api/v1/namespaces/default/pods/%7e",
	"/api/v1/namespaces/default/pods/a%2db",
	"/api/v1/namespaces/default/pods/a%5fb",
	"/api/v1/namespaces/default/pods/a%2eb",
	"/api/v1/%2573ecrets",
	"/api/v1/secrets%25",
	"/api/v1/secrets%2500",
	// Characters that must be escaped, and are not.
	`/api/v1/namespaces/default/pods/"x"`,
	"/api/v1/namespaces/default/pods/<x>",
	"/api/v1/namespaces/default/pods/{x}",
	"/api/v1/namespaces/default/pods/a|b",
	"/api/v1/namespaces/default/pods/a^b",
	"/api/v1/namespaces/default/pods/`id`",
	"/api/v1/namespaces/default/pods/\u00e9",
	// Not UTF-8.
	"/api/v1/namespaces/default/pods/%ff",
	"/api/v1/namespaces/default/pods/%80",
	"/api/v1/namespaces/default/pods/%ed%a0%80",
	// Queries that a reader drops in part, or cannot read.
	"/api/v1/secrets?watch=1;limit=1",
	"/api/v1/secrets?watch=%zz",
	"/api/v1/secrets?watch=%",
	"/api/v1/secrets?%00=1",
	"/api/v1/secrets?fieldSelector=metadata.name%3Da%00",
	"/api/v1/secrets?labelSelector=%ff",
	"/api/v1/namespaces/default/pods/x/exec?command=ls;command=id",
	"/api/v1/namespaces/default/pods/x/exec?command=ls%00-la",
}

// K14: paths that can be read in two ways go nowhere, whatever policy says, by any version of HTTP and any method.
func TestK14AmbiguousPath(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	var table []attempt
	for _, p := range ambiguous {
		table = append(table, attempt{name: p, request: request{path: "/t/lab" + p}, code: access.CodeMalformed})
	}
	for _, m := range []string{"HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		for _, p := range []string{"/api/v1/namespaces/default/pods/..%2fsecrets", "/api/v1/namespaces/default//pods", "/api/v1/namespaces/default/pods/x;/exec"} {
			table = append(table, attempt{name: m + " " + p, request: request{method: m, path: "/t/lab" + p}, code: access.CodeMalformed})
		}
	}
	for _, m := range []string{"get", "TRACE", "PROPFIND", "FOO", "LIST", "G\x21T"} {
		table = append(table, attempt{name: m, request: request{method: m, path: "/t/lab/api/v1/secrets"}, code: access.CodeMalformed})
	}
	// What is not ambiguous goes on, so that the rest of the table says something.
	for _, p := range []string{"/api/v1/namespaces/default/pods/", "/api/v1/namespaces/default/pods/a%20b", "/api/v1/namespaces/default/pods/%C3%A9",
		"/apis/apps/v1/namespaces/default/deployments?labelSelector=a%3Db", "/version"} {
		table = append(table, attempt{name: p, request: request{path: "/t/lab" + p}})
	}
	attack(t, g, table)
}

// K14: a request that HTTP itself does not allow ends its connection, or is answered with an error; none goes on.
func TestK14BrokenRequestLine(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	audit := cluster.Audit(t)
	who := "actor-broken"
	token := g.Person(who)
	for _, q := range []request{
		{path: "/t/lab/api/v1/secrets%"},
		{path: "/t/lab/api/v1/secrets%2"},
		{path: "/t/lab/api/v1/secrets%zz"},
		{path: "/t/lab/api/v1/secrets%u0000"},
		{path: "/t/lab/api/v1/secrets\x00"},
		{path: "/t/lab/api/v1/sec rets"},
		{path: "/t/lab/api/v1/secrets\x7f"},
		{path: "/t/lab/api/v1/secrets\r\nImpersonate-User: system:admin"},
		{path: "t/lab/api/v1/secrets"},
		{path: "*"},
		{path: "/t/lab;/api/v1/secrets"},
		{path: "/t/lab%2fapi/v1/secrets"},
		{path: "/%74/lab/api/v1/secrets"},
		{path: "/t%2flab/api/v1/secrets"},
		{path: "/t//lab/api/v1/secrets"},
		{path: "//t/lab/api/v1/secrets"},
		{path: "/x/../t/lab/api/v1/secrets"},
		{path: "/gatebook/../t/lab/api/v1/secrets"},
		{path: "/gatebook/%2e%2e/t/lab/api/v1/secrets"},
		{path: "/gatebook%2f..%2fk/lab/api/v1/secrets"},
		{path: "/t/LAB/api/v1/secrets"},
		{path: "/t/lab./api/v1/secrets"},
		{path: "/t/../t/other/api/v1/secrets"},
		{method: "CONNECT", path: "/t/lab/api/v1/secrets"},
		{method: "CONNECT", path: "localhost:1"},
	} {
		q.token = token
		for _, proto := range []string{h1, h2} {
			if a := over(t, g, proto).do(q); a.code != 0 && a.code < 300 {
				t.Errorf("%s %q by %s: answered %d %.300s", q.method, q.path, proto, a.code, a.body)
			}
		}
	}
	if events := reached(t, g, audit, who); len(events) > 0 {
		t.Errorf("reached the API server: %+v", events)
	}
	for _, r := range book(t, g, who) {
		if r.Refused == nil {
			t.Errorf("let through: %+v", r.Operation)
		}
	}
}

// K14: what a path decodes to is what the API server sees: the record names the resource that the audit log names.
func TestK14RecordAgreesWithTheAPIServer(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	audit := cluster.Audit(t)
	who := "actor-agree"
	c := over(t, g, h2)
	for _, p := range []string{
		"/api/v1/secrets", "/api/v1/namespaces/default", "/api/v1/namespaces/default/status", "/api/v1/namespaces/default/finalize",
		"/api/v1/namespaces/default/secrets/a", "/api/v1/namespaces/default/secrets/", "/api/v1/namespaces/a%20b/secrets/x",
		"/api/v1/namespaces/default/pods/x/log", "/api/v1/namespaces/default/pods/x/proxy/secrets", "/api/v1/namespaces/default/services/x:y/proxy/",
		"/api/v1/namespaces/default/pods/x/exec/more", "/api/v1/namespaces/default/pods/x/binding", "/api/v1/nodes/n/proxy/exec/a/b/c?command=id",
		"/api/v1/watch/secrets", "/api/v1/watch/namespaces/default/secrets/a", "/api/v1/watch/namespaces/default", "/api/v1/proxy/nodes/n/pods",
		"/api/v1/proxy/namespaces/default/pods/x/y", "/api/v1/secrets?fieldSelector=metadata.name%3Da", "/api/v1/secrets?watch=false",
		"/apis/apps/v1/deployments", "/apis/apps/v1/namespaces/default/deployments/d/scale", "/apis/apps", "/apis/apps/v1", "/api/v1", "/api",
		"/apis/x.example.org/v1/things/y/z", "/API/v1/secrets", "/apis/v1/secrets", "/api/v1/namespaces", "/api/v1/namespaces/default/Secrets",
	} {
		c.do(request{path: "/t/lab" + p, token: g.Person(who)})
	}
	seen := map[string]lab.AuditEvent{}
	for _, e := range audit.Events(t, who) {
		seen[e.ID] = e
	}
	records := own(book(t, g, who))
	if len(records) < 30 {
		t.Fatalf("%d records", len(records))
	}
	for _, r := range records {
		k, e := r.Operation.Kubernetes, seen[string(r.Operation.ID)]
		if e.ID == "" {
			t.Errorf("%s: not in the API server's audit log", r.Operation.Command)
			continue
		}
		verb := k.Verb
		if verb == "proxy" && !strings.Contains(e.URI, "/api/v1/proxy/") {
			verb = "get"
		}
		if verb == "create" {
			verb = "get" // pods/exec, named by what it does
		}
		o := e.Object
		if verb != e.Verb || k.Resource != o.Resource || k.Subresource != o.Subresource || k.Namespace != o.Namespace || k.Name != o.Name {
			t.Errorf("%s: recorded as %+v, the API server says %s %+v", e.URI, *k, e.Verb, o)
		}
	}
}
