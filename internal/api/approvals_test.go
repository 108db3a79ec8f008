package api

import (
	"errors"
	"net/http"
	"slices"
	"testing"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
)

// An approval is seen by who asked, by those whom policy names, and by those with a role; nobody else learns that it is
// there.
func TestApprovals(t *testing.T) {
	w := open(t)
	anyone, named := w.question("anyone"), w.question("named", people["owner"].Key())
	sees := map[string][]access.ApprovalID{
		"agent": {anyone, named}, "reborn": nil, "other": nil, "nobody": nil, "admin": nil, "owner": {named},
		"approver": {anyone, named}, "auditor": {anyone, named}, "break-glass": {anyone, named},
	}
	for name := range people {
		c := w.client(name)
		page, err := c.Approvals(t.Context(), access.ApprovalPending)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) != len(sees[name]) || page.Next != "" {
			t.Errorf("%s is shown %d approvals, want %d", name, len(page.Items), len(sees[name]))
		}
		for _, id := range []access.ApprovalID{anyone, named} {
			a, err := c.Approval(t.Context(), id)
			if slices.Contains(sees[name], id) {
				if err != nil || a.ID != id || a.Operation.Command == "" {
					t.Errorf("%s sees %+v %v", name, a, err)
				}
				continue
			}
			var e *client.Error
			if !errors.As(err, &e) || e.Status != http.StatusNotFound {
				t.Errorf("%s sees %s: %v", name, id, err)
			}
			if _, err := c.Answer(t.Context(), id, client.Answer{Yes: true}); !errors.As(err, &e) || e.Status != http.StatusNotFound {
				t.Errorf("%s answers what they do not see: %v", name, err)
			}
		}
	}
}

// The page of an agent is its own, however many others ask.
func TestApprovalsPage(t *testing.T) {
	w := open(t)
	for i := range 101 { // more than a page
		w.question(string(rune('a' + i)))
	}
	page, err := w.client("other").Approvals(t.Context())
	if err != nil || len(page.Items) != 0 || page.Next != "" {
		t.Errorf("%d items, next %q, %v", len(page.Items), page.Next, err)
	}
}

// Who asks learns how it was answered, and nothing of how rules work or who else the approver is.
func TestRequesterSeesLess(t *testing.T) {
	w := open(t)
	id := w.question("q")
	if _, err := w.client("approver").Answer(t.Context(), id, client.Answer{Yes: true, Reason: "fine"}); err != nil {
		t.Fatal(err)
	}
	for name, all := range map[string]bool{"agent": false, "approver": true, "auditor": true} {
		a, err := w.client(name).Approval(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		page, err := w.client(name).Approvals(t.Context())
		if err != nil || len(page.Items) != 1 {
			t.Fatal(page, err)
		}
		for _, x := range []access.Approval{a.Approval, page.Items[0]} {
			by, rule := x.Answers[0].Approver, x.Decision.Rules[0]
			if by.Name != "approver" || x.Answers[0].Reason != "fine" || rule.ID != "r" {
				t.Errorf("%s sees too little: %+v", name, x)
			}
			if (by.TokenID != "") != all || (len(by.Aliases) > 0) != all || (rule.Error != "") != all || (len(rule.Unknown) > 0) != all {
				t.Errorf("%s sees %+v of who answered, and of the rule %+v", name, by, rule)
			}
		}
	}
}

// Who may answer what; the requester never, and no workload.
func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		in   client.Answer
		want int
	}{
		{"approver", client.Answer{Yes: true}, 200},
		{"approver", client.Answer{Yes: false, Reason: "no"}, 200},
		{"approver", client.Answer{Yes: true, BreakGlass: true, Reason: "fire"}, 403},
		{"break-glass", client.Answer{Yes: true}, 403},
		{"break-glass", client.Answer{Yes: true, BreakGlass: true}, 400},
		{"break-glass", client.Answer{Yes: true, BreakGlass: true, Reason: "fire"}, 200},
		{"agent", client.Answer{Yes: true}, 403},
		{"agent", client.Answer{Yes: false}, 403},
		{"auditor", client.Answer{Yes: true}, 403},
		{"admin", client.Answer{Yes: true}, 404},
		{"other", client.Answer{Yes: true}, 404},
	} {
		w := open(t)
		id := w.question("q")
		a, err := w.client(c.name).Answer(t.Context(), id, c.in)
		code := 200
		var e *client.Error
		if errors.As(err, &e) {
			code = e.Status
		}
		if code != c.want {
			t.Errorf("%s %+v: %d %v, want %d", c.name, c.in, code, err, c.want)
		}
		if got, err := w.desk.Get(t.Context(), id); err != nil || (got.State == access.ApprovalPending) != (c.want != 200) {
			t.Errorf("%s %+v: it is %s (%v)", c.name, c.in, got.State, err)
		}
		if c.want != 200 {
			continue
		}
		if len(a.Answers) != 1 || a.Answers[0].Approver.Name != c.name {
			t.Errorf("answered by %+v", a.Answers)
		}
		var again *client.Error
		if _, err := w.client("approver").Answer(t.Context(), id, client.Answer{Yes: true}); !errors.As(err, &again) || again.Status != http.StatusConflict {
			t.Errorf("answered again: %v", err)
		}
	}
}
