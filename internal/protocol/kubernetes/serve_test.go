package kubernetes

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatebook/internal/access"
)

const hiddenValue = "c4nary-Zq8vT1mXw0pLkJ7e"

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func secretJSON(name string, data ...string) string {
	values := map[string]string{}
	for i := 0; i < len(data); i += 2 {
		values[data[i]] = b64(data[i+1])
	}
	plain, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": "a"}, "data": values})
	if err != nil {
		panic(err)
	}
	var o map[string]any
	if err := json.Unmarshal(plain, &o); err != nil {
		panic(err)
	}
	o["metadata"].(map[string]any)["annotations"] = map[string]any{lastApplied: string(plain)}
	out, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return string(out)
}

// M30, M31, M33, M34, M36, M39: wherever a Secret turns up, its values do not; nor are they in the record.
func TestSecretsNeverLeave(t *testing.T) {
	one := secretJSON("db", "password", hiddenValue, "tiny", "x7")
	const path = "/api/v1/namespaces/a/secrets"
	for _, c := range []struct {
		name, method, uri, accept, body, contentType string
		code                                         int
		answer                                       string
	}{
		{name: "get", method: "GET", uri: path + "/db", answer: one},
		{name: "list", method: "GET", uri: path, answer: `{"kind":"SecretList","apiVersion":"v1","metadata":{},"items":[` + one + `,` + one + `]}`},
		{name: "watch", method: "GET", uri: path + "?watch=1", answer: `{"type":"ADDED","object":` + one + "}\n" + `{"type":"MODIFIED","object":` + one + "}\n"},
		{name: "legacy watch", method: "GET", uri: "/api/v1/watch/namespaces/a/secrets/db", answer: `{"type":"ADDED","object":` + one + "}\n"},
		{name: "table", method: "GET", uri: path + "?includeObject=Object", accept: "application/json;as=Table;v=v1;g=meta.k8s.io",
			answer: `{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{"cells":["db"],"object":` + one + `}]}`},
		{name: "watched table", method: "GET", uri: path + "?watch=1", accept: "application/json;as=Table;v=v1;g=meta.k8s.io",
			answer: `{"type":"ADDED","object":{"kind":"Table","rows":[{"cells":["db"],"object":` + one + "}]}}\n"},
		{name: "patch", method: "PATCH", uri: path + "/db?dryRun=All", contentType: typeMerge, body: `{"metadata":{"labels":{"a":"b"}}}`, answer: one},
		{name: "apply", method: "PATCH", uri: path + "/db?fieldManager=x", contentType: typeApply, body: one, answer: one},
		{name: "put", method: "PUT", uri: path + "/db", body: one, answer: one},
		{name: "post", method: "POST", uri: path, body: one, code: 201, answer: one},
		{name: "post stringData", method: "POST", uri: path, body: `{"kind":"Secret","stringData":{"password":"` + hiddenValue + `"}}`, code: 201, answer: one},
		{name: "post json patch", method: "PATCH", uri: path + "/db", contentType: typeJSONPatch, body: `[{"op":"add","path":"/data","value":{"p":"` + b64(hiddenValue) + `"}},{"op":"add","path":"/data/q","value":"` + b64(hiddenValue) + `"}]`, answer: one},
		{name: "delete", method: "DELETE", uri: path + "/db", answer: one},
		{name: "delete collection", method: "DELETE", uri: path, answer: `{"kind":"SecretList","items":[` + one + `]}`},
		{name: "protobuf", method: "GET", uri: path + "/db", accept: typeProtobuf, answer: one},
		{name: "yaml", method: "GET", uri: path + "/db", accept: typeYAML, answer: one},
		{name: "partly written", method: "POST", uri: path, body: one, code: 409, answer: `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"secrets \"db\" already exists","code":409}`},
		{name: "422 with the object", method: "PATCH", uri: path + "/db", contentType: typeJSONPatch, body: `[{"op":"add","path":"/data/z","value":1}]`, code: 422,
			answer: `{"kind":"Status","apiVersion":"v1","status":"Failure","message":` + quote(` "" is invalid: patch: Invalid value: `+quote(one)+`: bad`) + `,"details":{"causes":[{"message":` + quote(`Invalid value: `+quote(one)) + `}]},"code":422}`},
		{name: "error as text", method: "PUT", uri: path + "/db", body: one, code: 500, contentType: "application/json", answer: "TEXT " + hiddenValue},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				if r.UserAgent() == "gatebook" { // reads what is stored, before it is changed
					reply(200, typeJSON, one)(rw, r)
					return
				}
				contentType, code := typeJSON, c.code
				if strings.HasPrefix(c.answer, "TEXT") {
					contentType = "text/plain"
				}
				if code == 0 {
					code = 200
				}
				reply(code, contentType, c.answer)(rw, r)
			})
			a := w.do(c.method, c.uri, c.body, "Accept", c.accept, "Content-Type", c.contentType)
			if a.broken != nil || c.code == 0 && a.code != 200 || c.code != 0 && a.code != c.code {
				t.Fatalf("answered %d %s (%v)", a.code, a.body, a.broken)
			}
			if l := leaks([]byte(a.body), hiddenValue); l != nil {
				t.Errorf("the client got the value as %v:\n%s", l, a.body)
			}
			if strings.Contains(a.body, b64("x7")) {
				t.Errorf("the client got the short value:\n%s", a.body)
			}
			if l := leaks(w.recorded(), hiddenValue); l != nil {
				t.Errorf("the record holds the value as %v", l)
			}
		})
	}
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// M41: what was once seen to be secret is recognised elsewhere.
func TestKnownValuesElsewhere(t *testing.T) {
	for _, c := range []struct{ name, uri, contentType, answer string }{
		{"pod", "/api/v1/namespaces/a/pods/p", typeJSON, `{"kind":"Pod","spec":{"containers":[{"env":[{"name":"P","value":"` + hiddenValue + `"}]}]}}`},
		{"log", "/api/v1/namespaces/a/pods/p/log?follow=true", "text/plain", "connecting with " + hiddenValue + "\n"},
		{"config map", "/api/v1/namespaces/a/configmaps/c", typeJSON, `{"kind":"ConfigMap","data":{"url":"postgres://u:` + hiddenValue + `@db"}}`},
		{"proxy", "/api/v1/namespaces/a/services/s/proxy/x", "text/html", "<b>" + hiddenValue + "</b>"},
		{"proxied bytes", "/api/v1/namespaces/a/services/s/proxy/x", "application/octet-stream", "\x00\x01" + hiddenValue + "\xff"},
		{"metrics", "/metrics", "text/plain; version=0.0.4", `x{token="` + hiddenValue + `"} 1`},
		{"token", "/api/v1/namespaces/a/events", typeJSON, `{"items":[{"message":"` + b64("--"+hiddenValue+"--") + `"}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, reply(200, typeJSON, secretJSON("db", "password", hiddenValue)))
			w.do("GET", "/api/v1/namespaces/a/secrets/db", "")
			w.upstream = func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Warning", `299 - "`+hiddenValue+`"`)
				reply(200, c.contentType, c.answer)(rw, r)
			}
			a := w.do("GET", c.uri, "")
			if l := leaks([]byte(a.body+a.header.Get("Warning")), hiddenValue); l != nil || a.code != 200 {
				t.Errorf("%d: the client got the value as %v:\n%s", a.code, l, a.body)
			}
			if l := leaks(w.recorded(), hiddenValue); l != nil {
				t.Errorf("the record holds the value as %v", l)
			}
		})
	}
}

// What cannot be masked with certainty is refused, before a byte of it leaves.
func TestUnmaskable(t *testing.T) {
	for _, c := range []struct {
		name, uri, accept string
		answer            http.HandlerFunc
		code              int
	}{
		{"protobuf unasked", "/api/v1/secrets", "", reply(200, typeProtobuf, "k8s\x00"+hiddenValue), 406},
		{"not json", "/api/v1/secrets", "", reply(200, typeJSON, "<"+hiddenValue), 406},
		{"text for a secret", "/api/v1/secrets", "", reply(200, "text/plain", hiddenValue), 406},
		{"gzip", "/api/v1/secrets", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			reply(200, typeJSON, hiddenValue)(w, r)
		}, 406},
		{"zip in a log", "/api/v1/namespaces/a/services/s/proxy/x", "", reply(200, "text/plain", "\x1f\x8b\x08"+hiddenValue), 406},
		{"only cbor", "/api/v1/secrets", "application/cbor", reply(200, typeJSON, "{}"), 406},
		{"unknown kind as protobuf", "/apis/example.com/v1/things", typeProtobuf, reply(200, typeJSON, `{"apiVersion":"example.com/v1","kind":"Thing"}`), 406},
		{"redirect", "/apis/example.com/v1/things", "", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/"+hiddenValue, http.StatusFound)
		}, 502},
		{"401", "/api/v1/pods", "", reply(401, typeJSON, `{"kind":"Status"}`), 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.answer)
			a := w.do("GET", c.uri, "", "Accept", c.accept)
			var s metav1.Status
			if err := json.Unmarshal([]byte(a.body), &s); err != nil || a.code != c.code || s.Kind != "Status" {
				t.Errorf("answered %d %s", a.code, a.body)
			}
			if a.header.Get("Location") != "" || strings.Contains(a.body, hiddenValue) {
				t.Error("the answer got through:", a)
			}
			rows := w.rows()
			if len(rows) != 1 || rows[0].Outcome == nil && rows[0].Refused == nil || rows[0].Outcome != nil && rows[0].Outcome.Code != c.code {
				t.Errorf("recorded %+v", rows)
			}
		})
	}
}

// M44: what was masked comes back as it was, or is refused, whatever the kind of write.
func TestWriteBack(t *testing.T) {
	stored := secretJSON("db", "a", hiddenValue, "b", "second-"+hiddenValue, "c", "third-"+hiddenValue)
	const path = "/api/v1/namespaces/a/secrets/db"
	get := func(w *world) (whole string, data map[string]string) {
		a := w.do("GET", path, "")
		var o struct{ Data map[string]string }
		must(w.t, json.Unmarshal([]byte(a.body), &o))
		return a.body, o.Data
	}
	for _, c := range []struct {
		name, method, contentType string
		body                      func(whole string, data map[string]string) string
		want                      []string // in what is sent; nil: refused
	}{
		{"replace", "PUT", typeJSON, func(whole string, _ map[string]string) string { return whole }, []string{b64(hiddenValue), b64("second-" + hiddenValue)}},
		{"edit one key", "PATCH", typeStrategic, func(_ string, d map[string]string) string {
			return `{"data":{"a":"` + b64("new") + `","b":"` + d["b"] + `"}}`
		}, []string{b64("new"), b64("second-" + hiddenValue)}},
		{"merge", "PATCH", typeMerge, func(_ string, d map[string]string) string { return `{"data":{"c":"` + d["c"] + `"}}` }, []string{b64("third-" + hiddenValue)}},
		{"json patch", "PATCH", typeJSONPatch, func(_ string, d map[string]string) string {
			return `[{"op":"test","path":"/data/a","value":"` + d["a"] + `"},{"op":"replace","path":"/data/b","value":"` + b64("new") + `"}]`
		}, []string{b64(hiddenValue), b64("new")}},
		{"apply", "PATCH", typeApply, func(whole string, _ map[string]string) string { return whole }, []string{b64(hiddenValue)}},
		{"apply in yaml", "PATCH", typeApply, func(_ string, d map[string]string) string {
			return "apiVersion: v1\nkind: Secret\ndata:\n  a: " + d["a"] + "\n"
		}, []string{b64(hiddenValue)}},
		{"yaml", "PUT", typeYAML, func(_ string, d map[string]string) string { return "kind: Secret\ndata:\n  a: " + d["a"] + "\n" }, []string{b64(hiddenValue)}},
		{"moved", "PATCH", typeMerge, func(_ string, d map[string]string) string { return `{"data":{"a":"` + d["b"] + `"}}` }, nil},
		{"new key", "PATCH", typeMerge, func(_ string, d map[string]string) string { return `{"data":{"z":"` + d["b"] + `"}}` }, nil},
		{"into a label", "PATCH", typeMerge, func(_ string, d map[string]string) string { return `{"metadata":{"labels":{"z":"` + d["b"] + `"}}}` }, nil},
		{"cut", "PATCH", typeMerge, func(_ string, d map[string]string) string { return `{"data":{"a":"` + d["a"][:len(d["a"])-4] + `"}}` }, nil},
		{"undecodable", "PATCH", typeMerge, func(_ string, d map[string]string) string {
			return `{"data":{"a":"` + d["a"] + `","a":"` + d["a"] + `"}}`
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, reply(200, typeJSON, stored))
			whole, data := get(w)
			a := w.do(c.method, path+"?fieldManager=x", c.body(whole, data), "Content-Type", c.contentType)
			sent := w.last()
			if c.want == nil {
				if a.code != 409 && (a.code != 400 || c.name != "undecodable") || sent.Method != "GET" {
					t.Fatalf("answered %d %s; %s was sent", a.code, a.body, sent.Method)
				}
				return
			}
			if a.code != 200 || sent.Method != c.method {
				t.Fatalf("answered %d %s", a.code, a.body)
			}
			for _, v := range c.want {
				if !strings.Contains(sent.body, v) {
					t.Errorf("sent %s, want %s in it", sent.body, v)
				}
			}
			if strings.Contains(sent.body, "gbm-") || strings.Contains(sent.body, "Z2JtL") {
				t.Errorf("a placeholder was sent: %s", sent.body)
			}
			if l := leaks(w.recorded(), hiddenValue); l != nil {
				t.Errorf("the record holds the value as %v", l)
			}
		})
	}
}

// A card shows what a write leaves unchanged as unchanged.
func TestCardOfAWriteBack(t *testing.T) {
	stored := secretJSON("db", "a", hiddenValue, "b", "second-"+hiddenValue)
	w := newWorld(t, reply(200, typeJSON, stored))
	w.desk.yes = true
	w.decide = func(op *access.Operation) (access.Decision, []string) {
		d, _ := allow(op)
		if op.Verb != "get" {
			d.Effect, d.Approval = access.Approve, &access.ApprovalTerms{Count: 1}
		}
		return d, nil
	}
	a := w.do("GET", "/api/v1/namespaces/a/secrets/db", "")
	var o map[string]any
	must(t, json.Unmarshal([]byte(a.body), &o))
	o["data"].(map[string]any)["b"] = b64("another-" + hiddenValue)
	edited, err := json.Marshal(o)
	must(t, err)
	if a := w.do("PUT", "/api/v1/namespaces/a/secrets/db", string(edited)); a.code != 200 {
		t.Fatal(a)
	}
	var changed []string
	for line := range strings.Lines(w.desk.cards[0].Diff) {
		if strings.HasPrefix(line, "+ ") || strings.HasPrefix(line, "- ") {
			changed = append(changed, line[:5])
		}
	}
	if !slices.Equal(changed, []string{"-  b:", "+  b:"}) {
		t.Errorf("changed %q in\n%s", changed, w.desk.cards[0].Diff)
	}
	if l := leaks([]byte(w.desk.cards[0].Diff+w.desk.cards[0].Object), hiddenValue); l != nil {
		t.Errorf("the card shows the value as %v", l)
	}
}

func TestPlaceholderInACreateIsRefused(t *testing.T) {
	w := newWorld(t, reply(200, typeJSON, secretJSON("db", "a", hiddenValue)))
	a := w.do("GET", "/api/v1/namespaces/a/secrets/db", "")
	if b := w.do("POST", "/api/v1/namespaces/b/secrets", a.body); b.code != 409 || w.requests() != 1 {
		t.Errorf("answered %d %s after %d requests", b.code, b.body, w.requests())
	}
}

// D: zero bytes upstream, one record, a Status that says what, why, by which rule and what to do.
func TestRefused(t *testing.T) {
	w := newWorld(t, reply(200, typeJSON, `{}`))
	w.decide = func(*access.Operation) (access.Decision, []string) {
		return access.Decision{Effect: access.Deny, Reason: "secrets are not for agents", Advice: "Ask the platform team.",
			Rules: []access.RuleHit{{ID: "no-secrets", Effect: access.Deny, Reason: "secrets are not for agents"}}}, nil
	}
	a := w.do("GET", "/api/v1/namespaces/a/secrets/db", "")
	var s metav1.Status
	must(t, json.Unmarshal([]byte(a.body), &s))
	rows := w.rows()
	if len(rows) != 1 || rows[0].Refused == nil {
		t.Fatalf("recorded %+v", rows)
	}
	want := "gatebook: secrets are not for agents (rule no-secrets). Ask the platform team. Operation " + string(rows[0].Operation.ID)
	if s.Message != want || s.Code != 403 || s.Reason != metav1.StatusReasonForbidden || w.requests() != 0 {
		t.Errorf("%d requests upstream; got %+v\nwant %s", w.requests(), s, want)
	}
}

// K2, K4, K5 and more: what never reaches policy is refused and recorded, too.
func TestRejected(t *testing.T) {
	for _, c := range []struct {
		method, uri, body string
		header            []string
		code              int
	}{
		{"GET", "/api/v1/pods;x", "", nil, 400},
		{"GET", "/api/v1/pods", "", []string{"Impersonate-User", "admin"}, 400},
		{"GET", "/api/v1/pods", "", []string{"Connection", "Upgrade", "Upgrade", "h2c"}, 400},
		{"GET", "/api/v1/pods?watch=1", "", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 400},
		{"GET", "/api/v1/nodes/n/proxy/exec/a/b/c?command=id", "", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 400},
		{"GET", "/api/v1/namespaces/a/services/s/proxy/ws", "", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 400},
		{"GET", "/api/v1/pods?a=\xff", "", nil, 400},
		{"GET", "/api/v1/pods?a=%ff", "", nil, 400},
		{"GET", "/api/v1/pods", "body", nil, 400},
		{"POST", "/api/v1/namespaces/a/pods/p/portforward?ports=65536", "", nil, 400},
		{"POST", "/api/v1/namespaces/a/pods/p/portforward?ports=-1", "", nil, 400},
		{"POST", "/api/v1/namespaces/a/pods/p/exec?command=id", "body", nil, 400},
		{"POST", "/api/v1/namespaces/a/pods", strings.Repeat("x", 1<<20+1), nil, 413},
		{"POST", "/api/v1/namespaces/a/pods", "x", []string{"Content-Encoding", "gzip"}, 400},
	} {
		w := newWorld(t, reply(200, typeJSON, `{}`))
		a := w.do(c.method, c.uri, c.body, c.header...)
		rows := w.rows()
		if a.code != c.code || w.requests() != 0 || len(rows) != 1 || rows[0].Refused == nil {
			t.Errorf("%s %s: answered %d %s, %d requests upstream, %d records", c.method, c.uri, a.code, a.body, w.requests(), len(rows))
		}
		if strings.Contains(c.uri, "exec") && (len(rows) != 1 || rows[0].Operation.Kubernetes.Exec == nil) {
			t.Error("the record does not say that it was an exec")
		}
	}
}

// A secret that the agent itself sends, in a command or a query, is not in the words of the operation.
func TestKnownValuesInTheCommand(t *testing.T) {
	w := newWorld(t, reply(200, typeJSON, `{}`))
	w.h.o.Masks.Learn([]byte(hiddenValue))
	w.do("GET", "/api/v1/namespaces/a/services/s/proxy/login?password="+hiddenValue, "", "Gatebook-Reason", "the password is "+hiddenValue)
	if s := w.last(); !strings.Contains(s.RequestURI, hiddenValue) {
		t.Errorf("sent %s", s.RequestURI)
	}
	if l := leaks(w.recorded(), hiddenValue); l != nil {
		t.Errorf("the record holds the value as %v", l)
	}
}

// What is forwarded is what came, as the caller, with the gateway's own headers.
func TestForward(t *testing.T) {
	body := `{"kind":"ConfigMap","metadata":{"name":"c"},"data":{"k":"` + strings.Repeat("v", 5000) + `"}}` // longer than is kept in memory
	w := newWorld(t, reply(201, typeJSON, `{"kind":"ConfigMap"}`))
	a := w.do("POST", "/api/v1/namespaces/a%3Ab/configmaps?fieldManager=x", body, "Content-Type", typeJSON, "Connection", "Impersonate-User, Authorization, Audit-Id", "X-Remote-User", "admin")
	s := w.last()
	rows := w.rows()
	if a.code != 201 || s.body != body || s.RequestURI != "/api/v1/namespaces/a%3Ab/configmaps?fieldManager=x" {
		t.Fatalf("answered %d; sent %s %s", a.code, s.RequestURI, s.body)
	}
	if s.Header.Get("Impersonate-User") != "agent" || s.Header.Get("Authorization") != "Bearer upstream-token" || s.Header.Get("X-Remote-User") != "" || s.Header.Get("Audit-Id") != string(rows[0].Operation.ID) {
		t.Errorf("sent headers %v", s.Header)
	}
	out := rows[0].Outcome
	if out == nil || out.Code != 201 || out.RequestBytes != int64(len(body)) || out.ResponseBytes != int64(len(a.body)) || out.Truncated != "" {
		t.Errorf("outcome %+v", out)
	}
	if rows[0].Operation.Kubernetes.Kind != "ConfigMap" || rows[0].Operation.Verb != "create" {
		t.Errorf("operation %+v", rows[0].Operation)
	}
}

// I105, K9: the digest changes with anything that is forwarded, and with nothing else.
func TestDigest(t *testing.T) {
	type req struct {
		method, uri, body string
		header            []string
	}
	digest := func(c req) access.Digest {
		w := newWorld(t, reply(200, typeJSON, `{}`))
		w.do(c.method, c.uri, c.body, c.header...)
		return w.rows()[0].Operation.Digest
	}
	base := req{"POST", "/api/v1/namespaces/a/configmaps?x=1", `{"a":1}`, []string{"Content-Type", typeJSON}}
	first := digest(base)
	for name, c := range map[string]req{
		"session":     {base.method, base.uri, base.body, append(slices.Clone(base.header), "Kubectl-Session", "other")},
		"traceparent": {base.method, base.uri, base.body, append(slices.Clone(base.header), "Traceparent", "other")},
		"hop":         {base.method, base.uri, base.body, append(slices.Clone(base.header), "Connection", "X-A", "X-A", "1")},
	} {
		if digest(c) != first {
			t.Errorf("%s: another digest", name)
		}
	}
	for name, c := range map[string]req{
		"method": {"PUT", base.uri, base.body, base.header},
		"escape": {base.method, "/api/v1/namespaces/%61/configmaps?x=1", base.body, base.header},
		"query":  {base.method, "/api/v1/namespaces/a/configmaps?x=2", base.body, base.header},
		"body":   {base.method, base.uri, `{"a": 1}`, base.header},
		"header": {base.method, base.uri, base.body, append(slices.Clone(base.header), "X-A", "1")},
		"type":   {base.method, base.uri, base.body, []string{"Content-Type", "application/yaml"}},
	} {
		if digest(c) == first {
			t.Errorf("%s: the same digest", name)
		}
	}
}

// The card shows all: the decoded request, and the difference to what is stored; and nothing of a secret.
func TestCard(t *testing.T) {
	stored := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","managedFields":[{"manager":"x"}]},"spec":{"containers":[{"name":"a","image":"x"}]}}`
	w := newWorld(t, reply(200, typeJSON, stored))
	w.pods = true
	w.desk.yes = true
	w.decide = func(*access.Operation) (access.Decision, []string) {
		return access.Decision{Effect: access.Approve, Masks: allMasks, Approval: &access.ApprovalTerms{Count: 1}}, nil
	}
	a := w.do("PATCH", "/api/v1/namespaces/a/pods/p", `{"spec":{"containers":[{"name":"a","securityContext":{"privileged":true}}]}}`, "Content-Type", typeStrategic)
	if a.code != 200 || len(w.desk.cards) != 1 {
		t.Fatalf("answered %d %s, %d cards", a.code, a.body, len(w.desk.cards))
	}
	c := w.desk.cards[0]
	wantDiff := "--- stored\n+++ after\n@@ -6,3 +6,5 @@\n   containers:\n   - image: x\n     name: a\n+    securityContext:\n+      privileged: true\n"
	if c.Diff != wantDiff || !strings.Contains(c.Object, "privileged: true") || len(c.Uninspectable) != 0 {
		t.Errorf("card:\n%s\n%q\n%v", c.Object, c.Diff, c.Uninspectable)
	}
	// K21: policy, judging again, saw what the patch would make of the pod.
	op := w.desk.ops[0]
	if fmt.Sprint(op.Kubernetes.Object["spec"]) != "map[containers:[map[image:x name:a securityContext:map[privileged:true]]]]" {
		t.Errorf("object %v", op.Kubernetes.Object)
	}
	if op.Command != `kubectl patch pod -n a p --type=strategic -p '{"spec":{"containers":[{"name":"a","securityContext":{"privileged":true}}]}}'` {
		t.Error(op.Command)
	}
}

// H106: what cannot be read with certainty is unknown, not empty.
func TestUninspectable(t *testing.T) {
	for _, c := range []struct {
		method, uri, contentType, body string
	}{
		{"POST", "/api/v1/namespaces/a/pods", typeJSON, `{"kind":"Pod","kind":"Pod"}`},
		{"POST", "/api/v1/namespaces/a/pods", "application/x-unknown", `{}`},
		{"PATCH", "/api/v1/namespaces/a/pods/p", typeJSONPatch, `[{"op":"add","path":"/x","value":1}]`},
		{"PATCH", "/api/v1/namespaces/a/pods/p", typeJSON, `{}`},
		{"POST", "/api/v1/namespaces/a/services/s/proxy/", typeJSON, `{}`},
	} {
		w := newWorld(t, reply(200, typeJSON, `{}`))
		w.do(c.method, c.uri, c.body, "Content-Type", c.contentType)
		op := w.rows()[0].Operation
		if !slices.ContainsFunc(op.Uninspectable, func(u access.Uninspectable) bool { return u.Field == access.FieldKubernetesObject }) {
			t.Errorf("%s %s %s: %v", c.method, c.contentType, c.body, op.Uninspectable)
		}
	}
}

// Stored and patched objects come when policy asks for them, read as the caller and recorded as lookups.
func TestComplete(t *testing.T) {
	stored := secretJSON("db", "a", hiddenValue)
	for _, c := range []struct {
		name string
		code int
		want func(op *access.Operation) bool
	}{
		{"there", 200, func(op *access.Operation) bool {
			return op.Kubernetes.Stored["kind"] == "Secret" && op.Kubernetes.Object["kind"] == "Secret" && len(op.Uninspectable) == 0
		}},
		{"not there", 404, func(op *access.Operation) bool {
			return slices.Contains(op.Fetched, access.FieldKubernetesStored) && len(op.Kubernetes.Stored) == 0 && len(op.Uninspectable) == 1
		}},
		{"forbidden", 403, func(op *access.Operation) bool { return op.Kubernetes.Stored == nil && len(op.Uninspectable) == 2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, reply(c.code, typeJSON, stored))
			w.decide = func(op *access.Operation) (access.Decision, []string) {
				if op.Kubernetes.Stored == nil && len(op.Fetched) > 0 && len(op.Uninspectable) == 1 {
					t.Error("policy cannot tell what is not there from what was not read")
				}
				return access.Decision{Effect: access.Allow, Masks: allMasks}, op.Late()
			}
			w.do("PATCH", "/api/v1/namespaces/a/secrets/db", `[{"op":"add","path":"/metadata/labels","value":{}}]`, "Content-Type", typeJSONPatch)
			rows := w.rows()
			i := slices.IndexFunc(rows, func(r access.Record) bool { return r.Operation.Parent == "" })
			others := slices.DeleteFunc(slices.Clone(rows), func(r access.Record) bool { return r.Operation.Parent == rows[i].Operation.ID })
			if len(rows) < 2 || !c.want(&rows[i].Operation) || len(others) != 1 {
				t.Errorf("recorded %+v", rows)
			}
			if len(rows[i].Operation.Late()) != 0 {
				t.Error("it is asked for again and again")
			}
		})
	}
}

// A watch is delivered event by event, and an upstream that breaks off does not look like an end.
func TestWatchIsLive(t *testing.T) {
	next := make(chan string)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", typeJSON)
		for line := range next {
			io.WriteString(rw, line)
			rw.(http.Flusher).Flush()
		}
		panic(http.ErrAbortHandler)
	})
	go func() { next <- `{"type":"ADDED","object":` + secretJSON("x", "k", hiddenValue) + "}\n" }()
	resp, err := http.Get(w.front.URL + "/api/v1/secrets?watch=1")
	must(t, err)
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for range 3 {
		var e struct{ Type string }
		must(t, dec.Decode(&e)) // arrives while the upstream still holds the stream open
		if e.Type != "ADDED" {
			t.Fatal(e)
		}
		select {
		case next <- `{"type":"ADDED","object":{}}` + "\n":
		case <-t.Context().Done():
		}
	}
	close(next)
	if _, err := io.ReadAll(io.MultiReader(dec.Buffered(), resp.Body)); err == nil {
		t.Error("a broken stream ended as if it were whole")
	}
	if out := w.rows()[0].Outcome; out == nil || out.Truncated == "" {
		t.Errorf("outcome %+v", out)
	}
}

// What a patch makes of the stored Secret shows nothing of the patch's own values, wherever the patch repeats them.
func TestPatchedRepeats(t *testing.T) {
	stored := secretJSON("db", "a", hiddenValue)
	const word = "sent-and-repeated-1"
	for contentType, body := range map[string]string{
		typeMerge:     `{"metadata":{"annotations":{"note":"is ` + word + `","b":"` + b64(word) + `"}},"data":{"v":"` + b64(word) + `"}}`,
		typeStrategic: `{"metadata":{"annotations":{"note":"is ` + word + `"}},"stringData":{"v":"` + word + `"}}`,
		typeJSONPatch: `[{"op":"add","path":"/metadata/annotations","value":{"note":"is ` + word + `"}},{"op":"add","path":"/data/v","value":"` + b64(word) + `"}]`,
		typeApply:     `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db","annotations":{"note":"is ` + word + `"}},"data":{"v":"` + b64(word) + `"}}`,
	} {
		t.Run(contentType, func(t *testing.T) {
			w := newWorld(t, reply(200, typeJSON, stored))
			w.decide = func(op *access.Operation) (access.Decision, []string) {
				return access.Decision{Effect: access.Deny, Masks: allMasks}, op.Late()
			}
			w.do("PATCH", "/api/v1/namespaces/a/secrets/db?fieldManager=m", body, "Content-Type", contentType)
			rows := w.rows()
			i := slices.IndexFunc(rows, func(r access.Record) bool { return r.Operation.Parent == "" })
			object := fmt.Sprintf("%q", rows[i].Operation.Kubernetes.Object)
			if !strings.Contains(object, `"note":"is (masked)"`) || strings.Contains(object, word) || strings.Contains(object, b64(word)) || len(rows[i].Operation.Uninspectable) > 0 {
				t.Errorf("%s\n%+v", object, rows[i].Operation.Uninspectable)
			}
		})
	}
}
