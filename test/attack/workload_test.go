package attack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	clientscheme "k8s.io/client-go/kubernetes/scheme"

	"gatebook/internal/access"
	"gatebook/internal/policy"
	"gatebook/test/lab"
)

// lenient is the default policy, but that ordinary changes need no approval: what still asks is what looks dangerous.
func lenient(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, b := range policy.Default() {
		if name != "kubernetes.yaml" {
			out[name] = string(b)
			continue
		}
		const ask = "- id: change\n    protocol: kubernetes\n    effect: approve\n"
		s := strings.Replace(string(b), ask, strings.Replace(ask, "approve", "allow", 1), 1)
		a, rest, ok := strings.Cut(s, "reason: it changes the cluster\n")
		if !ok || s == string(b) {
			t.Fatal("the default policy has no rule change as it was")
		}
		at := strings.Index(rest, "approvers: {maxGrant: 1h}\n")
		out[name] = a + "reason: it changes the cluster\n" + rest[:at] + rest[at+len("approvers: {maxGrant: 1h}\n"):]
	}
	return out
}

// kinds are the workloads, each with where its pods are described.
var kinds = []struct{ kind, version, plural, spec, at string }{
	{"Pod", "v1", "/api/v1/namespaces/NS/pods", `%s`, "/spec"},
	{"ReplicationController", "v1", "/api/v1/namespaces/NS/replicationcontrollers", `{"replicas":0,"template":{"metadata":{"labels":{"a":"b"}},"spec":%s}}`, "/spec/template/spec"},
	{"Deployment", "apps/v1", "/apis/apps/v1/namespaces/NS/deployments", `{"replicas":0,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":%s}}`, "/spec/template/spec"},
	{"ReplicaSet", "apps/v1", "/apis/apps/v1/namespaces/NS/replicasets", `{"replicas":0,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":%s}}`, "/spec/template/spec"},
	{"StatefulSet", "apps/v1", "/apis/apps/v1/namespaces/NS/statefulsets", `{"replicas":0,"serviceName":"x","selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":%s}}`, "/spec/template/spec"},
	{"DaemonSet", "apps/v1", "/apis/apps/v1/namespaces/NS/daemonsets", `{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":%s}}`, "/spec/template/spec"},
	{"Job", "batch/v1", "/apis/batch/v1/namespaces/NS/jobs", `{"suspend":true,"template":{"spec":%s}}`, "/spec/template/spec"},
	{"CronJob", "batch/v1", "/apis/batch/v1/namespaces/NS/cronjobs", `{"schedule":"0 0 1 1 *","suspend":true,"jobTemplate":{"spec":{"template":{"spec":%s}}}}`, "/spec/jobTemplate/spec/template/spec"},
}

// podSpec is a pod's specification: of its one container c, and of the pod, with more fields, which begin with a comma.
func podSpec(container, pod string) string {
	return `{"restartPolicy":"RPOLICY","nodeSelector":{"no":"where"},"containers":[{"name":"c","image":"lab.local/busybox:1"` + container + `}]` + pod + `}`
}

// dangers are what a pod may not have unasked, and the rule that says so.
var dangers = []struct{ name, container, pod, rule string }{
	{"privileged", `,"securityContext":{"privileged":true}`, ``, "privileged-workload"},
	{"hostPath", ``, `,"volumes":[{"name":"v","hostPath":{"path":"/"}}]`, "privileged-workload"},
	{"hostNetwork", ``, `,"hostNetwork":true`, "privileged-workload"},
	{"hostPID", ``, `,"hostPID":true`, "privileged-workload"},
	{"capability", `,"securityContext":{"capabilities":{"add":["SYS_ADMIN"]}}`, ``, "privileged-workload"},
	{"privileged init container", ``, `,"initContainers":[{"name":"i","image":"i","securityContext":{"privileged":true}}]`, "privileged-workload"},
	{"secret volume", ``, `,"volumes":[{"name":"v","secret":{"secretName":"db"}}]`, "workload-with-secret"},
	{"projected secret", ``, `,"volumes":[{"name":"v","projected":{"sources":[{"secret":{"name":"db"}}]}}]`, "workload-with-secret"},
	{"envFrom", `,"envFrom":[{"secretRef":{"name":"db"}}]`, ``, "workload-with-secret"},
	{"env", `,"env":[{"name":"X","valueFrom":{"secretKeyRef":{"name":"db","key":"password"}}}]`, ``, "workload-with-secret"},
	{"service account", ``, `,"serviceAccountName":"admin"`, "workload-with-service-account"},
}

func workload(kind struct{ kind, version, plural, spec, at string }, name, spec string) string {
	restart := "Always"
	if strings.HasSuffix(kind.kind, "Job") {
		restart = "Never"
	}
	return `{"apiVersion":"` + kind.version + `","kind":"` + kind.kind + `","metadata":{"name":"` + name + `"},"spec":` +
		strings.Replace(fmt.Sprintf(kind.spec, spec), "RPOLICY", restart, 1) + `}`
}

// toProtobuf is an object as clients in Go send it.
func toProtobuf(t *testing.T, object string) string {
	t.Helper()
	o, _, err := clientscheme.Codecs.UniversalDeserializer().Decode([]byte(object), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := protobuf.NewSerializer(clientscheme.Scheme, clientscheme.Scheme).Encode(o, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// nested wraps a JSON value in the objects that a path leads through.
func nested(path, value string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for n := len(parts) - 1; n >= 0; n-- {
		value = `{"` + parts[n] + `":` + value + `}`
	}
	return value
}

// K21, K22: what reaches the node, a Secret or another's rights asks a person, in every kind of workload, by every way
// to write it, although the same workload without it needs none.
func TestK21K22Workloads(t *testing.T) {
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick, Policy: lenient(t)})
	token := g.Agent(ns, "claude", "")
	agent := "system:serviceaccount:" + ns + ":claude"
	c := over(t, g, h2)
	for _, k := range kinds {
		q := write("POST", strings.Replace(k.plural, "NS", ns, 1), jsonType, workload(k, "plain", podSpec("", "")))
		q.token = token
		if a := c.do(q); a.code != 201 {
			t.Fatalf("a plain %s: answered %d %s", k.kind, a.code, a.body)
		}
	}
	audit := cluster.Audit(t)
	tried := 0
	for n, k := range kinds {
		for m, d := range dangers {
			c := over(t, g, []string{h1, h2}[m%2])
			base := strings.Replace(k.plural, "NS", ns, 1)
			spec := podSpec(d.container, d.pod)
			object, whole := workload(k, "new", spec), workload(k, "plain", spec)
			fields := `{"containers":[{"name":"c","image":"lab.local/busybox:1"` + d.container + `}]` + d.pod + `}`
			ways := []request{
				write("POST", base, jsonType, object),
				write("PUT", base+"/plain", jsonType, whole),
				write("PATCH", base+"/plain", strategicType, nested(k.at, fields)),
				write("PATCH", base+"/plain", mergeType, nested(k.at, fields)),
				write("PATCH", base+"/plain", jsonPatchType, `[{"op":"replace","path":"`+k.at+`","value":`+strings.Replace(spec, "RPOLICY", "Always", 1)+`}]`),
				write("PATCH", base+"/new?fieldManager=x", applyType, object),
				write("PATCH", base+"/plain?fieldManager=x&force=true", applyType, whole),
				write("POST", base, yamlType, object),
				write("POST", base, "application/vnd.kubernetes.protobuf", toProtobuf(t, object)),
				write("POST", base, "", escaped(object)),
				write("POST", base+"?dryRun=All", jsonType, object),
			}
			for w, q := range ways {
				if (n+m+w)%4 != 0 {
					continue // each kind sees each way and each danger, and each danger each way
				}
				if q.header[0] == "Content-Type: " {
					q.header = nil
				}
				q.token = token
				tried++
				a := c.do(q)
				s := a.status(t)
				if a.code != 403 || cause(s, "GatebookCode") != string(access.CodeApprovalPending) || !strings.Contains(string(a.body), d.rule) {
					t.Errorf("%s with %s, way %d: answered %d %.300s", k.kind, d.name, w, a.code, a.body)
				}
			}
		}
	}
	if e := reached(t, g, audit, agent); len(e) > 0 {
		t.Errorf("reached the API server: %+v", e)
	}
	if n := len(own(book(t, g, agent))); n != tried+len(kinds) {
		t.Errorf("%d records of %d requests", n, tried+len(kinds))
	}
}

// escaped writes the dangerous words of an object with escapes that JSON readers undo.
func escaped(object string) string {
	s := strings.NewReplacer(`"privileged"`, `"\u0070rivileged"`, `"hostPath"`, `"host\u0050ath"`, `"secret`, `"\u0073ecret`, `"hostNetwork"`, `"h\u006fstNetwork"`,
		`"hostPID"`, `"hostP\u0049D"`, `"serviceAccountName"`, `"serviceAccount\u004eame"`, `"envFrom"`, `"env\u0046rom"`, `"secretRef"`, `"secret\u0052ef"`).Replace(object)
	if !json.Valid([]byte(s)) {
		panic("not JSON: " + s)
	}
	return s
}

// K21: a JSON patch that builds the dangerous field out of steps, none of which shows it.
func TestK21PatchInSteps(t *testing.T) {
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick, Policy: lenient(t)})
	token := g.Agent(ns, "claude", "")
	c := over(t, g, h1)
	k := kinds[2]
	base := strings.Replace(k.plural, "NS", ns, 1)
	q := write("POST", base, jsonType, workload(k, "plain", podSpec(`,"securityContext":{"privileged":false},"env":[{"name":"x","value":"db"}]`, `,"volumes":[{"name":"v","emptyDir":{}}]`)))
	q.token = token
	if a := c.do(q); a.code != 201 {
		t.Fatalf("answered %d %s", a.code, a.body)
	}
	audit := cluster.Audit(t)
	pod := "/spec/template/spec"
	for _, patch := range []string{
		`[{"op":"replace","path":"` + pod + `/containers/0/securityContext/privileged","value":true}]`,
		`[{"op":"test","path":"/spec/replicas","value":0},{"op":"replace","path":"` + pod + `/containers/0/securityContext/privileged","value":true}]`,
		`[{"op":"add","path":"/metadata/labels","value":{}},{"op":"add","path":"` + pod + `/hostPID","value":true}]`,
		`[{"op":"move","from":"` + pod + `/volumes/0/emptyDir","path":"` + pod + `/volumes/0/hostPath"},{"op":"add","path":"` + pod + `/volumes/0/hostPath/path","value":"/"}]`,
		`[{"op":"add","path":"` + pod + `/volumes/0/secret","value":{}},{"op":"remove","path":"` + pod + `/volumes/0/emptyDir"},{"op":"copy","from":"` + pod + `/containers/0/env/0/value","path":"` + pod + `/volumes/0/secret/secretName"}]`,
		`[{"op":"replace","path":"","value":` + workload(k, "plain", strings.Replace(podSpec("", `,"hostNetwork":true`), "RPOLICY", "Always", 1)) + `}]`,
		`[{"op":"add","path":"` + pod + `/containers/-","value":{"name":"d","image":"i","securityContext":{"privileged":true}}}]`,
		`[{"\u006fp":"add","path":"` + pod + `/host\u0050ID","value":true}]`,
	} {
		q := write("PATCH", base+"/plain", jsonPatchType, patch)
		q.token = token
		if a := c.do(q); a.code != 403 || cause(a.status(t), "GatebookCode") != string(access.CodeApprovalPending) {
			t.Errorf("%s: answered %d %.300s", patch, a.code, a.body)
		}
	}
	for _, patch := range []string{
		`{"spec":{"template":{"spec":{"containers":[{"$patch":"replace"},{"name":"c","image":"i","securityContext":{"privileged":true}}]}}}}`,
		`{"spec":{"template":{"spec":{"$patch":"replace","containers":[{"name":"c","image":"i"}],"hostIPC":true}}}}`,
		`{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"c"}],"containers":[{"name":"c","securityContext":{"privileged":true}}]}}}}`,
		`{"spec":{"template":{"spec":{"volumes":[{"name":"v","$retainKeys":["name","secret"],"secret":{"secretName":"db"}}]}}}}`,
		`{"spec":{"template":{"spec":{"containers":[{"name":"c","ports":[{"containerPort":80,"hostPort":80}]}]}}}}`,
	} {
		q := write("PATCH", base+"/plain", strategicType, patch)
		q.token = token
		if a := c.do(q); a.code != 403 || cause(a.status(t), "GatebookCode") != string(access.CodeApprovalPending) {
			t.Errorf("%s: answered %d %.300s", patch, a.code, a.body)
		}
	}
	if e := reached(t, g, audit, ns+":claude"); len(e) > 0 {
		for _, e := range e {
			if e.Verb != "get" {
				t.Errorf("reached the API server: %+v", e)
			}
		}
	}
}

// K21: an apply to what is there already is judged by what comes of it: what is harmless passes, what it adds asks, and
// so does what another field manager keeps in it.
func TestK21Apply(t *testing.T) {
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick, Policy: lenient(t)})
	token := g.Agent(ns, "claude", "")
	k := kinds[2]
	base := strings.Replace(k.plural, "NS", ns, 1)
	risky := podSpec("", `,"hostPID":true`)
	must(t, admin(t, workload(k, "plain", podSpec("", "")), "-n", ns, "apply", "--server-side", "--field-manager=other", "-f", "-"))
	must(t, admin(t, workload(k, "risky", risky), "-n", ns, "apply", "--server-side", "--field-manager=other", "-f", "-"))
	labelled := func(name string) string {
		return `{"apiVersion":"` + k.version + `","kind":"` + k.kind + `","metadata":{"name":"` + name + `","labels":{"a":"b"}}}`
	}
	for _, c := range []struct {
		what, name, query, body string
		rule                    string // empty: it passes
	}{
		{"a label", "plain", "fieldManager=x", labelled("plain"), ""},
		{"what is there", "plain", "fieldManager=x&force=true", workload(k, "plain", podSpec("", "")), ""},
		{"the node's processes", "plain", "fieldManager=x&force=true", workload(k, "plain", risky), "privileged-workload"},
		{"the node's processes, as its manager", "plain", "fieldManager=other", workload(k, "plain", risky), "privileged-workload"},
		{"a label on what sees them", "risky", "fieldManager=x", labelled("risky"), "privileged-workload"},
		{"without what it had", "risky", "fieldManager=other", workload(k, "risky", podSpec("", "")), ""},
	} {
		q := write("PATCH", base+"/"+c.name+"?"+c.query, applyType, c.body)
		q.token = token
		a := over(t, g, h1).do(q)
		if c.rule == "" && a.code != 200 || c.rule != "" && (a.code != 403 || !strings.Contains(string(a.body), c.rule)) {
			t.Errorf("%s: answered %d %.400s", c.what, a.code, a.body)
		}
	}
}

// K21: a namespace's labels switch pod security off.
func TestK21NamespaceLabels(t *testing.T) {
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick, Policy: lenient(t)})
	var table []attempt
	p := "/api/v1/namespaces/" + ns
	labels := `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`
	whole := `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"` + ns + `","labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`
	for _, q := range []request{write("PATCH", p, mergeType, labels), write("PATCH", p, strategicType, labels), write("PUT", p, jsonType, whole),
		write("PATCH", p, jsonPatchType, `[{"op":"add","path":"/metadata/labels/pod-security.kubernetes.io~1enforce","value":"privileged"}]`),
		write("PATCH", p+"?fieldManager=x&force=true", applyType, whole), write("PATCH", p+"/status", mergeType, labels), write("PUT", p+"/finalize", jsonType, whole)} {
		table = append(table, attempt{name: q.method + q.header[0], request: q, code: access.CodeApprovalPending, rule: "change-namespace"})
	}
	attack(t, g, table)
}
