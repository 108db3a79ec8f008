package attack

import (
	"encoding/json"
	"strings"
	"testing"
)

// K18: the token that a TokenRequest gives is masked, and its placeholder is good for nothing.
func TestK18TokenIsMasked(t *testing.T) {
	s := newScene(t)
	path := "/api/v1/namespaces/" + s.ns + "/serviceaccounts/claude/token"
	const body = `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":3600}}`
	for _, accept := range []string{mediaJSON, "application/vnd.kubernetes.protobuf", "application/yaml", "application/cbor"} {
		a := s.do(request{method: "POST", path: path, header: []string{"Content-Type: " + mediaJSON, "Accept: " + accept}, body: body})
		if a.code != 201 && a.code != 406 || strings.Contains(string(a.body), "eyJ") {
			t.Errorf("%s: %d %.400s", accept, a.code, a.body)
		}
	}
	if r := must(t, s.kubectl("", "create", "token", "claude")); !strings.HasPrefix(r.Stdout, "gbm-") {
		t.Errorf("the token is not masked: %s", r.Stdout)
	}
	var o struct{ Status struct{ Token string } }
	a := s.send("POST", path, mediaJSON, body)
	if err := json.Unmarshal(a.body, &o); err != nil {
		t.Fatal(err)
	}
	a = s.send("POST", "/api/v1/namespaces/"+s.ns+"/configmaps", mediaJSON, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"t":"`+o.Status.Token+`"}}`)
	if a.code != 409 {
		t.Errorf("the placeholder of a token is taken: %d %s", a.code, a.body)
	}
	s.check()
}

// M45: nothing that the gateway answers holds its own credential for the cluster.
func TestM45NoUpstreamCredential(t *testing.T) {
	s := newScene(t)
	s.hideKeys()
	for _, path := range []string{"/", "/api", "/apis", "/version", "/healthz?verbose", "/metrics", "/configz", "/debug/pprof/cmdline", "/logs", "/../data/audit", "/apis/authentication.k8s.io/v1", "/none"} {
		s.do(request{path: path})
	}
	s.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", mediaJSON, `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`)
	s.kubectl("", "-v=10", "auth", "whoami")
	s.kubectl("", "config", "view", "--raw")
	s.check()
}
