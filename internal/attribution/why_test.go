package attribution

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/store"
)

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
			tc := access.ToolCall{ID: c, Name: "Bash", Input: `{"command":"do ` + c + `"}`, Emitted: e.Record.Operation.Time.Add(time.Millisecond)}
			if c == "d" {
				tc.Name, tc.Input = "Agent", `{"description":"d","prompt":"look at the logs\n"}`
			}
			answer.Calls = append(answer.Calls, tc)
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
		op.Git = &access.Git{Repository: "team/app", Service: "receive-pack", Ref: "refs/heads/main", New: "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"}
	}
	apply := func(op *access.Operation) {
		op.Target, op.Command = access.Target{Name: "prod", Protocol: "kubernetes"}, "kubectl patch deployment web -n shop"
		op.Kubernetes = &access.Kubernetes{Verb: "patch", Group: "apps", Resource: "deployments", Namespace: "shop", Name: "web"}
	}
	read := func(op *access.Operation) {
		op.Target, op.Command = access.Target{Name: "prod", Protocol: "kubernetes"}, "kubectl logs web-1"
		op.Kubernetes = &access.Kubernetes{Verb: "get", Resource: "pods", Subresource: "log", Namespace: "shop", Name: "web-1"}
	}
	entries := slices.Concat(
		[]access.IndexEntry{{Session: &access.Session{ID: "s", Principal: by, Started: at, Last: at}}},
		turn("t1", "", "", "deploy it", nil, "a", "b", "d"),
		[]access.IndexEntry{caused("push", access.Matched, push, access.CallRef{Call: "a", Turn: "t1"})},
		turn("t2", "sub", "", "look at the logs", nil, "c"),
		[]access.IndexEntry{caused("read", access.Matched, read, access.CallRef{Call: "c", Turn: "t2"})},
		[]access.IndexEntry{caused("patch", access.Ambiguous, apply, access.CallRef{Call: "b", Turn: "t1"}, access.CallRef{Call: "c", Turn: "t2"}),
			{Cause: &access.Cause{Operation: "patch", Time: at.Add(time.Minute), Rung: access.Bound, Method: "span", Calls: []access.CallRef{{Call: "b", Turn: "t1"}}}},
			caused("stray", access.Unattributed, apply)},
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
		"0a1b2c3": {"push"}, "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567": {"push"}, "deployments shop/web": {"stray", "patch"},
		"deployment/web shop": {"stray", "patch"}, "git push": {"push"}, "0a1b2c4": nil, "nothing like this": nil,
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

// Behind a sub-agent's call is the call that started it, and the person's prompt.
func TestWhySubAgent(t *testing.T) {
	s, _ := history(t)
	chains, _, err := Why(t.Context(), s, "logs web-1")
	if err != nil || len(chains) != 1 || len(chains[0].Links) != 1 {
		t.Fatalf("%+v, %v", chains, err)
	}
	l := chains[0].Links[0]
	if l.Call.ID != "c" || l.Turn.Operation.Model.Prompt != "look at the logs" || l.Parent == nil {
		t.Fatalf("%+v", l)
	}
	if p := l.Parent; p.Call.ID != "d" || p.Turn == nil || p.Turn.Operation.Model.Prompt != "deploy it" || p.Parent != nil {
		t.Errorf("%+v", p)
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
		got = append(got, strings.Repeat(" ", m.Depth)+text)
	}
	want := []string{"deploy it", " call a", "  push", " call b", "  patch", " call d", "  look at the logs", "   call c", "    read", "stray"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if moments, _, err := Timeline(t.Context(), s, "nobody's"); err != nil || len(moments) != 0 {
		t.Errorf("%v, %v", moments, err)
	}
}
