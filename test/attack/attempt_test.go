package attack

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatebook/internal/access"
	"gatebook/test/lab"
)

// attempt is one request of a table, and what must become of it.
type attempt struct {
	name string
	request
	// over is h1, h2, or empty: both.
	over string
	// code is the refusal's. Empty: it must not be refused by the gateway.
	code access.Code
	// rule, where set, must be among those that decided.
	rule string
	// check, where set, looks at the record of the operation.
	check func(t *testing.T, r access.Record)
	// closes says that nothing more may be read on the connection.
	closes bool
}

var actors atomic.Int64

// attack makes each attempt as a principal of its own, and asserts for each: the right refusal as a Status, not one
// request at the API server, and one record. token gives the credential of a principal by name; nil: a person, whom the
// cluster itself gives no rights.
func attack(t *testing.T, g *lab.Gateway, table []attempt) {
	t.Helper()
	audit := cluster.Audit(t)
	type made struct {
		attempt
		t   string
		who string
	}
	var all []made
	for _, a := range table {
		for _, proto := range []string{h1, h2} {
			if a.over != "" && a.over != proto {
				continue
			}
			m := made{attempt: a, t: a.name + " by " + proto, who: fmt.Sprintf("actor-%05d", actors.Add(1))}
			if m.token == "" {
				m.token = g.Person(m.who)
			}
			c := over(t, g, proto)
			got := c.do(m.request)
			assertAnswer(t, m.t, m.attempt, got)
			if m.closes && !c.isClosed() {
				t.Errorf("%s: the connection goes on", m.t)
			}
			c.Close()
			all = append(all, m)
		}
	}
	records, events := map[string][]access.Record{}, map[string][]lab.AuditEvent{}
	lookups := map[string]bool{} // what the gateway read for an operation
	for _, r := range book(t, g, "") {
		if r.Operation.Parent != "" {
			lookups[string(r.Operation.ID)] = true
			continue
		}
		records[r.Operation.Principal.Name] = append(records[r.Operation.Principal.Name], r)
	}
	for _, e := range audit.Events(t, "actor-") {
		if !lookups[e.ID] {
			events[e.Impersonated.Username] = append(events[e.Impersonated.Username], e)
		}
	}
	for _, m := range all {
		assertRecorded(t, m.t, m.attempt, records[m.who], events[m.who])
	}
}

func assertAnswer(t *testing.T, name string, want attempt, got answer) {
	t.Helper()
	if want.code == "" {
		if strings.Contains(string(got.body), "gatebook:") || got.code == 0 {
			t.Errorf("%s: answered %d %.300s", name, got.code, got.body)
		}
		return
	}
	if got.code == 0 {
		t.Errorf("%s: no answer (%s), want %s", name, got.body, want.code)
		return
	}
	if want.method == "HEAD" {
		if got.code < 400 {
			t.Errorf("%s: answered %d", name, got.code)
		}
		return
	}
	s := got.status(t)
	if c := cause(s, "GatebookCode"); c != string(want.code) || int(s.Code) != got.code || s.Status != metav1.StatusFailure {
		t.Errorf("%s: answered %d with code %q, want %s: %.400s", name, got.code, c, want.code, got.body)
	}
}

// cause gives the message of a Status's first cause of a type, or "".
func cause(s metav1.Status, kind string) string {
	if s.Details == nil {
		return ""
	}
	for _, c := range s.Details.Causes {
		if string(c.Type) == kind {
			return c.Message
		}
	}
	return ""
}

func assertRecorded(t *testing.T, name string, want attempt, records []access.Record, events []lab.AuditEvent) {
	t.Helper()
	if want.code != "" && len(events) > 0 {
		t.Errorf("%s: reached the API server: %+v", name, events)
	}
	if want.code == "" && len(events) == 0 {
		t.Errorf("%s: did not reach the API server", name)
	}
	if len(records) != 1 {
		t.Errorf("%s: %d records, want 1: %+v", name, len(records), records)
		return
	}
	r := records[0]
	switch {
	case want.code == "" && r.Refused != nil:
		t.Errorf("%s: recorded as refused: %+v", name, r.Refused)
	case want.code != "" && (r.Refused == nil || r.Refused.Code != want.code):
		t.Errorf("%s: recorded as %+v (%s), want %s", name, r.Refused, r.Operation.Command, want.code)
	}
	if want.rule != "" && !decidedBy(r.Decision, want.rule) {
		t.Errorf("%s: decided by %+v, want rule %s", name, r.Decision.Rules, want.rule)
	}
	if want.check != nil {
		want.check(t, r)
	}
}

// decidedBy reports whether a rule was met and had the decision's own effect.
func decidedBy(d access.Decision, rule string) bool {
	for _, r := range d.Rules {
		if r.ID == rule && r.Effect == d.Effect {
			return true
		}
	}
	return false
}
