package attack

import (
	"strings"
	"testing"

	"gatebook/internal/access"
	"gatebook/test/lab"
)

// H73: a body that does not come is refused by the limit's name, with nothing upstream and one record.
func TestH73SlowBody(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Config: "limits: {bodyTimeout: 500ms}\n", Policy: map[string]string{"all.yaml": allowAll}})
	audit := cluster.Audit(t)
	for path, token := range map[string]string{
		"/t/lab/api/v1/namespaces/default/configmaps": g.Person("actor-slow"),
		"/gatebook/v1/revocations":                    g.Person("root", "admins"),
	} {
		c := over(t, g, h1)
		c.send(request{method: "POST", path: path, token: token, header: []string{"Content-Type: application/json", "Transfer-Encoding: chunked"}})
		c.write([]byte("1\r\n{\r\n"))
		if a := c.read("POST"); a.code != 408 || !strings.Contains(string(a.body), "limits.bodyTimeout, 500ms") || !c.isClosed() {
			t.Errorf("%s: answered %d %s", path, a.code, a.body)
		}
	}
	refusedOnce(t, g, "actor-slow", access.CodeTooSlow)
	if e := reached(t, g, audit, "actor-slow"); len(e) > 0 {
		t.Errorf("reached the API server: %+v", e)
	}
}
