package attack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// corp is a second issuer of people, with its own key.
type corp struct {
	key  *ecdsa.PrivateKey
	yaml string
}

func newCorp(t *testing.T) *corp {
	t.Helper()
	c := &corp{key: must2(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)}
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: c.key.Public(), KeyID: "c", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	jwks := filepath.Join(t.TempDir(), "corp.jwks")
	if err := os.WriteFile(jwks, b, 0o644); err != nil {
		t.Fatal(err)
	}
	c.yaml = "  - {name: corp, usernamePrefix: 'corp:', url: 'https://corp.test', audiences: [gatebook], jwksFile: '" + jwks + "'}\n"
	return c
}

func (c *corp) token(t *testing.T, kv map[string]any) string {
	t.Helper()
	kv["iss"] = "https://corp.test"
	return forge(t, jose.ES256, c.key, map[string]any{"kid": "c"}, tokenClaims(kv))
}

// refusesAnswer asserts that a token's holder cannot say yes, and that nothing has changed by it.
func (a *ask) refusesAnswer(token string, id access.ApprovalID, ans client.Answer) {
	a.t.Helper()
	ans.Yes = true
	_, err := a.g.API(token).Answer(a.t.Context(), id, ans)
	var e *client.Error
	if !errors.As(err, &e) || e.Status != http.StatusForbidden && e.Status != http.StatusNotFound {
		a.t.Errorf("answering: %v", err)
	}
	if x, err := a.desk.Approval(a.t.Context(), id); err != nil || x.State != access.ApprovalPending {
		a.t.Errorf("the approval is %s: %v", x.State, err)
	}
}

// I81: nobody approves their own request: not as themselves with every role, not under another name that any of their
// credentials carries, not by breaking the glass, not as a workload. Somebody else does.
func TestI81RequesterApproves(t *testing.T) {
	c := newCorp(t)
	a := newAsk(t, "", lab.Options{Issuers: c.yaml})
	everything := []string{"approvers", "auditors", "admins", "glass"}
	a.agent = a.g.Sign(tokenClaims(map[string]any{"sub": "mallory@example.com", "groups": everything, "email": "mal@example.com", "email_verified": true, "preferred_username": "mal"}))
	must(t, admin(t, "", "create", "clusterrolebinding", "mallory-"+a.ns, "--clusterrole=cluster-admin", "--user=mallory@example.com"))
	t.Cleanup(func() { admin(t, "", "delete", "clusterrolebinding", "mallory-"+a.ns, "--wait=false") })
	q := a.creating("own")
	id := a.pending(q)
	person := func(kv map[string]any) string { kv["groups"] = everything; return a.g.Sign(tokenClaims(kv)) }
	for name, token := range map[string]string{
		"the same token":                   a.agent,
		"a new token":                      person(map[string]any{"sub": "mallory@example.com"}),
		"other letters":                    person(map[string]any{"sub": "MALLORY@example.com"}),
		"by e-mail":                        person(map[string]any{"sub": "u-17", "email": "mallory@example.com", "email_verified": true}),
		"by the e-mail of the requester":   person(map[string]any{"sub": "mal@example.com"}),
		"by user name":                     person(map[string]any{"sub": "u-18", "preferred_username": "mal"}),
		"of another issuer, same subject":  c.token(t, map[string]any{"sub": "mallory@example.com", "groups": everything}),
		"of another issuer, same e-mail":   c.token(t, map[string]any{"sub": "c-1", "email": "Mal@Example.com", "email_verified": true, "groups": everything}),
		"of another issuer, its user name": c.token(t, map[string]any{"sub": "c-2", "preferred_username": "MAL", "groups": everything}),
	} {
		t.Run(name, func(t *testing.T) {
			a := *a
			a.t = t
			a.refusesAnswer(token, id, client.Answer{})
			a.refusesAnswer(token, id, client.Answer{BreakGlass: true, Reason: "it is urgent"})
		})
	}
	t.Run("a workload", func(t *testing.T) {
		a := *a
		a.t = t
		a.refusesAnswer(a.g.Agent(a.ns, "helper", ""), id, client.Answer{})
		a.refusesAnswer(a.g.Person("eve"), id, client.Answer{})                        // nobody
		a.refusesAnswer(a.g.Person("root", "admins", "auditors"), id, client.Answer{}) // an administrator is no approver
		a.refusesAnswer(a.g.Person("ada2", "approvers"), id, client.Answer{BreakGlass: true, Reason: "x"})
	})
	if n := a.made("own"); n != 0 {
		t.Errorf("it ran %d times", n)
	}
	a.approve(id)
	a.runs(q, "own")
}

// I81: a policy that names the requester, or a workload, as approver changes nothing about it.
func TestI81PolicyNamesTheRequester(t *testing.T) {
	ns := "i81-" + fmt.Sprint(os.Getpid())
	a := newAsk(t, "users: ['system:serviceaccount:"+ns+":claude', 'system:serviceaccount:"+ns+":helper', bob]", lab.Options{})
	must(t, admin(t, "", "create", "namespace", ns))
	t.Cleanup(func() { admin(t, "", "delete", "namespace", ns, "--wait=false") })
	a.ns, a.agent = ns, a.g.Agent(ns, "claude", "")
	q := a.creating("named")
	id := a.pending(q)
	a.refusesAnswer(a.agent, id, client.Answer{})
	a.refusesAnswer(a.g.Agent(ns, "helper", ""), id, client.Answer{})
	a.refusesAnswer(a.g.Person("ada", "approvers"), id, client.Answer{}) // policy asks for somebody else
	a.desk = a.g.API(a.g.Person("bob"))
	a.approve(id)
	a.runs(q, "named")
}

// I104: two approvers are two people, whatever their roles; who they were is in the book.
func TestI104DistinctApprovers(t *testing.T) {
	c := newCorp(t)
	a := newAsk(t, "count: 2, groups: [approvers]", lab.Options{Issuers: c.yaml})
	q := a.creating("two")
	id := a.pending(q)
	a.approve(id) // ada
	if r := a.send(q); approvalOf(t, r) != id {
		t.Errorf("after one of two: %d %s", r.code, r.body)
	}
	for name, token := range map[string]string{
		"again":                    a.g.Person("ada", "approvers"),
		"an administrator, again":  a.g.Person("ada", "approvers", "admins", "auditors"),
		"by an alias":              a.g.Sign(tokenClaims(map[string]any{"sub": "a-1", "groups": []string{"approvers"}, "preferred_username": "Ada"})),
		"of another issuer":        c.token(t, map[string]any{"sub": "ada", "groups": []string{"approvers"}}),
		"an administrator":         a.g.Person("root", "admins"),
		"an auditor":               a.g.Person("grace", "auditors"),
		"who breaks others' glass": a.g.Person("root", "admins", "auditors"),
	} {
		t.Run(name, func(t *testing.T) { a := *a; a.t = t; a.refusesAnswer(token, id, client.Answer{}) })
	}
	if n := a.made("two"); n != 0 {
		t.Fatalf("it ran %d times with one approver", n)
	}
	a.desk = a.g.API(a.g.Person("bob", "approvers"))
	a.approve(id)
	a.runs(q, "two")
	auditor := a.g.Person("grace", "auditors")
	page, err := a.g.API(auditor).Operations(t.Context(), client.Query{Approval: id, Refused: "false"})
	for i := 0; i < 100 && err == nil && len(page.Items) == 0; i++ {
		page, err = a.g.API(auditor).Operations(t.Context(), client.Query{Approval: id, Refused: "false"})
	}
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("the operation in the book: %+v %v", page.Items, err)
	}
	out := must(t, a.g.CLI(auditor, "show", string(page.Items[0].Operation.ID), "--key", a.g.Data("auditor.key"))).Stdout
	if !strings.Contains(out, "yes by ada") || !strings.Contains(out, "yes by bob") {
		t.Errorf("who approved is not on record:\n%s", out)
	}
}
