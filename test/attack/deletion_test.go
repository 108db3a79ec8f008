package attack

import (
	"net/http"
	"strings"
	"testing"
)

// M34: what the dry run of a deletion answers is stored, and known to be secret from then on wherever else it is.
func TestM34DryRunOfADeletion(t *testing.T) {
	s := newScene(t)
	value := s.canary("db", "")
	s.secret("db", "password="+value)
	s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "copy"}, "data": map[string]any{"dsn": "postgres://app:" + value + "@db"}}))
	if a := s.do(request{method: "DELETE", path: s.secretsPath() + "?dryRun=All"}); a.code != http.StatusOK || !strings.Contains(string(a.body), `"password"`) {
		t.Errorf("answered %d %s", a.code, a.body)
	}
	if a := s.do(request{path: "/api/v1/namespaces/" + s.ns + "/configmaps/copy"}); a.code != http.StatusOK || !strings.Contains(string(a.body), "postgres://app:") {
		t.Errorf("answered %d %s", a.code, a.body)
	}
	must(t, admin(t, "", "-n", s.ns, "get", "secret", "db"))
	s.check()
}
