package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// The gateway dies, and its index is gone: who was revoked stays out, and a yes that was used is used. When the journal
// cannot make up for it, the gateway does not start until the index is made anew from the book.
func TestIndexIsLost(t *testing.T) {
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{Config: "approvals: {hold: 1ms}\n"})
	agent, revoked := g.Agent(ns, "claude", ""), g.Agent(ns, "mallory", "")
	remove := func() lab.Result { return g.Kubectl(agent, "", "delete", "configmap", "a", "-n", ns, "--wait=false") }
	must(t, admin(t, "", "create", "configmap", "a", "-n", ns))
	if r := remove(); r.Code == 0 || !strings.Contains(r.Stderr, "is pending") {
		t.Fatal(r.Out())
	}
	approver := g.API(g.Person("ada", "approvers"))
	id := pending(t, approver, "configmap").ID
	if _, err := approver.Answer(t.Context(), id, client.Answer{Yes: true}); err != nil {
		t.Fatal(err)
	}
	must(t, remove())
	if _, err := g.API(g.Person("root", "admins")).Revoke(t.Context(), access.Revocation{Subject: "lab|system:serviceaccount:" + ns + ":mallory", Reason: "odd"}); err != nil {
		t.Fatal(err)
	}
	remembers := func(when string) {
		t.Helper()
		if r := g.Kubectl(revoked, "", "get", "pods", "-n", ns); r.Code == 0 || !strings.Contains(r.Stderr, "was revoked") {
			t.Errorf("%s, who was revoked: %d %s", when, r.Code, r.Out())
		}
		if a, err := approver.Approval(t.Context(), id); err != nil || a.State != access.ApprovalUsed {
			t.Errorf("%s, the approval is %s (%v)", when, a.State, err)
		}
		if r := remove(); r.Code == 0 || strings.Contains(r.Out(), "not found") || strings.Contains(r.Stderr, string(id)) {
			t.Errorf("%s, the approval that was used: %d %s", when, r.Code, r.Out())
		}
	}
	lose := func() {
		t.Helper()
		files, err := filepath.Glob(g.Data("index.db*"))
		if err != nil || len(files) == 0 {
			t.Fatal(err)
		}
		for _, f := range files {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	g.Kill()
	lose()
	g.Start()
	remembers("after a crash")

	g.Stop() // all is sealed
	lose()
	if r := g.Serve(lab.Patience); r.Code != 1 || !strings.Contains(r.Stderr, "gatebook index rebuild") {
		t.Errorf("it starts without its index: %d %s", r.Code, r.Out())
	}
	if r := g.CLI("", "index", "rebuild", "--config", filepath.Join(g.Dir, "config.yaml")); r.Code != 0 {
		t.Fatal(r.Out())
	}
	g.Start()
	remembers("rebuilt")
}
