package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// StartBareGateway starts the binary without a cluster: its targets are those of Options.Targets, and everybody is a
// person of the test's own issuer. It is stopped with the test.
func StartBareGateway(t testing.TB, bin string, o Options) *Gateway {
	t.Helper()
	dir := t.TempDir()
	listen, admin := FreePort(t), FreePort(t)
	g := &Gateway{t: t, bin: bin, env: o.Env, Dir: dir, URL: fmt.Sprintf("https://localhost:%d", listen), Admin: fmt.Sprintf("http://127.0.0.1:%d", admin)}
	if g.data = o.Data; g.data == "" {
		g.data = filepath.Join(dir, "data")
	}
	var err error
	if g.people, err = newPeople(filepath.Join(dir, "people.jwks")); err != nil {
		t.Fatal(err)
	}
	policy := ""
	if o.Policy != nil {
		policy = "policy: " + filepath.Join(dir, "policy") + "\n"
		g.WritePolicy(o.Policy)
	}
	config := fmt.Sprintf(`listen: 127.0.0.1:%d
admin: 127.0.0.1:%d
data: %s
%sissuers:
  - {name: people, url: '%s', audiences: [gatebook], jwksFile: %s}
%stargets:
%sroles:
  approvers: {groups: [approvers]}
  auditors: {groups: [auditors]}
  admins: {groups: [admins]}
  breakGlass: {groups: [glass]}
drain: 1s
%s`, listen, admin, g.data, policy, peopleIssuer, filepath.Join(dir, "people.jwks"), o.Issuers, o.Targets, o.Config)
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Start()
	t.Cleanup(func() {
		g.Stop()
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", g.Log())
		}
	})
	return g
}
