package e2e

import (
	"strings"
	"testing"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// The whole spine once: an agent reads, a secret is masked, a deletion waits for a person, runs once, and all of it is
// in the book.
func TestSpine(t *testing.T) {
	ns := namespace(t)
	must(t, admin(t, "", "-n", ns, "create", "secret", "generic", "db", "--from-literal=password=correct-horse-battery"))
	must(t, admin(t, "", "create", "namespace", ns+"-old"))
	g := cluster.StartGateway(t, binary, lab.Options{})
	agent := g.Agent(ns, "claude", "")

	out := must(t, g.Kubectl(agent, "", "-n", ns, "get", "secret", "db", "-o", "yaml")).Stdout
	if strings.Contains(out, "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5") || !strings.Contains(out, "password:") {
		t.Errorf("the secret is not masked:\n%s", out)
	}
	must(t, g.Kubectl(agent, "", "get", "pods", "-A"))

	deleted := make(chan lab.Result, 1)
	go func() { deleted <- g.Kubectl(agent, "", "delete", "namespace", ns+"-old", "--wait=false") }()
	approver := g.API(g.Person("ada", "approvers"))
	a := pending(t, approver, "delete namespace "+ns+"-old")
	if a.Operation.Principal.Name != "system:serviceaccount:"+ns+":claude" || a.Decision.Risk < access.RiskHigh {
		t.Errorf("the card says %s, risk %s", a.Operation.Principal.Name, a.Decision.Risk)
	}
	must(t, admin(t, "", "get", "namespace", ns+"-old"))
	if _, err := approver.Answer(t.Context(), a.ID, client.Answer{Yes: true, Reason: "it is old", Scope: access.ScopeOnce}); err != nil {
		t.Fatal(err)
	}
	if r := <-deleted; r.Code != 0 {
		t.Errorf("after approval: %s", r.Out())
	}

	auditor := g.API(g.Person("grace", "auditors"))
	if r := found(t, auditor, client.Query{Approval: a.ID}, 1); r[0].Outcome.Code != 200 {
		t.Errorf("the deletion in the book: %+v", r[0].Outcome)
	}
}
