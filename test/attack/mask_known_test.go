package attack

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatebook/test/lab"
)

// writings are the ways to write a value in which it is recognised wherever it turns up.
func writings(v string) []string {
	quoted := toJSON(v)
	twice := toJSON(quoted)
	return []string{v, b64(v), b64("x" + v), b64("xy" + v + "z"), base64.RawURLEncoding.EncodeToString([]byte("p" + v)), fmt.Sprintf("%x", v), fmt.Sprintf("%X", v),
		url.QueryEscape(v), url.PathEscape(v), quoted, twice[1 : len(twice)-1], "postgres://user:" + url.QueryEscape(v) + "@db/x"}
}

// planted is an object in which a known value stands.
type planted struct{ kind, path, name string }

func (p planted) object() string { return p.path + "/" + p.name }

// plant makes objects of many kinds with v in them, directly in the cluster. word is one that may be a label's value.
func (s *scene) plant(v, word string) []planted {
	s.t.Helper()
	all := strings.Join(writings(v), " | ")
	notes := map[string]string{"all": all}
	for i, w := range writings(v) {
		notes[fmt.Sprint("n", i)] = w
	}
	type doc = map[string]any
	meta := func(name string) doc {
		return doc{"name": name, "annotations": notes, "labels": doc{"word": word, "planted": "yes"}}
	}
	var env []any
	for i, w := range append(writings(v), all) {
		env = append(env, doc{"name": fmt.Sprint("V", i), "value": w})
	}
	pod := doc{"nodeSelector": doc{"no": "where"}, "containers": []any{doc{"name": "c", "image": "lab.local/busybox:1", "env": env, "args": []string{"--password", v, all}}}}
	template := doc{"metadata": doc{"labels": doc{"a": "b"}, "annotations": notes}, "spec": pod}
	group := s.ns + ".example.com"
	must(s.t, admin(s.t, toJSON(doc{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": doc{"name": "widgets." + group},
		"spec": doc{"group": group, "scope": "Namespaced", "names": doc{"plural": "widgets", "singular": "widget", "kind": "Widget"},
			"versions": []any{doc{"name": "v1", "served": true, "storage": true, "subresources": doc{"status": doc{}},
				"additionalPrinterColumns": []any{doc{"name": "Password", "type": "string", "jsonPath": ".spec.v"}},
				"schema":                   doc{"openAPIV3Schema": doc{"type": "object", "description": "like " + v, "properties": doc{"spec": doc{"type": "object", "x-kubernetes-preserve-unknown-fields": true}, "status": doc{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}}}}), "create", "-f", "-"))
	s.t.Cleanup(func() { admin(s.t, "", "delete", "crd", "widgets."+group, "--wait=false") })
	must(s.t, admin(s.t, "", "wait", "--for=condition=Established", "crd/widgets."+group, "--timeout=180s"))
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
	ref := doc{"kind": "Pod", "name": "x", "namespace": s.ns, "apiVersion": "v1"}
	objects := []doc{
		{"apiVersion": "v1", "kind": "Pod", "metadata": meta("pod"), "spec": pod},
		{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("deployment"), "spec": doc{"replicas": 0, "selector": doc{"matchLabels": doc{"a": "b"}}, "template": template}},
		{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("configmap"), "data": doc{"all": all, word: v, "json": toJSON(doc{"data": notes}), "yaml": "password: " + toJSON(v) + "\n"},
			"binaryData": doc{"raw": []byte(v), "at1": []byte("\xff" + v), "at2": []byte("\xff\xfe" + v + "\x00"), "word": []byte("a" + word)}},
		{"apiVersion": "v1", "kind": "Event", "metadata": meta("event"), "involvedObject": ref, "reason": "R" + word, "message": all, "type": "Warning", "source": doc{"component": word}},
		{"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": meta("event2"), "regarding": ref, "reason": "R", "action": word, "note": "got " + v + " or " + b64("x"+v), "type": "Warning",
			"eventTime": now, "reportingController": "example.com/x", "reportingInstance": "x"},
		{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta("lease"), "spec": doc{"holderIdentity": v + " " + b64(v)}},
		{"apiVersion": "v1", "kind": "Service", "metadata": meta("service"), "spec": doc{"type": "ExternalName", "externalName": "example.com", "selector": doc{"a": word}}},
		{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("sa")},
		{"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta("cronjob"), "spec": doc{"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": doc{"spec": doc{"template": doc{"metadata": doc{"annotations": notes}, "spec": mergeDoc(pod, doc{"restartPolicy": "Never"})}}}}},
		{"apiVersion": group + "/v1", "kind": "Widget", "metadata": meta("widget"), "spec": doc{"v": v, "all": all, "deep": []any{doc{"x": []any{v, b64("x" + v)}}}, v: "as a key", "number": 5}, "status": doc{"message": all}},
	}
	for _, o := range objects {
		s.object(toJSON(o))
	}
	must(s.t, admin(s.t, toJSON(doc{"status": doc{"message": all, "conditions": []any{doc{"message": v}}}}), "-n", s.ns, "patch", "widgets."+group, "widget", "--subresource=status", "--type=merge", "--patch-file=/dev/stdin"))
	must(s.t, admin(s.t, toJSON(doc{"status": doc{"message": all, "reason": word, "conditions": []any{doc{"type": "X", "status": "True", "message": v}}}}), "-n", s.ns, "patch", "pod", "pod", "--subresource=status", "--type=merge", "--patch-file=/dev/stdin"))
	core, apps := "/api/v1/namespaces/"+s.ns+"/", "/apis/apps/v1/namespaces/"+s.ns+"/"
	return append([]planted{{"pod", core + "pods", "pod"}, {"deployment", apps + "deployments", "deployment"}, {"configmap", core + "configmaps", "configmap"},
		{"event", core + "events", "event"}, {"events.events.k8s.io", "/apis/events.k8s.io/v1/namespaces/" + s.ns + "/events", "event2"},
		{"lease", "/apis/coordination.k8s.io/v1/namespaces/" + s.ns + "/leases", "lease"}, {"service", core + "services", "service"}, {"sa", core + "serviceaccounts", "sa"},
		{"cronjob", "/apis/batch/v1/namespaces/" + s.ns + "/cronjobs", "cronjob"}, {"widgets." + group, "/apis/" + group + "/v1/namespaces/" + s.ns + "/widgets", "widget"}},
		s.plantAround(v, word, notes)...)
}

func mergeDoc(a, b map[string]any) map[string]any {
	out := map[string]any{}
	for _, m := range []map[string]any{a, b} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// plantAround does so in what has no namespace; it ends with the test.
func (s *scene) plantAround(v, word string, notes map[string]string) []planted {
	s.t.Helper()
	type doc = map[string]any
	name := s.ns + "-csr"
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "nobody"}}, key)
	if err != nil {
		s.t.Fatal(err)
	}
	must(s.t, admin(s.t, toJSON(doc{"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": doc{"name": name, "annotations": notes, "labels": doc{"word": word}},
		"spec": doc{"signerName": "example.com/x", "usages": []string{"client auth"}, "request": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})}}), "create", "-f", "-"))
	must(s.t, admin(s.t, toJSON(doc{"status": doc{"conditions": []any{doc{"type": "Denied", "status": "True", "reason": word, "message": strings.Join(writings(v), " ")}}}}),
		"patch", "csr", name, "--subresource=approval", "--type=merge", "--patch-file=/dev/stdin"))
	node := strings.TrimSpace(must(s.t, admin(s.t, "", "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")).Stdout)
	for _, target := range []string{"node/" + node, "namespace/" + s.ns} {
		must(s.t, admin(s.t, "", "annotate", target, s.ns+"/note="+notes["all"]))
	}
	s.t.Cleanup(func() {
		admin(s.t, "", "delete", "csr", name)
		admin(s.t, "", "annotate", "node/"+node, s.ns+"/note-")
	})
	return []planted{{"csr", "/apis/certificates.k8s.io/v1/certificatesigningrequests", name}, {"node", "/api/v1/nodes", node}, {"namespace", "/api/v1/namespaces", s.ns}}
}

// knowing makes a scene whose gateway has seen one Secret, and gives its two values.
func knowing(t *testing.T) (s *scene, v, word string) {
	t.Helper()
	s = newScene(t)
	v, word = s.canary("known", "/+ \"q\"\\ü%"), s.canary("word", "")
	s.secret("db", "v="+v, "w="+word)
	must(t, s.kubectl("", "get", "secret", "db", "-o", "yaml"))
	return s, v, word
}

// M41: a known value is recognised in objects of every kind, however it is written there and however kubectl shows it.
func TestM41KnownValueAnywhere(t *testing.T) {
	s, v, word := knowing(t)
	for _, p := range s.plant(v, word) {
		for _, output := range []string{"json", "yaml", "wide", "name", "kyaml", "jsonpath={}", "jsonpath-as-json={}", "go-template={{.}}",
			"custom-columns=A:.metadata.annotations,S:.spec,D:.data,T:.status,M:.message"} {
			r := s.kubectl("", "get", p.kind, p.name, "-o", output, "--show-managed-fields")
			if r.Code != 0 || r.Stdout == "" {
				t.Errorf("kubectl get %s -o %s: %s", p.kind, output, r.Out())
			}
			if (output == "json" || output == "yaml") && strings.Count(r.Stdout, "gbm-") < 5 {
				t.Errorf("kubectl get %s -o %s: little is masked, so that little is proved: %s", p.kind, output, r.Stdout)
			}
		}
		s.kubectl("", "describe", p.kind, p.name)
		s.kubectl("", "-v=9", "get", p.kind, p.name, "--show-labels", "-L", "word")
	}
	s.kubectl("", "get", "pods,deployments,configmaps,events,leases,services,sa,cronjobs,secrets", "-o", "json", "--chunk-size=2")
	s.kubectl("", "get", "pods,deployments,configmaps,widgets."+s.ns+".example.com,csr,nodes", "--show-labels", "-o", "wide")
	s.kubectl("", "events")
	s.kubectl("", "get", "events", "-o", "wide")
	s.kubectl("", "set", "env", "deployment/deployment", "--list")
	s.kubectl("", "set", "env", "pod/pod", "--list", "--resolve")
	s.kubectl("", "rollout", "history", "deployment/deployment", "--revision=1")
	s.kubectl("", "explain", "widget.spec", "--api-version="+s.ns+".example.com/v1")
	s.kubectl("", "explain", "widget", "--recursive", "--api-version="+s.ns+".example.com/v1")
	s.kubectl("", "get", "crd", "widgets."+s.ns+".example.com", "-o", "yaml")
	s.kubectl("", "cluster-info", "dump", "--namespaces="+s.ns)
	s.check()
}

// M41: so in logs, as they come, with a terminal's line ends, of a container that has died, in each way to ask.
func TestM41Logs(t *testing.T) {
	s, v, word := knowing(t)
	all := strings.Join(append(writings(v), word), "\n") + "\n" + wrapped(b64(strings.Repeat("-", 100)+v), 76) + "\n"
	// It dies once, and the second time only when the file end is there: the log of the one before is kept until then.
	s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "log"}, "spec": map[string]any{"terminationGracePeriodSeconds": 0,
		"volumes": []any{map[string]any{"name": "once", "emptyDir": map[string]any{}}}, "containers": []any{
			map[string]any{"name": "c", "image": "lab.local/busybox:1", "imagePullPolicy": "Never", "env": []any{map[string]any{"name": "ALL", "value": all}},
				"volumeMounts": []any{map[string]any{"name": "once", "mountPath": "/once"}},
				"command": []string{"sh", "-c", `echo begin; printf %s "$ALL"; printf %s "$ALL" >&2; printf '%s\r\n' "$ALL"; echo done
					if [ -e /once/died ]; then until [ -e /once/end ]; do sleep 0.2; done; fi; : >/once/died; exit 3`}}}}}))
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(200 * time.Millisecond) {
		if r := must(t, admin(t, "", "-n", s.ns, "get", "pod", "log", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")); r.Stdout != "" && r.Stdout != "0" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the container was not started again")
		}
	}
	logs := func(args ...string) {
		t.Helper()
		r := s.kubectl("", append([]string{"logs"}, args...)...)
		if r.Code != 0 || !strings.Contains(r.Stdout, "gbm-") {
			t.Errorf("kubectl logs %v: %s", args, r.Out())
		}
	}
	for _, args := range [][]string{{"log"}, {"--previous", "log"}, {"--timestamps", "--previous", "log"}, {"-f", "--previous", "log"}, {"--prefix", "log"}, {"--all-containers", "log"},
		{"--limit-bytes=700", "--previous", "log"}, {"--tail=12", "--previous", "log"}, {"--since=10m", "log"}} {
		logs(args...)
	}
	log := "/api/v1/namespaces/" + s.ns + "/pods/log/log?previous=true"
	for _, q := range []request{{path: log}, {path: log + "&stream=Stderr"}, {path: log + "&limitBytes=300"}, {path: log, header: []string{"Accept: application/json", "Accept-Encoding: gzip"}}, {path: log, header: []string{"Accept: application/vnd.kubernetes.protobuf"}}} {
		s.do(q)
		s.doH2(q)
	}
	must(t, admin(t, "", "-n", s.ns, "exec", "log", "--", "sh", "-c", "(sleep 1; : >/once/end) >/dev/null 2>&1 &"))
	logs("-f", "log")
	s.check()
}

// M41: a known value that a list or an event of a watch cuts anywhere between two pieces in which it is read.
func TestM43ObjectsCutEverywhere(t *testing.T) {
	s, v, _ := knowing(t)
	const piece = 32 << 10 // what the gateway reads at once, and what HTTP/2 sends at once is a half of it
	for i := range 12 {
		s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": fmt.Sprintf("c%02d", i), "labels": map[string]string{"cut": "yes"}},
			"data": map[string]string{"a": strings.Repeat(strings.Repeat(".", 61+i)+v+strings.Repeat(",", 7)+b64("x"+v), 3*piece/300), "e": strings.Repeat(toJSON(v)+strings.Repeat(";", 13+i), 300)}}))
	}
	path := "/api/v1/namespaces/" + s.ns + "/configmaps?labelSelector=cut%3Dyes"
	for _, more := range []string{"", "&limit=3", "&pretty=1", "&watch=1", "&watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"} {
		for _, do := range []func(request) answer{s.do, s.doH2} {
			for _, seconds := range []int{3, 60} { // a watch that has no time for all of it on a busy machine gets more
				a := do(request{path: fmt.Sprint(path, more, "&timeoutSeconds=", seconds)})
				n := bytes.Count(a.body, []byte("gbm-"))
				if a.code == 200 && n >= 500 {
					break
				}
				if seconds == 60 || !strings.Contains(more, "watch") {
					t.Errorf("%s: %d, %d placeholders in %d bytes", more, a.code, n, len(a.body))
				}
			}
		}
	}
	s.check()
}
