package attack

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stored is an object as the API server has it, without what every write changes.
func (s *scene) stored(kind, name string) map[string]any {
	s.t.Helper()
	r := must(s.t, admin(s.t, "", "-n", s.ns, "get", s.resource(kind), name, "-o", "json"))
	for _, p := range []string{"gbm-", "Z2JtL", "dibS", "67626d2d"} {
		if strings.Contains(r.Stdout, p) {
			s.t.Errorf("a placeholder is stored in %s %s: %s", kind, name, r.Stdout)
		}
	}
	var o map[string]any
	if err := json.Unmarshal([]byte(r.Stdout), &o); err != nil {
		s.t.Fatal(err)
	}
	meta := o["metadata"].(map[string]any)
	for _, k := range []string{"managedFields", "resourceVersion", "generation"} {
		delete(meta, k)
	}
	if notes, ok := meta["annotations"].(map[string]any); ok {
		for k := range notes {
			if strings.HasPrefix(k, "kubectl.kubernetes.io/") || strings.HasPrefix(k, "deployment.kubernetes.io/") || k == "touched" {
				delete(notes, k)
			}
		}
	}
	delete(o, "status")
	return o
}

// holding makes, applied as people do, what holds a known value amid other things: a ConfigMap, a Deployment, a custom object.
func (s *scene) holding(i int, v string) map[string]string {
	s.t.Helper()
	type doc = map[string]any
	url := "postgres://u:" + v + "@db/x"
	names := map[string]string{"configmap": fmt.Sprint("c", i), "deployment": fmt.Sprint("d", i), "gadget": fmt.Sprint("g", i)}
	notes := doc{"note": "said " + v, "base64": b64("x" + v)}
	for _, o := range []doc{
		{"apiVersion": "v1", "kind": "ConfigMap", "metadata": doc{"name": names["configmap"], "annotations": notes}, "data": doc{"v": v, "url": url, "json": toJSON(doc{"a": v}), "other": "free"}, "binaryData": doc{"b": []byte("\xff" + v)}},
		{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": doc{"name": names["deployment"], "annotations": notes}, "spec": doc{"replicas": 0, "selector": doc{"matchLabels": doc{"a": "b"}}, "template": doc{"metadata": doc{"labels": doc{"a": "b"}},
			"spec": doc{"containers": []any{doc{"name": "side", "image": "i", "args": []string{"--password=" + v, "--other"}}, doc{"name": "c", "image": "i", "env": []any{doc{"name": "FREE", "value": "free"}, doc{"name": "URL", "value": url}, doc{"name": "V", "value": v}}}}}}}},
		{"apiVersion": s.ns + ".example.org/v1", "kind": "Gadget", "metadata": doc{"name": names["gadget"], "annotations": notes}, "spec": doc{"v": v, "list": []any{doc{"name": "a", "url": url}, doc{"name": "b", "x": b64(v)}, v}, "other": "free"}},
	} {
		o["metadata"].(doc)["namespace"] = s.ns
		must(s.t, admin(s.t, toJSON(o), "apply", "-f", "-"))
	}
	return names
}

func (s *scene) gadgets() {
	s.t.Helper()
	group := s.ns + ".example.org"
	must(s.t, admin(s.t, fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: gadgets, singular: gadget, kind: Gadget}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`, group), "create", "-f", "-"))
	s.t.Cleanup(func() { admin(s.t, "", "delete", "crd", "gadgets."+group, "--wait=false") })
	must(s.t, admin(s.t, "", "wait", "--for=condition=Established", "crd/gadgets."+group, "--timeout=180s"))
}

// resource is what kubectl calls a kind that holding made: other tests have Gadgets of their own.
func (s *scene) resource(kind string) string {
	if kind == "gadget" {
		return "gadgets." + s.ns + ".example.org"
	}
	return kind
}

// path is that of an object that holding made.
func (s *scene) path(kind, name string) string {
	prefix := map[string]string{"configmap": "/api/v1", "deployment": "/apis/apps/v1", "gadget": "/apis/" + s.ns + ".example.org/v1", "secret": "/api/v1"}[kind]
	return prefix + "/namespaces/" + s.ns + "/" + kind + "s/" + name
}

// M44: what holds a known value amid other things, changed elsewhere by every workflow there is, keeps it byte for byte.
// Each workflow changes the word «free» to «changed», or only touches the object; some are refused, which is well too.
func TestM44WorkflowsKeepWhatTheyDoNotChange(t *testing.T) {
	s, v, _ := knowing(t)
	s.gadgets()
	editor := filepath.Join(t.TempDir(), "editor")
	if err := os.WriteFile(editor, []byte("#!/bin/sh\nsed -i 's|: free$|: changed|' \"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	get := func(kind, name, output string) string {
		return must(t, s.kubectl("", "get", s.resource(kind), name, "-o", output)).Stdout
	}
	changed := func(kind, name, output string) string {
		return strings.NewReplacer(": free", ": changed", `: "free"`, `: "changed"`).Replace(get(kind, name, output))
	}
	patch := func(mediaType string) func(kind, name string) bool {
		return func(kind, name string) bool {
			var o map[string]any
			if err := json.Unmarshal([]byte(changed(kind, name, "json")), &o); err != nil {
				t.Fatal(err)
			}
			delete(o["metadata"].(map[string]any), "resourceVersion")
			delete(o["metadata"].(map[string]any), "managedFields")
			body := toJSON(o)
			if mediaType == jsonPatch {
				field := map[string]string{"configmap": "data"}[kind]
				if field == "" {
					field = "spec"
				}
				body = toJSON([]any{map[string]any{"op": "replace", "path": "/" + field, "value": o[field]}})
			}
			query := "?fieldManager=agent"
			if mediaType == apply {
				query += "&force=true"
			}
			return s.send("PATCH", s.path(kind, name)+query, mediaType, body).code == 200
		}
	}
	run := func(stdin func(kind, name string) string, args ...string) func(kind, name string) bool {
		return func(kind, name string) bool {
			in, a := "", slices.Clone(args)
			if stdin != nil {
				in = stdin(kind, name)
			} else {
				a = append(a[:1], append([]string{s.resource(kind), name}, a[1:]...)...)
			}
			r := s.kubectlEnv([]string{"KUBE_EDITOR=" + editor}, in, a...)
			return r.Code == 0
		}
	}
	inYAML := func(kind, name string) string { return changed(kind, name, "yaml") }
	inJSON := func(kind, name string) string { return changed(kind, name, "json") }
	free := 0
	for i, w := range []struct {
		name   string
		do     func(kind, name string) bool
		change bool
		not    string // the kind that it is not for
	}{
		{"edit", run(nil, "edit"), true, ""}, {"edit, in JSON", run(nil, "edit", "-o", "json"), false, ""},
		{"apply", run(inYAML, "apply", "-f", "-"), true, ""}, {"apply, in JSON", run(inJSON, "apply", "-f", "-"), true, ""},
		{"apply on the server", run(inYAML, "apply", "--server-side", "--force-conflicts", "-f", "-"), true, ""},
		{"replace", run(inYAML, "replace", "-f", "-"), true, ""}, {"replace --save-config", run(inJSON, "replace", "--save-config", "-f", "-"), true, ""},
		{"annotate", run(nil, "annotate", "touched=yes"), false, ""}, {"label", run(nil, "label", "a=b", "--overwrite"), false, ""},
		{"merge patch", patch(merge), true, ""}, {"strategic patch", patch(strategic), true, "gadget"}, {"JSON patch", patch(jsonPatch), true, ""}, {"apply patch", patch(apply), true, ""},
		{"PUT", func(kind, name string) bool {
			return s.send("PUT", s.path(kind, name), mediaJSON, changed(kind, name, "json")).code == 200
		}, true, ""},
		{"PUT in YAML", func(kind, name string) bool {
			return s.send("PUT", s.path(kind, name), "application/yaml", changed(kind, name, "yaml")).code == 200
		}, true, ""},
	} {
		names := s.holding(i, v)
		for kind, name := range names {
			if kind == w.not {
				continue
			}
			before := s.stored(kind, name)
			if !w.do(kind, name) {
				t.Errorf("%s of a %s is refused", w.name, kind)
			}
			after := s.stored(kind, name)
			if strings.Contains(toJSON(after), "changed") {
				free++
			} else if w.change {
				t.Errorf("%s of a %s changed nothing: %s", w.name, kind, toJSON(after))
			}
			was := strings.ReplaceAll(toJSON(before), `"free"`, `"changed"`)
			is := strings.ReplaceAll(toJSON(after), `"free"`, `"changed"`)
			if w.name == "label" {
				is = strings.Replace(is, `"labels":{"a":"b"},`, "", 1)
			}
			if was != is {
				t.Errorf("%s of a %s: stored before and after\n%s\n%s", w.name, kind, was, is)
			}
		}
	}
	if free < 30 {
		t.Errorf("only %d workflows went through", free)
	}
	s.check()
}

// M44: what kubectl makes of a Deployment from a Secret, and of a Deployment's environment, touches no other value.
func TestM44SetEnv(t *testing.T) {
	s, v, word := knowing(t)
	s.gadgets()
	for i, args := range [][]string{{"--from=secret/db", "--prefix=DB_"}, {"FREE=changed"}, {"--from=configmap/c0", "--prefix=CM_"}, {"FREE-"}, {"-c", "c", "NEW=1"}} {
		d := s.holding(i, v)["deployment"]
		if i == 2 {
			continue // c0's keys: tried below
		}
		r := s.kubectl("", append([]string{"set", "env", "deployment/" + d}, args...)...)
		if r.Code != 0 {
			t.Errorf("set env %v: %s", args, r.Out())
		}
		after := toJSON(s.stored("deployment", d))
		for _, want := range []string{toJSON("--password=" + v), toJSON(v), toJSON("postgres://u:" + v + "@db/x")} {
			if !strings.Contains(after, want) {
				t.Errorf("set env %v: %s is no longer in %s", args, want, after)
			}
		}
	}
	s.kubectl("", "set", "env", "deployment/d2", "--from=configmap/c0", "--prefix=CM_")
	s.stored("deployment", "d2")
	s.kubectl("", "set", "env", "deployment/d2", "--from=secret/db", "--resolve", "--list")
	s.kubectl("", "create", "deployment", "made", "--image=i", "--dry-run=server", "-o", "yaml")
	var o struct{ Data map[string][]byte }
	if err := json.Unmarshal([]byte(must(t, admin(t, "", "-n", s.ns, "get", "secret", "db", "-o", "json")).Stdout), &o); err != nil || string(o.Data["v"]) != v || string(o.Data["w"]) != word {
		t.Errorf("the Secret is %v", err)
	}
	s.check()
}
