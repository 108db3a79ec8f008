package attribution

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/store"
)

const approvalID = "01hx0000000000000000000000"

// history is an index of one session: a prompt, two turns, a sub-agent, and what they caused.
func history(t *testing.T) (*store.Store, time.Time) {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	by := access.Principal{Issuer: "i", Subject: "claude", Name: "claude"}
	n := 0
	operation := func(id string, change func(*access.Operation)) access.IndexEntry {
		n++
		op := access.Operation{ID: access.OperationID(id), Session: "s", Time: at.Add(time.Duration(n) * time.Second), Principal: by}
		change(&op)
		return access.IndexEntry{Record: &access.Record{Operation: op, Decision: access.Decision{Effect: access.Allow}}}
	}
	turn := func(id, agent, parent, prompt string, results []string, calls ...string) []access.IndexEntry {
		e := operation(id, func(op *access.Operation) {
			op.Target = access.Target{Name: "claude", Protocol: "model"}
			op.Model = &access.Model{API: "messages", Model: "claude-x", Agent: agent, ParentAgent: parent, Prompt: prompt, Results: results}
		})
		answer := &access.ModelAnswer{}
		for _, c := range calls {
			answer.Calls = append(answer.Calls, access.ToolCall{ID: c, Name: "Bash", Input: `{"command":"do ` + c + `"}`, Emitted: e.Record.Operation.Time.Add(time.Millisecond)})
		}
		return []access.IndexEntry{e, {End: &access.Ended{ID: access.OperationID(id), Outcome: access.Outcome{Code: 200, Answer: answer}}}}
	}
	caused := func(id string, r access.Rung, change func(*access.Operation), calls ...access.CallRef) access.IndexEntry {
		return operation(id, func(op *access.Operation) {
			op.Cause = &access.Cause{Operation: op.ID, Time: op.Time, Rung: r, Method: "m", Calls: calls}
			change(op)
		})
	}
	push := func(op *access.Operation) {
		op.Target, op.Command = access.Target{Name: "git", Protocol: "git"}, "git push origin main"
		op.Git = &access.Git{Repository: "team/app", Service: "receive-pack", Ref: "refs/heads/main", Old: "1111111d4e5f60718293a4b5c6d7e8f901234567", New: "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
			Commits: []access.Commit{{ID: "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"}, {ID: "beefbee4e5f60718293a4b5c6d7e8f9012345677"}}}
	}
	apply := func(op *access.Operation) {
		op.Target, op.Command = access.Target{Name: "prod", Protocol: "kubernetes"}, "kubectl patch deployment web -n shop"
		op.Kubernetes = &access.Kubernetes{Verb: "patch", Group: "apps", Resource: "deployments", Namespace: "shop", Name: "web"}
	}
	read := func(op *access.Operation) {
		apply(op)
		op.Kubernetes.Verb = "get"
	}
	other := func(op *access.Operation) {
		apply(op)
		op.Kubernetes.Verb, op.Kubernetes.Name = "get", "web-2"
	}
	first := turn("t1", "", "", "deploy it", nil, "a", "b")
	pushed := caused("push", access.Matched, push, access.CallRef{Call: "a", Turn: "t1"})
	agent := turn("t2", "sub", "", "look at the logs", nil, "c")
	agent[0].Record.Operation.Cause = &access.Cause{Operation: "t2", Time: at, Rung: access.Matched, Method: "m", Calls: []access.CallRef{{Call: "b", Turn: "t1"}}}
	held := caused("held", access.Matched, push, access.CallRef{Call: "c", Turn: "t2"})
	held.Record.Operation.Git.New, held.Record.Operation.Git.Commits, held.Record.Operation.Git.Old = "", nil, "beefbee4e5f60718293a4b5c6d7e8f9012345677"
	held.Record.Refused, held.Record.Outcome = &access.Refused{Code: access.CodeApprovalDenied, Message: "no", Approval: approvalID}, &access.Outcome{}
	abroad := caused("abroad", access.Matched, other, access.CallRef{Call: "a", Turn: "t1"})
	abroad.Record.Operation.Session = "s2"
	asked := access.Approval{ID: approvalID, State: access.ApprovalDenied, Operation: access.Operation{ID: "held", Session: "s", Principal: by}, Created: at, Expires: at.Add(time.Hour)}
	if _, err := s.CreateApproval(t.Context(), asked, "", 10); err != nil {
		t.Fatal(err)
	}
	entries := slices.Concat(
		[]access.IndexEntry{{Session: &access.Session{ID: "s", Principal: by, Started: at, Last: at}}},
		first, []access.IndexEntry{pushed},
		agent,
		[]access.IndexEntry{caused("patch", access.Ambiguous, apply, access.CallRef{Call: "b", Turn: "t1"}, access.CallRef{Call: "c", Turn: "t2"}),
			{Cause: &access.Cause{Operation: "patch", Time: at.Add(time.Minute), Rung: access.Bound, Method: "span", Calls: []access.CallRef{{Call: "b", Turn: "t1"}}}},
			caused("stray", access.Unattributed, apply), caused("read", access.Unattributed, read), held, abroad},
		turn("t3", "", "", "deploy it", []string{"a", "b"}),
	)
	if err := s.PutBatch(entries); err != nil {
		t.Fatal(err)
	}
	return s, at
}

func TestWhy(t *testing.T) {
	s, _ := history(t)
	for q, want := range map[string][]string{
		"0a1b2c3": {"push"}, "0A1B2C3d4e5f60718293a4b5c6d7e8f901234567": {"push"}, "0a1b2c4": nil, "nothing like this": nil,
		"beefbee": {"push"}, "1111111": nil, // below the tip; and what the push replaced
		"deployments shop/web": {"stray", "patch", "read", "abroad"}, "deploy/web -n shop": {"stray", "patch", "read", "abroad"}, "deployment/web --namespace=other": nil,
		"git push": {"push", "held"}, approvalID: {"held"},
	} {
		chains, more, err := Why(t.Context(), s, q)
		var got []string
		for _, c := range chains {
			got = append(got, string(c.Record.Operation.ID))
		}
		if err != nil || more || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, %v; want %v", q, got, more, err, want)
		}
	}
	if _, _, err := Why(t.Context(), s, " "); err == nil {
		t.Error("nothing is an answer to nothing")
	}
	held, _, err := Why(t.Context(), s, approvalID)
	if err != nil || len(held) != 1 || held[0].Approval == nil || held[0].Approval.ID != approvalID || len(held[0].Links) != 1 {
		t.Fatalf("%+v, %v", held, err)
	}
	if l := held[0].Links[0]; l.Turn.Operation.Model.Prompt != "look at the logs" || l.Agent == nil || l.Agent.Rung != access.Matched || l.Parent == nil || l.Parent.Call.ID != "b" || l.Parent.Turn.Operation.Model.Prompt != "deploy it" {
		t.Errorf("a sub-agent's call is not followed to the person's prompt: %+v", l)
	}
	chains, _, err := Why(t.Context(), s, "deployments shop/web")
	if err != nil {
		t.Fatal(err)
	}
	stray, patch := chains[0], chains[1]
	if stray.Cause == nil || stray.Cause.Rung != access.Unattributed || len(stray.Links) != 0 {
		t.Errorf("%+v", stray)
	}
	if patch.Cause.Rung != access.Bound || len(patch.Earlier) != 1 || patch.Earlier[0].Rung != access.Ambiguous || len(patch.Links) != 1 {
		t.Fatalf("%+v", patch)
	}
	if l := patch.Links[0]; l.Call.ID != "b" || l.Call.Input != `{"command":"do b"}` || l.Turn == nil || l.Turn.Operation.Model.Prompt != "deploy it" {
		t.Errorf("%+v", l)
	}
}

func TestTimeline(t *testing.T) {
	s, _ := history(t)
	moments, more, err := Timeline(t.Context(), s, "s")
	if err != nil || more {
		t.Fatal(err)
	}
	var got []string
	for _, m := range moments {
		text := m.Prompt
		switch {
		case m.Call != nil:
			text = "call " + m.Call.ID
		case m.Record != nil:
			text = string(m.Record.Operation.ID)
		}
		got = append(got, "      "[:m.Depth]+text)
	}
	want := []string{"deploy it", " call a", "  push", "  abroad", " call b", "  look at the logs", "   call c", "    held", "  patch", "stray", "read"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if moments, _, err := Timeline(t.Context(), s, "nobody's"); err != nil || len(moments) != 0 {
		t.Errorf("%v, %v", moments, err)
	}
}

// Two conversations of one pod are one session, each with its own prompts; what is asked again in the same words is asked again.
func TestTimelineOfTwoConversations(t *testing.T) {
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	by := access.Principal{Issuer: "i", Subject: "claude"}
	entries := []access.IndexEntry{{Session: &access.Session{ID: "s", Principal: by, Started: at, Last: at}}}
	for i, m := range []access.Model{
		{Conversation: "one", Prompt: "go on", Turns: 1}, {Conversation: "two", Prompt: "stop", Turns: 1}, {Conversation: "one", Prompt: "go on", Turns: 3, Results: []string{"call0"}},
		{Conversation: "two", Prompt: "stop", Turns: 3, Results: []string{"call1"}}, {Conversation: "one", Prompt: "go on", Turns: 5}, {Conversation: "one", Prompt: "go on", Turns: 5}} {
		id := access.OperationID(fmt.Sprint("t", i))
		op := access.Operation{ID: id, Session: "s", Time: at.Add(time.Duration(i) * time.Second), Principal: by, Target: access.Target{Name: "claude", Protocol: "model"}, Model: &m}
		answer := &access.ModelAnswer{}
		if i < 2 {
			answer.Calls = []access.ToolCall{{ID: fmt.Sprint("call", i), Name: "Bash", Emitted: op.Time.Add(time.Millisecond)}}
		}
		entries = append(entries, access.IndexEntry{Record: &access.Record{Operation: op}}, access.IndexEntry{End: &access.Ended{ID: id, Outcome: access.Outcome{Answer: answer}}})
	}
	if err := s.PutBatch(entries); err != nil {
		t.Fatal(err)
	}
	moments, _, err := Timeline(t.Context(), s, "s")
	var got []string
	for _, m := range moments {
		if m.Prompt != "" {
			got = append(got, m.Conversation+": "+m.Prompt)
		}
	}
	if want := []string{"one: go on", "two: stop", "one: go on"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}
