package attack

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// three makes a Secret of three keys, applied so that it has its last configuration with it, and gives their values.
func (s *scene) three(name string) map[string]string {
	s.t.Helper()
	v := map[string]string{"one": s.canary(name+" one", ""), "two": s.canary(name+" two", "\x00\xff\xfe binary"), "three": s.canary(name+" three", "\nof lines\n")}
	v["same"] = v["one"] // the same value twice
	data := map[string][]byte{}
	for k, x := range v {
		data[k] = []byte(x)
	}
	must(s.t, admin(s.t, toJSON(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": s.ns}, "data": data}), "apply", "-f", "-"))
	return v
}

// holds asserts what is stored, byte for byte.
func (s *scene) holds(name string, want map[string]string) {
	s.t.Helper()
	var o struct{ Data map[string][]byte }
	r := must(s.t, admin(s.t, "", "-n", s.ns, "get", "secret", name, "-o", "json"))
	if err := json.Unmarshal([]byte(r.Stdout), &o); err != nil {
		s.t.Fatal(err)
	}
	if strings.Contains(r.Stdout, "gbm-") || strings.Contains(r.Stdout, "Z2JtL") {
		s.t.Errorf("a placeholder is stored in %s: %s", name, r.Stdout)
	}
	if len(o.Data) != len(want) {
		s.t.Errorf("%s has %d keys, want %d", name, len(o.Data), len(want))
	}
	for k, v := range want {
		if string(o.Data[k]) != v {
			s.t.Errorf("%s/%s is %q, want %q", name, k, o.Data[k], v)
		}
	}
}

// masked is the Secret as the agent sees it.
func (s *scene) masked(name string) (doc map[string]any, data map[string]string) {
	s.t.Helper()
	a := s.do(request{path: s.secretsPath(name)})
	var o struct{ Data map[string]string }
	if err := json.Unmarshal(a.body, &doc); err != nil {
		s.t.Fatalf("%d %v", a.code, err)
	}
	if err := json.Unmarshal(a.body, &o); err != nil {
		s.t.Fatal(err)
	}
	return doc, o.Data
}

// M44: kubectl edit, changing one key of several, changes that key and leaves the others as they were.
func TestM44KubectlEdit(t *testing.T) {
	s := newScene(t)
	for i, script := range []string{
		`sed -i 's|^  one: .*|  one: ` + b64("changed") + `|' "$1"`,
		`sed -i 's|^data:|data:\n  four: ` + b64("changed") + `|' "$1"`,
		`sed -i 's|^stringData:.*||; s|^type: Opaque|type: Opaque\nstringData:\n  one: changed|' "$1"`,
		`sed -i '/^  one: /d' "$1"`,
		`sed -i 's|^  name: .*|&\n  labels: {a: b}|' "$1"`,
	} {
		name := fmt.Sprint("s", i)
		want := s.three(name)
		switch i {
		case 0, 2:
			want["one"] = "changed"
		case 1:
			want["four"] = "changed"
		case 3:
			delete(want, "one")
		}
		editor := filepath.Join(t.TempDir(), "editor")
		if err := os.WriteFile(editor, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if r := s.kubectlEnv([]string{"KUBE_EDITOR=" + editor}, "", "edit", "secret", name); r.Code != 0 || !strings.Contains(r.Out(), "edited") {
			t.Errorf("%s: %s", script, r.Out())
		}
		s.holds(name, want)
	}
	s.check()
}

// M44: what was got, changed and sent back by every other verb, restores what was not changed.
func TestM44WrittenBack(t *testing.T) {
	s := newScene(t)
	changed := func(name string) string {
		doc, _ := s.masked(name)
		doc["data"].(map[string]any)["one"] = b64("changed")
		meta := doc["metadata"].(map[string]any)
		delete(meta, "managedFields")
		return toJSON(doc)
	}
	patch := func(mediaType string) func(name string) answer {
		return func(name string) answer {
			_, data := s.masked(name)
			data["one"] = b64("changed")
			return s.send("PATCH", s.secretsPath(name), mediaType, toJSON(map[string]any{"data": data}))
		}
	}
	for i, write := range []func(name string) answer{
		func(name string) answer { return s.send("PUT", s.secretsPath(name), mediaJSON, changed(name)) },
		patch(merge), patch(strategic),
		func(name string) answer {
			_, data := s.masked(name)
			return s.send("PATCH", s.secretsPath(name), jsonPatch, toJSON([]any{
				map[string]any{"op": "test", "path": "/data/two", "value": data["two"]}, map[string]any{"op": "replace", "path": "/data/two", "value": data["two"]},
				map[string]any{"op": "replace", "path": "/data/one", "value": b64("changed")}}))
		},
		func(name string) answer {
			_, data := s.masked(name)
			data["one"] = b64("changed")
			return s.send("PATCH", s.secretsPath(name), jsonPatch, toJSON([]any{map[string]any{"op": "replace", "path": "/data", "value": data}}))
		},
		func(name string) answer {
			_, data := s.masked(name)
			data["one"] = b64("changed")
			return s.send("PATCH", s.secretsPath(name)+"?fieldManager=agent&force=true", apply, toJSON(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name}, "data": data}))
		},
		func(name string) answer {
			r := s.kubectl(changed(name), "apply", "-f", "-")
			return answer{code: 200 + r.Code, body: []byte(r.Out())}
		},
		func(name string) answer {
			r := s.kubectl(changed(name), "replace", "-f", "-")
			return answer{code: 200 + r.Code, body: []byte(r.Out())}
		},
		func(name string) answer {
			r := s.kubectl(changed(name), "apply", "--server-side", "--force-conflicts", "-f", "-")
			return answer{code: 200 + r.Code, body: []byte(r.Out())}
		},
		func(name string) answer {
			y := must(t, s.kubectl("", "get", "secret", name, "-o", "yaml")).Stdout
			lines := strings.Split(y, "\n")
			for i, l := range lines {
				if strings.HasPrefix(l, "  one: ") {
					lines[i] = "  one: " + b64("changed")
				}
			}
			r := s.kubectl(strings.Join(lines, "\n"), "apply", "-f", "-")
			return answer{code: 200 + r.Code, body: []byte(r.Out())}
		},
		func(name string) answer {
			r := s.kubectl("", "patch", "secret", name, "-p", `{"stringData":{"one":"changed"}}`)
			return answer{code: 200 + r.Code, body: []byte(r.Out())}
		},
	} {
		name := fmt.Sprint("s", i)
		want := s.three(name)
		want["one"] = "changed"
		if a := write(name); a.code != 200 {
			t.Errorf("write %d: %d %s", i, a.code, a.body)
		}
		s.holds(name, want)
	}
	s.check()
}

// M44: a placeholder anywhere but where it was read is refused, and nothing that is stored changes.
func TestM44Misplaced(t *testing.T) {
	s := newScene(t)
	want, other := s.three("s"), s.three("other")
	other["three"] = "changed meanwhile"
	must(t, admin(t, "", "-n", s.ns, "patch", "secret", "other", "--type=merge", "-p", toJSON(map[string]any{"data": map[string]string{"three": b64("changed meanwhile")}})))
	s.object(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm"},"data":{"a":"b"}}`)
	_, p := s.masked("s")
	text := func(k string) string {
		var plain []byte
		if err := json.Unmarshal([]byte(`"`+p[k]+`"`), &plain); err != nil {
			t.Fatal(err)
		}
		return string(plain)
	}
	foreign := over(t, s.g, h1).do(request{path: "/t/lab" + s.secretsPath("s"), token: s.g.Agent(s.ns, "second", "")})
	s.give("another session", foreign.body)
	var their struct{ Data map[string]string }
	if err := json.Unmarshal(foreign.body, &their); err != nil {
		t.Fatal(err)
	}
	if their.Data["one"] == p["one"] {
		t.Error("two sessions get the same placeholder")
	}
	type doc = map[string]any
	data := func(k, v string) string { return toJSON(doc{"data": doc{k: v}}) }
	configMaps := "/api/v1/namespaces/" + s.ns + "/configmaps"
	for what, q := range map[string][4]string{
		"to another key":           {"PATCH", s.secretsPath("s"), merge, data("two", p["one"])},
		"swapped":                  {"PATCH", s.secretsPath("s"), merge, toJSON(doc{"data": doc{"two": p["one"], "one": p["two"]}})},
		"to a new key":             {"PATCH", s.secretsPath("s"), strategic, data("new", p["one"])},
		"to another Secret":        {"PATCH", s.secretsPath("other"), merge, data("one", p["one"])},
		"to a new Secret":          {"POST", s.secretsPath(), mediaJSON, toJSON(doc{"apiVersion": "v1", "kind": "Secret", "metadata": doc{"name": "new"}, "data": doc{"one": p["one"]}})},
		"to a new Secret, as text": {"POST", s.secretsPath(), mediaJSON, toJSON(doc{"apiVersion": "v1", "kind": "Secret", "metadata": doc{"name": "new"}, "stringData": doc{"one": text("one")}})},
		"by an apply that creates": {"PATCH", s.secretsPath("new") + "?fieldManager=x", apply, toJSON(doc{"apiVersion": "v1", "kind": "Secret", "metadata": doc{"name": "new"}, "data": doc{"one": p["one"]}})},
		"by a PUT that creates":    {"PUT", s.secretsPath("new"), mediaJSON, toJSON(doc{"apiVersion": "v1", "kind": "Secret", "metadata": doc{"name": "new"}, "data": doc{"one": p["one"]}})},
		"of another session":       {"PATCH", s.secretsPath("s"), merge, data("one", their.Data["one"])},
		"to a ConfigMap":           {"PATCH", configMaps + "/cm", merge, data("a", text("one"))},
		"to a ConfigMap, base64":   {"PATCH", configMaps + "/cm", merge, toJSON(doc{"binaryData": doc{"z": p["one"]}})},
		"to a new ConfigMap":       {"POST", configMaps, mediaJSON, toJSON(doc{"apiVersion": "v1", "kind": "ConfigMap", "metadata": doc{"name": "new"}, "data": doc{"a": "url=" + text("one")}})},
		"cut":                      {"PATCH", s.secretsPath("s"), merge, data("one", b64(text("one")[:20]))},
		"longer":                   {"PATCH", s.secretsPath("s"), merge, data("one", b64(text("one")+"\n"))},
		"inside of more":           {"PATCH", s.secretsPath("s"), merge, data("one", b64("password="+text("one")))},
		"at another alignment":     {"PATCH", s.secretsPath("s"), merge, data("one", b64("x"+text("one")))},
		"twice":                    {"PATCH", s.secretsPath("s"), merge, data("one", b64(text("one")+text("one")))},
		"base64 twice":             {"PATCH", s.secretsPath("s"), merge, data("one", b64(p["one"]))},
		"as text":                  {"PATCH", s.secretsPath("s"), merge, toJSON(doc{"stringData": doc{"new": text("one")}})},
		"base64 as text":           {"PATCH", s.secretsPath("s"), merge, toJSON(doc{"stringData": doc{"one": p["one"]}})},
		"in hexadecimal":           {"PATCH", s.secretsPath("s"), merge, toJSON(doc{"stringData": doc{"one": fmt.Sprintf("%x", text("one"))}})},
		"in an annotation":         {"PATCH", s.secretsPath("s"), merge, toJSON(doc{"metadata": doc{"annotations": doc{"a": text("one")}}})},
		"in an annotation, base64": {"PATCH", s.secretsPath("s"), merge, toJSON(doc{"metadata": doc{"annotations": doc{"a": p["one"]}}})},
		"as a key":                 {"PATCH", s.secretsPath("s"), merge, toJSON(doc{"stringData": doc{text("one"): "x"}})},
		"escaped":                  {"PATCH", s.secretsPath("s"), merge, `{"stringData":{"new":"\u0067bm-` + text("one")[4:] + `"}}`},
		"by a JSON patch":          {"PATCH", s.secretsPath("s"), jsonPatch, `[{"op":"add","path":"/data/new","value":"` + p["one"] + `"}]`},
		"by a JSON patch to all":   {"PATCH", s.secretsPath("s"), jsonPatch, `[{"op":"replace","path":"/data","value":{"two":"` + p["one"] + `"}}]`},
		"by a pointer":             {"PATCH", s.secretsPath("s"), jsonPatch, `[{"op":"add","path":"/metadata/annotations/` + text("one") + `","value":"x"}]`},
		"of a value that changed":  {"PATCH", s.secretsPath("other"), merge, data("three", b64("gbm-"+strings.Repeat("a", 26)))},
		"a key twice":              {"PATCH", s.secretsPath("s"), merge, `{"data":{"one":"` + p["one"] + `","one":"` + p["one"] + `"}}`},
		"in a Pod's command":       {"POST", "/api/v1/namespaces/" + s.ns + "/pods?dryRun=All", mediaJSON, toJSON(doc{"apiVersion": "v1", "kind": "Pod", "metadata": doc{"name": "p"}, "spec": doc{"containers": []any{doc{"name": "c", "image": "i", "command": []string{text("one")}}}}})},
	} {
		a := s.send(q[0], q[1], q[2], q[3])
		if a.code != 409 && !(what == "a key twice" && a.code == 400) {
			t.Errorf("%s: %d %s", what, a.code, a.body)
		}
		if st := a.status(t); !strings.Contains(st.Message, "mask") && what != "a key twice" {
			t.Errorf("%s: the agent is not told why: %s", what, st.Message)
		}
	}
	s.holds("s", want)
	s.holds("other", other)
	if r := admin(t, "", "-n", s.ns, "get", "secret/new", "configmap/new"); r.Code == 0 {
		t.Errorf("something new is stored: %s", r.Stdout)
	}
	if r := must(t, admin(t, "", "-n", s.ns, "get", "configmap", "cm", "-o", "json")); strings.Contains(r.Stdout, "gbm-") || strings.Contains(r.Stdout, "binaryData") {
		t.Errorf("the ConfigMap was changed: %s", r.Stdout)
	}
	s.check()
}
