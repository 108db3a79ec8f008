package e2e

import (
	"os"
	"strings"
	"testing"

	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// TestEnvironment uses what `gatebook env` wrote with the programs that it is for: the token reaches the gateway, is read
// anew each time, and brings the trace along.
func TestEnvironment(t *testing.T) {
	ns := namespace(t)
	p := lab.StartPostgres(t)
	h := lab.StartGitHost(t)
	h.Repository(t, "web.git")
	g := cluster.StartGateway(t, binary, lab.Options{Targets: p.Target("shop", p.Database(t, "create table people (name text)"), "") + h.Target("code", ""), SQL: true})
	w := g.Workplace(t, g.Agent(ns, "claude", ""))
	x := g.API(g.Person("ada", "auditors"))
	for _, c := range []struct {
		script, says string
		q            client.Query
	}{
		{"kubectl -n " + ns + " get configmaps -o name", "kube-root-ca.crt", client.Query{Namespace: ns, Resource: "configmaps"}},
		{"psql -At -c 'select 40 + 2, count(*) from people'", "42|0", client.Query{Target: "shop", Text: "people"}},
		{"psql service=shop -At -c 'select 41 + 2, max(name) from people'", "43|", client.Query{Target: "shop", Text: "max"}},
		{"git clone -q " + h.URL("web.git") + " 2>&1", "empty repository", client.Query{Target: "code", Text: "heads"}},
	} {
		if r := must(t, w.Shell(c.script, "TRACEPARENT="+trace)); !strings.Contains(r.Stdout, c.says) {
			t.Errorf("%s: %s", c.script, r.Out())
		}
		if got := found(t, x, c.q, 1)[0].Operation; got.Client.Trace != trace {
			t.Errorf("%s: trace %q", c.script, got.Client.Trace)
		}
	}
	// Programs with TLS of their own find the CA; none of these has a token, which is the answer.
	for _, script := range []string{
		`curl -sS -o /dev/null -w '%{http_code}' "$GATEBOOK_URL/gatebook/v1/whoami"`,
		`node -e 'fetch(process.env.GATEBOOK_URL + "/gatebook/v1/whoami").then(r => console.log(r.status))'`,
	} {
		if r := w.Shell(script); !strings.Contains(r.Stdout, "401") {
			t.Errorf("%s: %s", script, r.Out())
		}
	}
	if err := os.WriteFile(w.Token, []byte("not.a.token"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{"kubectl get configmaps", "psql -c 'select 1'", "git ls-remote " + h.URL("web.git")} {
		if r := w.Shell(script, "GIT_TERMINAL_PROMPT=0"); r.Code == 0 {
			t.Errorf("%s: an older token is used: %s", script, r.Out())
		}
	}
}
