package attack

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// typed is a client in Go, as controllers are, that speaks Protobuf or CBOR.
func (s *scene) typed(mediaType string) *rest.RESTClient {
	s.t.Helper()
	ca, err := os.ReadFile(s.g.Data("ca.crt"))
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := rest.RESTClientFor(&rest.Config{Host: s.g.Target, APIPath: "/api", BearerToken: s.agent, TLSClientConfig: rest.TLSClientConfig{CAData: ca},
		ContentConfig: rest.ContentConfig{ContentType: mediaType, AcceptContentTypes: mediaType + ",application/json", GroupVersion: &corev1.SchemeGroupVersion, NegotiatedSerializer: clientscheme.Codecs.WithoutConversion()}})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// sendTyped does what a typed client does, and gives its error, and keeps what it got.
func (s *scene) sendTyped(r *rest.Request, body any) error {
	switch b := body.(type) {
	case runtime.Object:
		r = r.Body(b)
	case string:
		r = r.Body([]byte(b))
	}
	got := r.Namespace(s.ns).Resource("secrets").Do(s.t.Context())
	raw, unread := got.Raw()
	err := got.Error()
	s.give("a typed client", raw, []byte(fmt.Sprintf("%+v %+v", err, unread)))
	return err
}

// M34: a Secret that the agent itself sends, by every way to write it, held for a person and then done. Nothing that the
// gateway tells or keeps has its values: not the book, the approver's card, the webhook's messages, the index or the log. What
// is stored is what was sent.
func TestM34SecretsThatTheAgentSends(t *testing.T) {
	var mu sync.Mutex
	var told []string
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		told = append(told, string(b)+string(headerBytes(r.Header)))
	}))
	defer hook.Close()
	policy := "rules:\n  - {id: read, protocol: kubernetes, effect: allow, verbs: [get, list], reason: a test}\n  - {id: ask, protocol: kubernetes, effect: approve, verbs: [create, update, patch], reason: a test, approvers: {maxGrant: 0s}}\n"
	s := newSceneWith(t, lab.Options{Policy: map[string]string{"ask.yaml": policy}, Env: []string{"HOOK=whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))},
		Config: "approvals: {hold: 1ms, holdOthers: 1ms, webhook: {url: '" + hook.URL + "', secret: {env: HOOK}}}\n"})
	protobuf, cbor := s.typed("application/vnd.kubernetes.protobuf"), s.typed("application/cbor")
	value := map[string]string{}
	object := func(name string) *corev1.Secret {
		v := s.canary(name, "/+ \"\\\nü")
		value[name] = v
		return &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.ns, Annotations: map[string]string{"copy": "is " + v, "base64": b64(v)}},
			Data: map[string][]byte{"v": []byte(v)}, StringData: map[string]string{"w": s.canary(name+" text", "")}}
	}
	for _, name := range []string{"update", "merge", "strategic", "json", "apply", "yaml-put"} {
		s.object(secretJSON(s.ns, name, "v=stored before"))
	}
	patch := func(name string) string {
		o := object(name)
		return toJSON(map[string]any{"metadata": map[string]any{"annotations": o.Annotations}, "data": o.Data})
	}
	yamlOf := func(name string) string {
		o := object(name)
		return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, annotations: {note: %q}}\ndata: {v: !!binary %s}\nstringData:\n  w: %q\n", name, "is "+value[name], b64(value[name]), o.StringData["w"])
	}
	yaml := func(name string) string { return strings.Replace(yamlOf(name), "!!binary ", "", 1) }
	do := func(method, name, mediaType string, body func(string) string) func() error {
		b := body(name)
		return func() error {
			path := s.secretsPath(name)
			if method == "POST" {
				path = s.secretsPath()
			}
			if mediaType == apply {
				path += "?fieldManager=agent&force=true"
			}
			if a := s.send(method, path, mediaType, b); a.code >= 300 {
				return fmt.Errorf("%d %s", a.code, a.body)
			}
			return nil
		}
	}
	created, changed, inCBOR := object("protobuf"), object("update"), object("cbor")
	merged, json1 := patch("merge"), `[{"op":"replace","path":"/data/v","value":"`+b64(object("json").StringData["w"])+`"}]`
	value["json"] = object("json").StringData["w"]
	ways := map[string]func() error{
		"protobuf":  func() error { return s.sendTyped(protobuf.Post(), created) },
		"update":    func() error { return s.sendTyped(protobuf.Put().Name("update"), changed) },
		"merge":     func() error { return s.sendTyped(protobuf.Patch(types.MergePatchType).Name("merge"), merged) },
		"json":      func() error { return s.sendTyped(protobuf.Patch(types.JSONPatchType).Name("json"), json1) },
		"cbor":      func() error { return s.sendTyped(cbor.Post(), inCBOR) },
		"strategic": do("PATCH", "strategic", strategic, patch), "yaml": do("POST", "yaml", "application/yaml", yaml), "yaml-put": do("PUT", "yaml-put", "application/yaml", yaml),
		"apply": do("PATCH", "apply", apply, yaml), "posted": do("POST", "posted", mediaJSON, func(name string) string { return toJSON(object(name)) }),
	}
	ada, desk := s.g.Person("ada", "approvers"), s.g.API(s.g.Person("ada", "approvers"))
	for name, way := range ways {
		if err := way(); err == nil || !strings.Contains(err.Error(), "pending") {
			t.Errorf("%s is not held: %v", name, err)
		}
	}
	page, err := desk.Approvals(t.Context(), access.ApprovalPending)
	if err != nil {
		t.Fatal(err)
	}
	s.give("approvals", []byte(s.g.CLI(ada, "approvals").Out()), []byte(s.g.CLI(ada, "approvals", "-o", "json").Out()), []byte(s.g.CLI(s.g.Person("ada", "approvers"), "approvals", "--all").Out()))
	if len(page.Items) != len(ways) {
		t.Errorf("%d approvals of %d requests", len(page.Items), len(ways))
	}
	digests := map[access.Digest]bool{}
	for _, a := range page.Items {
		whole, err := desk.Approval(t.Context(), a.ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		s.give("an approval", b, []byte(s.g.CLI(ada, "approvals", string(a.ID)).Out()), []byte(s.g.CLI(ada, "approvals", string(a.ID), "-o", "json").Out()))
		if digests[a.Operation.Digest] = true; a.Operation.Digest == (access.Digest{}) || !strings.Contains(string(b), "gbm-") && !strings.Contains(string(b), "Z2JtL") {
			t.Errorf("no digest, or no placeholder: %s", b)
		}
		if _, err := desk.Answer(t.Context(), a.ID, client.Answer{Yes: true, Scope: access.ScopeOnce}); err != nil {
			t.Fatal(err)
		}
	}
	if len(digests) != len(ways) {
		t.Errorf("%d digests of %d requests", len(digests), len(ways))
	}
	for name, way := range ways {
		if err := way(); err != nil {
			if name != "cbor" { // which an API server takes only where it is told to
				t.Errorf("%s, approved: %v", name, err)
			}
			continue
		}
		var o struct{ Data map[string][]byte }
		if err := json.Unmarshal([]byte(must(t, admin(t, "", "-n", s.ns, "get", "secret", name, "-o", "json")).Stdout), &o); err != nil || string(o.Data["v"]) != value[name] {
			t.Errorf("%s: stored is %q, %v", name, o.Data["v"], err)
		}
	}
	auditor := s.g.Person("grace", "auditors")
	for _, r := range book(t, s.g, "system:serviceaccount:"+s.ns+":claude") {
		s.give("show", []byte(s.g.CLI(auditor, "show", string(r.Operation.ID), "--key", s.g.Data("auditor.key")).Out()), []byte(toJSON(r)))
	}
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(50 * time.Millisecond) {
		mu.Lock()
		n := len(told)
		mu.Unlock()
		if n >= 2*len(ways) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the webhook was told %d times", n)
		}
	}
	mu.Lock()
	s.give("the webhook", []byte(strings.Join(told, "\n")))
	mu.Unlock()
	s.check()
}
