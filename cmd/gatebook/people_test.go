package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
)

// person runs command lines as somebody, at a gateway that runs.
type person func(args ...string) (out string, code int)

// front serves the gateway's API.
func (s *site) front(g *gateway) func(who string) person {
	s.t.Helper()
	front := httptest.NewTLSServer(g.own())
	s.t.Cleanup(front.Close)
	dir := s.t.TempDir()
	file := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			s.t.Fatal(err)
		}
		return path
	}
	ca := file("ca", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}))
	return func(who string) person {
		token := file(who, []byte(s.issuer.Sign(s.issuer.Claims(time.Now(), "gatebook", map[string]any{"sub": who}))))
		return func(args ...string) (string, int) {
			s.t.Helper()
			out, err := invoke(s.t, append(args, "--gateway", front.URL, "--ca", ca, "--token-file", token)...)
			if err != nil {
				return out + err.Error(), report(err)
			}
			return out, 0
		}
	}
}

// What people run to see what happened, and to take back what they allowed.
func TestVerbsForPeople(t *testing.T) {
	s := newSite(t, "")
	g := s.start()
	h := s.live(g)
	for i := range 120 { // more than a page
		op := h.op
		op.ID, op.Command = access.OperationID(access.NewID(time.Now())), fmt.Sprint("kubectl get pod n", i)
		op.Kubernetes = &access.Kubernetes{Verb: "get", Resource: "pods", Namespace: "n"}
		o, err := g.recorder.Begin(&op, access.Decision{Effect: access.Allow, Risk: access.RiskMedium}, nil, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.End(access.Outcome{Code: 200, ExitCode: -1}); err != nil {
			t.Fatal(err)
		}
	}
	as := s.front(g)
	auditor, admin, restorer := as("auditor"), as("admin"), as("restorer")
	s.remembers(g, h)
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if out, _ := auditor("search", "--limit", "500"); strings.Count(out, "kubectl get pod") == 120 || time.Now().After(until) {
			break
		}
	}
	revoked, _ := admin("revoke", "--list")
	id, _, _ := strings.Cut(revoked, " ")
	key := []string{"--key", filepath.Join(s.data, "auditor.key")}
	for _, c := range []struct {
		as   person
		args string
		code int
		says string
	}{
		{auditor, "search --limit 500", 0, "kubectl get pod n0\n"},
		{auditor, "search --limit 110 --risk medium --namespace n --since 1h", 0, "kubectl get pod n10\n"},
		{auditor, "search --limit 0", exitUsage, "--limit"},
		{auditor, "search --effect maybe", exitUsage, `"maybe"`},
		{auditor, "search --risk huge", exitUsage, `"huge"`},
		{auditor, "search --refused maybe", exitUsage, `"maybe"`},
		{auditor, "approvals --state open", exitUsage, `"open"`},
		{auditor, "approvals --state used", 0, "kubectl delete namespace a"},
		{auditor, "show nonsense", exitFailed, `no session or operation "nonsense"`},
		{auditor, "show ../x", exitUsage, "is not a session"},
		{auditor, "show s1", 0, "yes, once by approver"},
		{auditor, "show s1", 0, "note approval.used"},
		{auditor, "show o1", 0, "ended: 200"},
		{admin, "search", exitFailed, "auditor"},
		{admin, "approvals end " + string(h.used) + " --reason x", exitFailed, "no approval"},
		{as("approver"), "approvals end " + string(h.used) + " --reason x", exitFailed, "only a yes that can still be used"},
		{as("approver"), "approvals end " + string(h.used), exitUsage, "--reason"},
		{admin, "revoke --subject people|x", exitUsage, "--reason"},
		{admin, "revoke --subject people|x --session y --reason z", exitUsage, "give one of"},
		{admin, "revoke --undo " + id + " --reason x", exitFailed, "restorer"},
		{restorer, "revoke --undo " + id + " --reason mistake", 0, "taken back: " + id},
		{restorer, "revoke --undo " + id + " --reason mistake", exitFailed, "no revocation in force"},
	} {
		args := strings.Fields(c.args)
		if args[0] == "show" {
			args = append(args, key...)
		}
		if out, code := c.as(args...); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("gatebook %s: %d, want %d with %q\n%.2000s", c.args, code, c.code, c.says, out)
		}
	}
	if code, out := s.call(g, "mallory", "GET", "whoami", ""); code != 200 {
		t.Errorf("let in again, mallory gets %d %s", code, out)
	}
	for _, args := range []string{"whoami", "sessions", "search --limit 3", "search nothing", "show s1", "approvals --all", "approvals " + string(h.used), "revoke", "policy explain o1"} {
		given := append(strings.Fields(args), "--json")
		if given[0] == "show" {
			given = append(given, key...)
		}
		out, code := auditor(given...)
		if d := json.NewDecoder(strings.NewReader(out)); code != 0 || out == "" || strings.Contains(out, `"items":null`) {
			t.Errorf("gatebook %s --json: %d %.300s", args, code, out)
		} else {
			for d.More() {
				var v any
				if err := d.Decode(&v); err != nil {
					t.Errorf("gatebook %s --json: %v: %.300s", args, err, out)
					break
				}
			}
		}
	}
	s.stop(g)
}
