package attack

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

// kinds makes one Secret of every sort that Kubernetes knows, and gives how many.
func (s *scene) kinds() int {
	s.t.Helper()
	s.secret("opaque", "plain="+s.canary("plain", ""), "awkward="+s.canary("awkward", "/\"Pa$$\\w0rd\" +ü! 50%"),
		"lines="+s.canary("lines", "\nsecond line of it\n"), "binary="+s.canary("binary", "\xff\xfe\x00\x80"), "short=x7", "empty=")
	dockerJSON := toJSON(map[string]any{"auths": map[string]any{"registry.example": map[string]any{
		"username": "robot", "password": s.canary("docker", ""), "auth": b64("robot:" + s.canary("docker", ""))}}})
	for _, doc := range []map[string]any{
		{"type": "kubernetes.io/dockerconfigjson", "stringData": map[string]string{".dockerconfigjson": dockerJSON}},
		{"type": "kubernetes.io/tls", "stringData": map[string]string{"tls.crt": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
			"tls.key": "-----BEGIN PRIVATE KEY-----\n" + wrapped(b64(strings.Repeat(s.canary("tls", ""), 20)), 64) + "\n-----END PRIVATE KEY-----\n"}},
		{"type": "kubernetes.io/basic-auth", "stringData": map[string]string{"username": "robot", "password": s.canary("basic", "")}},
		{"type": "kubernetes.io/ssh-auth", "stringData": map[string]string{"ssh-privatekey": s.canary("ssh", "")}},
		{"type": "helm.sh/release.v1", "stringData": map[string]string{"release": b64(gz(`{"config":{"password":"` + s.canary("helm", "") + `"}}`))}},
		{"type": "bootstrap.kubernetes.io/token", "stringData": map[string]string{"token-id": "abcdef", "token-secret": s.canary("bootstrap", ""), "usage-bootstrap-authentication": "true"}},
		{"type": "example.com/own", "immutable": true, "stringData": map[string]string{"long": strings.Repeat(s.canary("long", "!"), 900)}},
	} {
		doc["apiVersion"], doc["kind"] = "v1", "Secret"
		doc["metadata"] = map[string]any{"generateName": "kind-", "labels": map[string]string{"kind": "one"}}
		s.object(toJSON(doc))
	}
	return 8
}

func gz(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	fmt.Fprint(w, s)
	w.Close()
	return b.String()
}

// M30: whatever way kubectl prints Secrets of any kind, their values are not in it.
func TestM30KubectlReads(t *testing.T) {
	s := newScene(t)
	n := s.kinds()
	s.kubectl("", "-v=10", "get", "secrets", "-o", "json")
	for _, args := range [][]string{
		{"get", "secrets"}, {"get", "secrets", "-o", "wide"}, {"get", "secrets", "-o", "name"}, {"get", "secrets", "-o", "yaml"},
		{"get", "secrets", "--chunk-size=1", "-o", "json"}, {"get", "secrets", "--show-managed-fields", "-o", "yaml"},
		{"get", "secrets", "-A", "-o", "yaml"}, {"get", "secrets", "-l", "kind=one", "-o", "json"},
		{"get", "secrets", "-o", "jsonpath={.items[*].data}"}, {"get", "secret", "opaque", "-o", "jsonpath={.data.plain}"},
		{"get", "secret", "opaque", "-o", "jsonpath-as-json={.data}"}, {"get", "secret", "opaque", "-o", "go-template={{.data.plain | base64decode}}"},
		{"get", "secret", "opaque", "-o", "custom-columns=V:.data.plain,A:.data.awkward"}, {"get", "secret/opaque", "-o", "yaml"},
		{"get", "secrets", "-o", `go-template={{range .items}}{{range $k, $v := .data}}{{$v | base64decode}}{{end}}{{end}}`},
		{"get", "secrets", "--sort-by=.data.plain", "-o", "kyaml"}, {"get", "sa,secrets,configmaps", "-o", "json"}, {"describe", "secrets"},
		{"get", "--raw", "/api/v1/secrets"}, {"get", "--raw", s.secretsPath("opaque")},
	} {
		if r := s.kubectl("", args...); r.Code != 0 || r.Stdout == "" {
			t.Errorf("kubectl %q: %s", args, r.Out())
		}
	}
	r := s.kubectl("", "get", "secrets", "-o", "json")
	if got := strings.Count(r.Stdout, `"kind": "Secret"`); got != n {
		t.Errorf("%d Secrets, want %d: reading them has to work", got, n)
	}
	for _, want := range []string{`"short"`, `"empty"`, `"tls.key"`, "gbm-", "Z2JtL"} {
		if want != "gbm-" && !strings.Contains(r.Stdout, want) {
			t.Errorf("the answer has no %s:\n%s", want, r.Stdout)
		}
	}
	if strings.Contains(r.Stdout, `"`+b64("x7")+`"`) {
		t.Error("a value of two characters is not masked by structure")
	}
	s.check()
}

// M30, M39: so by every path and every parameter of list and watch, by HTTP/1.1 and HTTP/2.
func TestM30PathsOfReads(t *testing.T) {
	s := newScene(t)
	s.kinds()
	one := s.secretsPath("opaque")
	for _, path := range []string{
		one, one + "?pretty=true", one + "?resourceVersion=0", s.secretsPath(), s.secretsPath() + "?resourceVersion=0", "/api/v1/secrets",
		s.secretsPath() + "?fieldSelector=metadata.name%3Dopaque", "/api/v1/secrets?fieldSelector=type%3Dkubernetes.io%2Ftls", s.secretsPath() + "?limit=500&pretty=1",
		s.secretsPath() + "?resourceVersion=1&resourceVersionMatch=NotOlderThan", s.secretsPath() + "?watch=false", s.secretsPath() + "?watch=0",
		s.secretsPath() + "?shardSelector=x", one + "?export=true", one + "?includeUninitialized=1",
	} {
		for _, proto := range []string{h1, h2} {
			a := over(t, s.g, proto).do(request{path: "/t/lab" + path, token: s.agent})
			s.give(proto+" "+path, a.body, headerBytes(a.header))
			if a.code != 200 && a.code != 400 {
				t.Errorf("%s: %d %.300s", path, a.code, a.body)
			}
			if a.code == 200 && !bytes.Contains(a.body, []byte("Z2JtL")) {
				t.Errorf("%s: nothing is masked: %.300s", path, a.body)
			}
		}
	}
	pages := 0
	for next := ""; ; pages++ {
		a := s.do(request{path: s.secretsPath() + "?limit=1&continue=" + url.QueryEscape(next)})
		_, rest, ok := strings.Cut(string(a.body), `"continue":"`)
		if next, _, _ = strings.Cut(rest, `"`); !ok || next == "" {
			break
		}
	}
	if pages < 5 {
		t.Errorf("%d pages", pages)
	}
	s.do(request{method: "HEAD", path: one})
	s.do(request{method: "OPTIONS", path: one})
	s.check()
}

// M30: every event of every form of watch is masked: initial ones, those that come, deletions, bookmarks.
func TestM30Watches(t *testing.T) {
	s := newScene(t)
	s.kinds()
	var missing []string
	for _, seconds := range []string{"4", "30", "90"} { // where that was too short on a busy machine, longer
		if missing = s.watches(seconds); len(missing) == 0 {
			break
		}
	}
	if len(missing) > 0 {
		t.Errorf("no watch has %q", missing)
	}
	s.check()
}

// watches watches Secrets for so many seconds, in every way, while some change, and gives what no watch has shown.
func (s *scene) watches(seconds string) (missing []string) {
	t := s.t
	t.Helper()
	bound := "timeoutSeconds=" + seconds
	paths := []string{
		s.secretsPath() + "?watch=1&" + bound, "/api/v1/watch/namespaces/" + s.ns + "/secrets?" + bound,
		s.secretsPath() + "?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&" + bound,
		s.secretsPath() + "?watch=1&" + bound + "&resourceVersion=0&fieldSelector=metadata.name%3Dopaque",
		"/api/v1/watch/namespaces/" + s.ns + "/secrets/opaque?" + bound,
		"/api/v1/secrets?watch=1&resourceVersion=0&" + bound, "/api/v1/watch/secrets?" + bound,
	}
	accepts := []string{"application/json", "application/vnd.kubernetes.protobuf;stream=watch",
		"application/json;as=Table;g=meta.k8s.io;v=v1", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", "application/cbor-seq", "application/yaml"}
	late := s.canary("late"+seconds, "=late\n")
	type told struct {
		json bool
		answer
	}
	answers := make(chan told)
	sent := 0
	for _, path := range paths {
		for i, accept := range accepts {
			if i > 0 && path != paths[0] {
				continue
			}
			sent++
			go func() {
				a := over(t, s.g, h1).do(request{path: "/t/lab" + path + tableOf(accept), token: s.agent, header: []string{"Accept: " + accept}})
				s.give("watch "+path+" "+accept, a.body, headerBytes(a.header))
				if a.code != 200 && a.code != 406 {
					t.Errorf("%s as %s: %d %.300s", path, accept, a.code, a.body)
				}
				answers <- told{strings.HasPrefix(accept, "application/json"), a}
			}()
		}
	}
	time.Sleep(time.Second) // so that what follows comes as events; without it, it comes at once
	s.secret("late", "v="+late)
	must(t, admin(t, "", "-n", s.ns, "annotate", "--overwrite", "secret", "opaque", "note=changed"+seconds))
	must(t, admin(t, "", "-n", s.ns, "delete", "secret", "late"))
	var all bytes.Buffer
	for range sent {
		a := <-answers
		if all.Write(a.body); a.code == 200 && a.json && !bytes.Contains(a.body, []byte(`"ADDED"`)) {
			missing = append(missing, fmt.Sprintf("an event: %.300s", a.body))
		}
	}
	for _, want := range []string{`"ADDED"`, `"MODIFIED"`, `"DELETED"`, `"BOOKMARK"`, "k8s.io/initial-events-end"} {
		if !bytes.Contains(all.Bytes(), []byte(want)) {
			missing = append(missing, want)
		}
	}
	return missing
}

func tableOf(accept string) string {
	if strings.Contains(accept, "as=Table") {
		return "&includeObject=Object"
	}
	return ""
}

// M31: whatever a client says that it accepts, what it gets is masked, or nothing.
func TestM31Representations(t *testing.T) {
	s := newScene(t)
	s.kinds()
	const table, partial = ";as=Table;v=v1;g=meta.k8s.io", ";as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	var readable int
	for _, accept := range []string{
		"", "*/*", "application/*", "application/json", "application/vnd.kubernetes.protobuf", "application/yaml", "application/cbor", "application/cbor-seq",
		"application/json" + table, "application/yaml" + table, "application/vnd.kubernetes.protobuf" + table, "application/cbor" + table, "application/json" + partial,
		"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf" + partial,
		"application/vnd.kubernetes.protobuf, application/json", "application/json;q=0.1, application/vnd.kubernetes.protobuf;q=0.9", "application/json;q=0, application/cbor",
		"application/json;q=0", "*/*;q=0.1, application/cbor;q=1", "application/cbor, application/json;q=0.01", "application/cbor,*/*;q=0.1", "APPLICATION/VND.KUBERNETES.PROTOBUF",
		"Application/CBOR", "application/vnd.kubernetes.protobuf;type=Secret", "application/vnd.kubernetes.protobuf;stream=watch", "application/json;stream=watch",
		"text/plain", "text/html", "text/csv, */*;q=0", "image/png", "nonsense", "application/", ";;", "application/json;charset=utf-16", "application/json;as=Table", "application/json;as=Bogus;v=v1;g=meta.k8s.io",
		"application/vnd.kubernetes.protobuf;as=Table;v=v1beta1;g=meta.k8s.io,application/yaml", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
		"application/json\x09", "application/merge-patch+json", "application/apply-patch+cbor", "application/json;profile=\"a,b\"", strings.Repeat("application/cbor,", 200) + "application/json",
	} {
		for _, path := range []string{s.secretsPath("opaque"), s.secretsPath(), "/api/v1/secrets"} {
			for _, more := range []string{"", "?includeObject=Object"} {
				if more != "" && !strings.Contains(accept, "as=Table") {
					continue
				}
				h := []string{"Accept-Encoding: gzip, deflate, br, zstd"}
				if accept != "" {
					h = append(h, "Accept: "+accept)
				}
				a := s.do(request{path: path + more, header: h})
				switch {
				case a.code == 200 && a.header.Get("Content-Encoding") == "":
					readable++
				case a.code == 406 || a.code == 400:
					if st := a.status(t); len(st.Message) < 20 {
						t.Errorf("Accept %q: refused without a reason: %q", accept, st.Message)
					}
				default:
					t.Errorf("Accept %q: %d %v %.200q", accept, a.code, a.header, a.body)
				}
			}
		}
	}
	if readable < 40 {
		t.Errorf("%d answers could be read: the rest was refused, which proves little", readable)
	}
	s.do(request{path: s.secretsPath("opaque"), header: []string{"Accept: application/cbor", "Accept: application/vnd.kubernetes.protobuf"}})
	s.do(request{path: s.secretsPath("opaque") + "?accept=application/cbor", header: []string{"Accept: application/json", "Accept: application/cbor"}})
	s.check()
}
