package attack

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// The media types of patches.
const (
	mediaJSON = "application/json"
	jsonPatch = "application/json-patch+json"
	merge     = "application/merge-patch+json"
	strategic = "application/strategic-merge-patch+json"
	apply     = "application/apply-patch+yaml"
)

// M33: what kubectl apply left in an annotation, of a Secret or of a list with one, in whole objects and in their metadata.
func TestM33LastApplied(t *testing.T) {
	s := newScene(t)
	plain, text, other := s.canary("data", ""), s.canary("stringData", "\"\\/ü"), s.canary("other", "")
	must(t, admin(t, toJSON(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "applied", "namespace": s.ns},
		"data": map[string]string{"a": b64(plain)}, "stringData": map[string]string{"b": text}}), "apply", "-f", "-"))
	s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "forged", "annotations": map[string]string{
		"kubectl.kubernetes.io/last-applied-configuration": `{"stringData":{"x":"` + other + `"},"data":{"x":"` + b64(other) + `"}} `}}}))
	for _, path := range []string{s.secretsPath("applied"), s.secretsPath("forged"), s.secretsPath(), s.secretsPath() + "?watch=1&timeoutSeconds=1"} {
		for _, accept := range []string{mediaJSON, "application/vnd.kubernetes.protobuf", "application/yaml",
			"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v1;g=meta.k8s.io"} {
			s.do(request{path: path, header: []string{"Accept: " + accept}})
		}
	}
	for _, args := range [][]string{{"apply", "view-last-applied", "secret/applied"}, {"describe", "secret", "applied"}, {"get", "secrets", "-o", "yaml"}} {
		must(t, s.kubectl("", args...))
	}
	s.check()
}

// M34, M39: the answer to every verb that changes a Secret holds the object, and is masked. None of these values was read before.
func TestM34AnswersOfWrites(t *testing.T) {
	s := newScene(t)
	for i := range 9 {
		s.secret(fmt.Sprint("old", i), "kept="+s.canary(fmt.Sprint("kept", i), "!"))
	}
	ok := func(a answer) {
		t.Helper()
		if a.code != 200 && a.code != 201 {
			t.Errorf("%d %.300s", a.code, a.body)
		}
	}
	meta := `{"metadata":{"labels":{"a":"b"}}}`
	ok(s.send("PATCH", s.secretsPath("old0"), merge, meta))
	ok(s.send("PATCH", s.secretsPath("old1"), strategic, meta))
	ok(s.send("PATCH", s.secretsPath("old2"), jsonPatch, `[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]`))
	ok(s.send("PATCH", s.secretsPath("old3")+"?fieldManager=agent", apply, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"old3","labels":{"a":"b"}}}`))
	ok(s.send("PUT", s.secretsPath("old4"), mediaJSON, secretJSON(s.ns, "old4", "new="+s.canary("put", ""))))
	ok(s.send("POST", s.secretsPath(), mediaJSON, secretJSON(s.ns, "posted", "v="+s.canary("posted", "/+ \""))))
	ok(s.send("POST", s.secretsPath(), mediaJSON, toJSON(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"generateName": "text-"},
		"stringData": map[string]string{"v": s.canary("text", "\n\"\\")}})))
	ok(s.send("POST", s.secretsPath(), "application/yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: yaml}\nstringData:\n  v: >-\n    "+s.canary("yaml", "")+"\n"))
	ok(s.send("DELETE", s.secretsPath("old5"), mediaJSON, `{"propagationPolicy":"Background"}`))
	ok(s.send("DELETE", s.secretsPath("old6")+"?dryRun=All", mediaJSON, ""))
	for _, accept := range []string{"application/vnd.kubernetes.protobuf", "application/yaml", "application/cbor"} {
		s.do(request{method: "PATCH", path: s.secretsPath("old7"), header: []string{"Content-Type: " + merge, "Accept: " + accept}, body: meta})
	}
	a := s.send("DELETE", s.secretsPath(), mediaJSON, "")
	if ok(a); !strings.Contains(string(a.body), "old8") {
		t.Errorf("what was deleted is not in the answer: %.300s", a.body)
	}
	s.check()
}

// M34: a patch can copy a value to where no structure says that it is one, before the gateway has ever read it.
func TestM34CopiedWithinTheObject(t *testing.T) {
	s := newScene(t)
	for i, to := range []string{"/metadata/annotations/leak", "/metadata/labels/leak", "/data/other", "/type", "/metadata/finalizers/0", "/metadata/ownerReferences", "/metadata/generateName", "/metadata/name", "/kind", "/apiVersion"} {
		name := fmt.Sprint("s", i)
		s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "Secret", "data": map[string]string{"v": b64(s.canary(name, ""))},
			"metadata": map[string]any{"name": name, "annotations": map[string]string{"a": "b"}, "labels": map[string]string{"a": "b"}, "finalizers": []string{"example.com/none"}}}))
		s.send("PATCH", s.secretsPath(name)+"?dryRun=All", jsonPatch, `[{"op":"copy","from":"/data/v","path":"`+to+`"}]`)
		a := s.send("PATCH", s.secretsPath(name), jsonPatch, `[{"op":"copy","from":"/data/v","path":"`+to+`"}]`)
		if i == 0 && a.code != 200 {
			t.Errorf("%d %s", a.code, a.body)
		}
		s.send("PATCH", s.secretsPath(name), jsonPatch, `[{"op":"test","path":"/data/v","value":"x"}]`)
		s.send("PATCH", s.secretsPath(name), jsonPatch, `[{"op":"move","from":"/data/v","path":"`+to+`"}]`)
		must(t, admin(t, "", "-n", s.ns, "patch", "secret", name, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`))
	}
	s.check()
}

// M41: somebody else put copies of a value into the metadata of the very Secret, which comes before its data.
func TestM41AnnotationsOfASecret(t *testing.T) {
	s := newScene(t)
	for i, accept := range []string{mediaJSON, "application/yaml", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf"} {
		name := fmt.Sprint("s", i)
		v := s.canary(name, "")
		s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "Secret", "data": map[string]string{"v": b64(v)},
			"metadata": map[string]any{"name": name, "labels": map[string]string{"l": v}, "annotations": map[string]string{
				"plain": "is " + v, "base64": b64(v), "json": `{"data":{"v":"` + b64(v) + `"}}`, "at1": b64("x" + v), "url": url.QueryEscape(v + "/"), "hex": fmt.Sprintf("%x", v)}}}))
		a := s.do(request{path: s.secretsPath(name) + "?includeObject=Object", header: []string{"Accept: " + accept}})
		if a.code != 200 {
			t.Errorf("%s: %d %s", accept, a.code, a.body)
		}
	}
	s.do(request{path: s.secretsPath() + "?watch=1&timeoutSeconds=1"})
	s.check()
}

// M35: a dry run answers with what would be stored, all of it.
func TestM35DryRuns(t *testing.T) {
	s := newScene(t)
	for i := range 5 {
		s.secret(fmt.Sprint("s", i), "kept="+s.canary(fmt.Sprint("kept", i), ""))
	}
	doc := func(name string) string {
		return toJSON(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": s.ns},
			"stringData": map[string]string{"mine": s.canary("mine"+name, "")}})
	}
	a := s.send("PATCH", s.secretsPath("s0")+"?dryRun=All&fieldManager=agent&force=true", apply, doc("s0"))
	if a.code != 200 || !strings.Contains(string(a.body), `"kept"`) {
		t.Errorf("the merged object is not in the answer: %d %s", a.code, a.body)
	}
	for i, args := range [][]string{
		{"apply", "--server-side", "--dry-run=server", "-o", "yaml", "-f", "-"}, {"apply", "--dry-run=server", "-o", "json", "-f", "-"},
		{"replace", "--dry-run=server", "-o", "yaml", "-f", "-"}, {"diff", "-f", "-"}, {"diff", "--server-side", "-f", "-"},
	} {
		r := s.kubectl(doc(fmt.Sprint("s", i)), args...)
		if r.Code != 0 && args[0] != "diff" {
			t.Errorf("kubectl %v: %s", args, r.Stdout)
		}
	}
	s.kubectl(doc("fresh"), "apply", "--dry-run=server", "-o", "yaml", "-f", "-")
	s.check()
}

// M36: errors about a Secret repeat what is in it; the agent sees what is wrong, and no value.
func TestM36Errors(t *testing.T) {
	s := newScene(t)
	s.secret("stored", "v="+s.canary("stored", ""), "w="+s.canary("stored2", "\"/\\"))
	sent, n := "", 0
	next := func() string {
		n++
		sent = s.canary(fmt.Sprint("sent", n), []string{"", "\"\\ü", " /+%"}[n%3])
		return sent
	}
	type doc = map[string]any
	bad := func(more doc) string {
		more["apiVersion"], more["kind"] = "v1", "Secret"
		if _, ok := more["metadata"]; !ok {
			more["metadata"] = doc{"name": fmt.Sprint("bad", n)}
		}
		return toJSON(more)
	}
	for what, q := range map[string][3]string{
		"an invalid key":       {"POST", "", bad(doc{"data": doc{"not a key!": b64(next())}})},
		"no base64":            {"POST", "", bad(doc{"data": doc{"v": next() + "!"}})},
		"a bad docker config":  {"POST", "", bad(doc{"type": "kubernetes.io/dockerconfigjson", "stringData": doc{".dockerconfigjson": next()}})},
		"a bad docker config2": {"POST", "", bad(doc{"type": "kubernetes.io/dockercfg", "stringData": doc{".dockercfg": "{" + next()}})},
		"a missing key":        {"POST", "", bad(doc{"type": "kubernetes.io/tls", "stringData": doc{"tls.key": next()}})},
		"a number":             {"POST", "", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"n"},"data":{"v":5},"stringData":{"w":` + toJSON(next()) + `}}`},
		"a bad name":           {"POST", "", bad(doc{"metadata": doc{"name": "No Name"}, "stringData": doc{"v": next()}})},
		"a broken document":    {"POST", "", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"n"},"stringData":{"v":` + toJSON(next()) + `}`},
		"a key twice":          {"POST", "?fieldValidation=Strict", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"n"},"stringData":{"v":` + toJSON(next()) + `,"v":` + toJSON(next()) + `}}`},
		"an unknown field":     {"POST", "?fieldValidation=Strict", bad(doc{"password": next(), "stringData": doc{"v": next()}})},
		"an unknown field2":    {"POST", "?fieldValidation=Warn&dryRun=All", bad(doc{"stringDatta": doc{"v": next()}, "Data": next(), "stringData": doc{"v": next()}})},
		"a string for a map":   {"POST", "", bad(doc{"stringData": next()})},
		"a list for a map":     {"POST", "", bad(doc{"data": []string{next()}})},
		"of another kind":      {"POST", "", strings.Replace(bad(doc{"stringData": doc{"v": next()}}), "Secret", "ConfigMap", 1)},
		"a conflict":           {"PUT", "/stored", bad(doc{"metadata": doc{"name": "stored", "resourceVersion": "1"}, "stringData": doc{"v": next()}})},
		"another name":         {"PUT", "/stored", bad(doc{"metadata": doc{"name": "x"}, "stringData": doc{"v": next()}})},
		"exists":               {"POST", "", bad(doc{"metadata": doc{"name": "stored"}, "stringData": doc{"v": next()}})},
		"another type":         {"PUT", "/stored", bad(doc{"metadata": doc{"name": "stored"}, "type": "other", "stringData": doc{"v": next()}})},
	} {
		a := s.send(q[0], s.secretsPath()+q[1], mediaJSON, q[2])
		if a.code == 0 || a.code >= 500 {
			t.Errorf("%s: %d %s", what, a.code, a.body)
		}
	}
	for _, p := range [][2]string{
		{merge, `{"data":{"bad key!":"eA=="}}`}, {merge, `{"data":5}`}, {merge, `{"data":{"v":7}}`}, {merge, `{"type":"other"}`}, {merge, `{"stringData":[1]}`}, {merge, `{"metadata":{"labels":{"a":5}}}`},
		{strategic, `{"data":"x"}`}, {strategic, `{"metadata":{"labels":7}}`}, {strategic, `{"data":{"$patch":"nonsense"}}`}, {strategic, `{"$patch":"delete"}`},
		{jsonPatch, `[{"op":"replace","path":"/data","value":"x"}]`}, {jsonPatch, `[{"op":"copy","from":"/data","path":"/metadata/labels"}]`}, {jsonPatch, `[{"op":"copy","from":"/data","path":"/metadata/finalizers"}]`},
		{jsonPatch, `[{"op":"test","path":"/data/v","value":"eA=="}]`}, {jsonPatch, `[{"op":"copy","from":"/data/v","path":"/metadata/uid"}]`}, {jsonPatch, `[{"op":"copy","from":"/data/v","path":"/metadata/resourceVersion"}]`},
		{jsonPatch, `[{"op":"copy","from":"/data/v","path":"/metadata/labels","value":1}]`}, {jsonPatch, `[{"op":"copy","from":"/data/v","path":"/immutable"}]`}, {jsonPatch, `[{"op":"copy","from":"/data/v","path":"/metadata/creationTimestamp"}]`},
		{apply, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"stored"},"data":{"v":"eA=="}}`}, {apply, "apiVersion: v1\nkind: Secret\nmetadata: {name: stored}\ndata: {v: 5}"},
		{apply, "apiVersion: v1\nkind: Secret\nstringData:\n  v: " + next() + "\n bad: yaml: here"}, {apply, "apiVersion: v1\nkind: Secret\nmetadata: {name: stored}\nstringData: " + next()},
	} {
		a := s.send("PATCH", s.secretsPath("stored")+"?fieldManager=agent&dryRun=All", p[0], p[1])
		if a.code == 0 || a.code >= 500 && a.code != 500 {
			t.Errorf("%s %s: %d %s", p[0], p[1], a.code, a.body)
		}
	}
	s.kubectl(secretJSON(s.ns, "stored", "v="+next()), "apply", "--server-side", "-f", "-")
	s.kubectl(secretJSON(s.ns, "stored", "bad key!="+next()), "apply", "-f", "-")
	s.check()
}
