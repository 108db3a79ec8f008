package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// heldScene is a gateway at which every call of the model waits for ada, for two seconds at a time, and Claude Code.
func heldScene(t *testing.T) (*lab.Gateway, *lab.Messages, *client.Client) {
	t.Helper()
	m := lab.StartMessages(t, lab.Turn{Text: "all is done"})
	policy := "rules:\n  - {id: r1, protocol: model, effect: approve, reason: a person is asked}\n"
	g := lab.StartBareGateway(t, binary, lab.Options{Targets: m.Target("anthropic", ""), Policy: map[string]string{"p.yaml": policy}, Config: "approvals: {holdOthers: 2s}\n"})
	return g, m, g.API(g.Person("ada", "approvers"))
}

// pendingModel waits until somebody is asked, and tries times were made.
func pendingModel(t *testing.T, g *lab.Gateway, desk *client.Client, tries int) access.Approval {
	t.Helper()
	for deadline := time.Now().Add(lab.Patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		page, err := desk.Approvals(t.Context(), access.ApprovalPending)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) == 1 && len(allModel(t, g)) >= tries {
			return page.Items[0]
		}
	}
	t.Fatal("nobody was asked")
	return access.Approval{}
}

// allModel gives all calls of the model on record.
func allModel(t *testing.T, g *lab.Gateway) []access.Record {
	t.Helper()
	page, err := g.API(g.Person("grace", "auditors")).Operations(t.Context(), client.Query{Target: "anthropic", Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	return page.Items
}

// A call that is held outlasts the client's patience with one request: Claude Code asks again by itself, joins the same
// approval, and goes on when a person says yes; it runs once.
func TestClaudeCodeIsApproved(t *testing.T) {
	g, m, desk := heldScene(t)
	done := make(chan lab.Result, 1)
	go func() { done <- g.NewClaude(t, "anthropic", g.Person("claude")).Print("do something") }()
	a := pendingModel(t, g, desk, 2)
	if !strings.Contains(a.Operation.Model.Prompt, "do something") || a.Operation.Principal.Name != "claude" || len(m.Asked()) != 0 {
		t.Errorf("asked about %+v, and %d requests were sent", a.Operation.Model, len(m.Asked()))
	}
	whole, err := desk.Approval(t.Context(), a.ID)
	if err != nil || !strings.Contains(whole.Card.Object, "do something") || !strings.Contains(whole.Card.Object, "X-Claude-Code-Session-Id: "+a.Operation.Model.Conversation) {
		t.Errorf("%v, the card says %.500s", err, whole.Card.Object)
	}
	if _, err := desk.Answer(t.Context(), a.ID, client.Answer{Yes: true, Scope: access.ScopeOnce}); err != nil {
		t.Fatal(err)
	}
	r := <-done
	var said struct{ Result string }
	if err := json.Unmarshal([]byte(r.Stdout), &said); err != nil || r.Code != 0 || said.Result != "all is done" {
		t.Errorf("exit %d, %v\n%s", r.Code, err, r.Out())
	}
	ran := 0
	for _, r := range allModel(t, g) {
		switch {
		case r.Refused == nil:
			ran++
			if r.Approval != a.ID {
				t.Errorf("it ran by %q", r.Approval)
			}
		case r.Refused.Approval != a.ID:
			t.Errorf("refused: %+v", r.Refused)
		}
	}
	if ran != 1 || len(m.Asked()) != 1 {
		t.Errorf("it ran %d times, and was sent %d times", ran, len(m.Asked()))
	}
}

// A no is printed at once, word for word, and ends it.
func TestClaudeCodeIsDenied(t *testing.T) {
	g, m, desk := heldScene(t)
	done := make(chan lab.Result, 1)
	go func() { done <- g.NewClaude(t, "anthropic", g.Person("claude")).Print("do something") }()
	a := pendingModel(t, g, desk, 1)
	if _, err := desk.Answer(t.Context(), a.ID, client.Answer{Reason: "not on a Friday"}); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.Code == 0 || !strings.Contains(r.Out(), "gatebook: denied by ada: not on a Friday") || len(m.Asked()) != 0 {
		t.Errorf("exit %d, %d requests were sent\n%s", r.Code, len(m.Asked()), r.Out())
	}
}

// Who has gone is not acted for: the yes that comes after it waits for the same request, and nothing is sent.
func TestClaudeCodeIsGone(t *testing.T) {
	g, m, desk := heldScene(t)
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan lab.Result, 1)
	go func() { done <- g.NewClaude(t, "anthropic", g.Person("claude")).PrintUntil(ctx, "do something") }()
	a := pendingModel(t, g, desk, 1)
	leave()
	<-done
	abandoned(t, desk, a.ID)
	if _, err := desk.Answer(t.Context(), a.ID, client.Answer{Yes: true, Scope: access.ScopeOnce}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(lab.Patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if all := allModel(t, g); len(all) > 0 && all[0].Outcome != nil { // its last attempt has ended
			break
		}
	}
	time.Sleep(3 * time.Second) // longer than anything is held
	if n := len(m.Asked()); n != 0 {
		t.Errorf("%d requests were sent for a client that had gone", n)
	}
	if a, err := desk.Approval(t.Context(), a.ID); err != nil || a.State != access.ApprovalGranted {
		t.Errorf("the approval is %s, %v", a.State, err)
	}
}
