package attack

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// askPolicy asks about every change; approvers is further YAML of who is asked.
func askPolicy(approvers string) map[string]string {
	return map[string]string{"ask.yaml": `rules:
  - {id: reads, protocol: kubernetes, effect: allow, verbs: [get, list, watch, head]}
  - {id: changes, protocol: kubernetes, effect: approve, verbs: [create, update, patch, delete], reason: a person looks at every change, approvers: {` + approvers + `}}
`}
}

// shortHold makes the gateway refuse a held request soon: then the same request joins the same approval.
const shortHold = "approvals: {hold: 300ms, holdOthers: 300ms}\n"

// ask is an agent whose changes are asked about.
type ask struct {
	t     *testing.T
	g     *lab.Gateway
	ns    string
	agent string
	who   string
	desk  *client.Client // of an approver
}

func newAsk(t *testing.T, approvers string, o lab.Options) *ask {
	t.Helper()
	if o.Policy == nil {
		o.Policy = askPolicy(approvers)
	}
	if !strings.Contains(o.Config, "approvals:") {
		o.Config += shortHold
	}
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, o)
	t.Cleanup(func() { admin(t, "", "delete", "clusterrolebinding", "agent-"+ns+"-claude", "--wait=false") })
	return &ask{t: t, g: g, ns: ns, agent: g.Agent(ns, "claude", ""), who: "system:serviceaccount:" + ns + ":claude", desk: g.API(g.Person("ada", "approvers"))}
}

// creating makes an object with a new name each time it runs, so that executions can be counted.
func (a *ask) creating(name string) request {
	return request{method: "POST", path: "/t/lab/api/v1/namespaces/" + a.ns + "/configmaps", token: a.agent, header: []string{"Content-Type: application/json", "User-Agent: agent"},
		body: fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"%s-"},"data":{"text":"one"}}`, name)}
}

// made counts the executions.
func (a *ask) made(name string) int {
	a.t.Helper()
	names := strings.Fields(must(a.t, admin(a.t, "", "-n", a.ns, "get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}")).Stdout)
	return len(slices.DeleteFunc(names, func(s string) bool { return !strings.HasPrefix(s, name+"-") }))
}

func (a *ask) send(q request) answer { a.t.Helper(); return over(a.t, a.g, h1).do(q) }

// pending sends a request about which a person is asked, and gives the approval.
func (a *ask) pending(q request) access.ApprovalID {
	a.t.Helper()
	r := a.send(q)
	id := approvalOf(a.t, r)
	if r.code != http.StatusForbidden || id == "" {
		a.t.Fatalf("nobody was asked: %d %.300q", r.code, r.body)
	}
	return id
}

// approvalOf is the approval that a refusal names.
func approvalOf(t *testing.T, r answer) access.ApprovalID {
	t.Helper()
	if r.code/100 == 2 {
		return ""
	}
	s := r.status(t)
	if s.Details == nil {
		return ""
	}
	for _, c := range s.Details.Causes {
		if c.Type == "GatebookApproval" {
			return access.ApprovalID(c.Message)
		}
	}
	return ""
}

func (a *ask) approve(id access.ApprovalID) {
	a.t.Helper()
	if _, err := a.desk.Answer(a.t.Context(), id, client.Answer{Yes: true, Scope: access.ScopeOnce}); err != nil {
		a.t.Fatal(err)
	}
}

// runs asserts that a request runs now, as one execution more.
func (a *ask) runs(q request, name string) {
	a.t.Helper()
	before := a.made(name)
	if r := a.send(q); r.code != http.StatusCreated {
		a.t.Errorf("after approval: %d %.300q", r.code, r.body)
	}
	if n := a.made(name); n != before+1 {
		a.t.Errorf("it ran %d times", n-before)
	}
}

// asksAnew asserts that a request is not covered by old, and reaches nothing.
func (a *ask) asksAnew(q request, name string, old access.ApprovalID) {
	a.t.Helper()
	before := a.made(name)
	r := a.send(q)
	switch id := approvalOf(a.t, r); {
	case r.code == http.StatusForbidden && id != "" && id != old:
	case r.code == http.StatusBadRequest || r.code == http.StatusUnsupportedMediaType: // not even asked about
	default:
		a.t.Errorf("answered %d %.300q", r.code, r.body)
	}
	if n := a.made(name); n != before {
		a.t.Errorf("it ran %d times under an approval of something else", n-before)
	}
}

// I82, I105: an approval is for these bytes, this principal, this target, this policy. A request that differs in
// anything that the cluster would get asks anew; the one that was approved runs, once.
func TestI82I105ChangedAfterApproval(t *testing.T) {
	a := newAsk(t, "", lab.Options{Targets: "  - {name: twin, kubeconfig: '" + cluster.Kubeconfig + "', accounts: [lab]}\n"})
	original := a.creating("bound")
	other := a.g.Agent(a.ns, "other", "")
	id := a.pending(original)
	a.approve(id)
	changed := func(f func(*request)) request {
		q := original
		q.header = slices.Clone(q.header)
		f(&q)
		return q
	}
	for name, q := range map[string]request{
		"a value":                   changed(func(q *request) { q.body = strings.Replace(q.body, "one", "two", 1) }),
		"a space":                   changed(func(q *request) { q.body += " " }),
		"a key more":                changed(func(q *request) { q.body = strings.Replace(q.body, `"data":{`, `"data":{"b":"c",`, 1) }),
		"a key twice":               changed(func(q *request) { q.body = strings.Replace(q.body, `"data":{`, `"data":{"text":"x"},"data":{`, 1) }),
		"an escape":                 changed(func(q *request) { q.body = strings.Replace(q.body, "one", `\u006fne`, 1) }),
		"a header more":             changed(func(q *request) { q.header = append(q.header, "X-More: 1") }),
		"a header twice":            changed(func(q *request) { q.header = append(q.header, "User-Agent: agent") }),
		"another content type":      changed(func(q *request) { q.header[0] = "Content-Type: application/json; charset=utf-8" }),
		"as YAML":                   changed(func(q *request) { q.header[0] = "Content-Type: application/yaml" }),
		"another agent":             changed(func(q *request) { q.header[1] = "User-Agent: agent/2" }),
		"an answer of another kind": changed(func(q *request) { q.header = append(q.header, "Accept: application/yaml") }),
		"a query":                   changed(func(q *request) { q.path += "?fieldManager=x" }),
		"an empty query":            changed(func(q *request) { q.path += "?pretty=" }),
		"dry run":                   changed(func(q *request) { q.path += "?dryRun=All" }),
		"an escaped letter":         changed(func(q *request) { q.path = strings.Replace(q.path, "configmaps", "%63onfigmaps", 1) }),
		"a slash at the end":        changed(func(q *request) { q.path += "/" }),
		"two slashes":               changed(func(q *request) { q.path = strings.Replace(q.path, "/configmaps", "//configmaps", 1) }),
		"an escaped slash":          changed(func(q *request) { q.path = strings.Replace(q.path, "/configmaps", "%2Fconfigmaps", 1) }),
		"a dot":                     changed(func(q *request) { q.path = strings.Replace(q.path, "/configmaps", "/./configmaps", 1) }),
		"another target":            changed(func(q *request) { q.path = strings.Replace(q.path, "/t/lab/", "/t/twin/", 1) }),
		"another namespace":         changed(func(q *request) { q.path = strings.Replace(q.path, a.ns, "default", 1) }),
		"another principal":         changed(func(q *request) { q.token = other }),
	} {
		t.Run(name, func(t *testing.T) { a := *a; a.t = t; a.asksAnew(q, "bound", id) })
	}
	// What differs between two calls of the same command does not count.
	same := changed(func(q *request) {
		q.header = append(q.header, "Traceparent: 00-1-2-03", "Kubectl-Session: 7", "X-Forwarded-For: 1.2.3.4")
	})
	a.runs(same, "bound")
	a.asksAnew(original, "bound", id)
}

// I82: what was approved under one policy is asked about again under another.
func TestI82PolicyChangedAfterApproval(t *testing.T) {
	a := newAsk(t, "", lab.Options{})
	q := a.creating("policy")
	id := a.pending(q)
	a.approve(id)
	changed := askPolicy("")
	changed["more.yaml"] = "rules:\n  - {id: more, protocol: kubernetes, effect: deny, verbs: [bind], reason: no}\n"
	a.g.WritePolicy(changed)
	for deadline := time.Now().Add(lab.Patience); !strings.Contains(a.g.Log(), "policy loaded"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the policy is not loaded anew")
		}
	}
	a.asksAnew(q, "policy", id)
}
