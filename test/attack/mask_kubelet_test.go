package attack

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatebook/test/lab"
)

// tokenFile is where a kubelet puts the token of a pod's service account.
const tokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// ownToken makes a pod that says the token of its own service account in its log, serves it, and gives it to who attaches;
// and hides it. No gateway has seen it issued.
func (s *scene) ownToken() (token string) {
	s.t.Helper()
	must(s.t, admin(s.t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: box}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: lab.local/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, 'T=$(cat %s); cp %[1]s /tmp/token; echo "Authorization: Bearer $T"; echo "{\"token\":\"$T\"}"; echo -n "$T" | base64; echo logged; (while true; do (cat %[1]s; echo; base64 %[1]s) | nc -l -p 8000; done) & while sleep 1; do echo "still $T"; done']
`, tokenFile), "-n", s.ns, "create", "-f", "-"))
	must(s.t, admin(s.t, "", "-n", s.ns, "wait", "--for=condition=Ready", "pod/box", "--timeout=180s"))
	for deadline := time.Now().Add(lab.Patience); !strings.Contains(must(s.t, admin(s.t, "", "-n", s.ns, "logs", "box")).Stdout, "logged"); {
		if time.Now().After(deadline) {
			s.t.Fatal("the pod does not log")
		}
	}
	token = strings.TrimSpace(must(s.t, admin(s.t, "", "-n", s.ns, "exec", "box", "--", "cat", tokenFile)).Stdout)
	signature := token[strings.LastIndexByte(token, '.')+1:]
	if strings.Count(token, ".") != 2 || len(signature) < 40 {
		s.t.Fatalf("the pod has no token: %q", token)
	}
	s.hidden["signature"] = canary{[]byte(signature)}
	s.search.hide("signature", s.hidden["signature"])
	return token
}

// M45: the token that the kubelet gave to a pod comes out of it in no way, though no gateway has seen it: each way out is the
// first that it is met.
func TestM45OwnTokenOfAPod(t *testing.T) {
	run := func(args ...string) func(s *scene) string {
		return func(s *scene) string { return s.kubectl("", args...).Stdout }
	}
	copied := func(from string) func(s *scene) string {
		return func(s *scene) string {
			dir := s.t.TempDir()
			s.kubectl("", "cp", "--retries=0", "box:"+from, filepath.Join(dir, "copy"))
			return s.files(dir)
		}
	}
	forward := func(ws string) func(s *scene) string {
		return func(s *scene) string {
			out := throughForward(s.t, s.g.Kubeconfig(s.agent), s.ns, ws, "\n")
			s.give("port-forward", []byte(out))
			return out
		}
	}
	raw := func(more string) func(s *scene) string {
		return func(s *scene) string {
			return string(s.do(request{path: "/api/v1/namespaces/" + s.ns + "/pods/box/" + more}).body)
		}
	}
	for name, way := range map[string]func(s *scene) string{
		"exec": run("exec", "box", "--", "cat", tokenFile), "logs": run("logs", "box"), "logs-timestamps": run("logs", "--timestamps", "box"),
		"encoded": run("exec", "box", "--", "sh", "-c", "base64 "+tokenFile+"; (printf x; cat "+tokenFile+") | base64 -w 0; xxd -p "+tokenFile),
		"slowly":  run("exec", "box", "--", "sh", "-c", "dd bs=7 if="+tokenFile+" 2>/dev/null; head -c 2 "+tokenFile+"; sleep 1; tail -c +3 "+tokenFile),
		"tar":     run("exec", "box", "--", "tar", "cf", "-", "-h", filepath.Dir(tokenFile)), "cp": copied("/tmp/token"), "attach": func(s *scene) string { return s.attached("box") },
		"forward": forward("true"), "forward-spdy": forward("false"), "log": raw("log"), "command": func(s *scene) string {
			return s.kubectl("", "exec", "box", "--", "echo", must(s.t, admin(s.t, "", "-n", s.ns, "exec", "box", "--", "cat", tokenFile)).Stdout).Stdout
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.ownToken()
			if got := way(s); !strings.Contains(got, "gbm-") && !strings.Contains(got, "Z2JtL") {
				t.Errorf("nothing is masked, so that nothing was read: %q", got)
			}
			s.check()
		})
	}
}

// M45: what a token is copied into is masked as well, and can be written back; what only looks like one stays as it is.
func TestM45CopiedToken(t *testing.T) {
	s := newSceneWith(t, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	token := s.ownToken()
	s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "left", "annotations": map[string]string{"note": "Bearer " + token}},
		"data": map[string]string{"env": "TOKEN=" + token + "\n", "plain": "x"}, "binaryData": map[string]any{"token": []byte(token)}}))
	shown := must(t, s.kubectl("", "get", "configmap", "left", "-o", "json")).Stdout
	if strings.Count(shown, "gbm-") != 2 {
		t.Errorf("not masked: %s", shown)
	}
	must(t, s.kubectl(strings.Replace(shown, `"plain": "x"`, `"plain": "y"`, 1), "replace", "-f", "-"))
	stored := must(t, admin(t, "", "-n", s.ns, "get", "configmap", "left", "-o", "jsonpath={.data.env}{.data.plain}")).Stdout
	if stored != "TOKEN="+token+"\ny" {
		t.Errorf("stored is %q", stored)
	}
	for _, path := range []string{"/openid/v1/jwks", "/.well-known/openid-configuration", "/version"} {
		direct := must(t, admin(t, "", "get", "--raw", path)).Stdout
		if got := must(t, s.kubectl("", "get", "--raw", path)).Stdout; got != direct {
			t.Errorf("%s: %s, directly %s", path, got, direct)
		}
	}
	s.check()
}

// M43: a known value that somebody wrote into the description of a custom resource is in no form of the API's schema, and the
// schema in Protobuf is otherwise what the API server gives.
func TestM43Schema(t *testing.T) {
	s := newScene(t)
	value := s.canary("described", "")
	s.secret("db", "v="+value)
	must(t, s.kubectl("", "get", "secret", "db", "-o", "yaml"))
	crd := toJSON(map[string]any{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "notes." + s.ns + ".example.com"},
		"spec": map[string]any{"group": s.ns + ".example.com", "scope": "Namespaced", "names": map[string]any{"plural": "notes", "kind": "Note"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "description": "such as " + value}}}}}})
	must(t, admin(t, crd, "create", "-f", "-"))
	t.Cleanup(func() { admin(t, "", "delete", "crd", "notes."+s.ns+".example.com") })
	must(t, admin(t, "", "wait", "--for=condition=Established", "crd/notes."+s.ns+".example.com", "--timeout=180s"))
	v3 := "/openapi/v3/apis/" + s.ns + ".example.com/v1"
	for deadline := time.Now().Add(lab.Patience); !strings.Contains(admin(t, "", "get", "--raw", v3).Stdout, value) || !strings.Contains(admin(t, "", "get", "--raw", "/openapi/v2").Stdout, value); {
		if time.Now().After(deadline) {
			t.Fatal("the API server does not show the description")
		}
		time.Sleep(200 * time.Millisecond)
	}
	for _, path := range []string{v3, "/openapi/v2"} {
		for _, accept := range []string{"application/json", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
			"application/com.github.proto-openapi.spec.v3@v1.0+protobuf", "application/com.github.proto-openapi.spec.v3.v1.0+protobuf", "*/*", "application/vnd.kubernetes.protobuf"} {
			a := s.do(request{path: path, header: []string{"Accept: " + accept}})
			if v2 := path == "/openapi/v2"; strings.Contains(accept, "spec.v2") != v2 && strings.Contains(accept, "spec.v3") != !v2 && strings.Contains(accept, "spec") {
				continue // the other version's: an answer that cannot be written so is none
			}
			if a.code != 200 || !strings.Contains(string(a.body), "such as gbm-") {
				t.Errorf("%s as %s: %d, %d bytes, %.100q", path, accept, a.code, len(a.body), a.body)
			}
		}
	}
	must(t, s.kubectl("", "explain", "notes."+s.ns+".example.com"))
	must(t, s.kubectl("", "explain", "pod.spec", "--output=plaintext-openapiv2"))
	s.check()
}
