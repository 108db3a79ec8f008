package store

import (
	"context"
	"slices"
	"testing"
	"time"

	"gatebook/internal/access"
)

// modelCall is a model operation that brings results and, when it ends, emits calls.
func modelCall(id string, at time.Time, results []string, calls ...string) []access.IndexEntry {
	op := access.Operation{ID: access.OperationID(id), Session: "s", Time: at, Principal: access.Principal{Issuer: "i", Subject: "a", Name: "a"},
		Target: access.Target{Name: "m", Protocol: "model"}, Verb: "messages", Model: &access.Model{API: "messages", Prompt: "fix it", Results: results}}
	answer := &access.ModelAnswer{Model: "claude"}
	for _, c := range calls {
		answer.Calls = append(answer.Calls, access.ToolCall{ID: c, Name: "Bash", Input: `{"command":"x"}`, Emitted: at.Add(time.Second)})
	}
	return []access.IndexEntry{
		{Session: &access.Session{ID: "s", Principal: op.Principal, Started: at, Last: at}},
		{Record: &access.Record{Operation: op}},
		{End: &access.Ended{ID: op.ID, Outcome: access.Outcome{Code: 200, Answer: answer, Duration: 2 * time.Second}}},
	}
}

func TestCallsAndCauses(t *testing.T) {
	ctx := context.Background()
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	one := modelCall("t1", at, nil, "a", "b")
	two := modelCall("t2", at.Add(time.Minute), []string{"a"}, "c")
	cause := access.Cause{Operation: "o", Time: at, Rung: access.Ambiguous, Method: "m", Calls: []access.CallRef{{Call: "a", Turn: "t1"}, {Call: "b", Turn: "t1"}}}
	later := access.Cause{Operation: "o", Time: at.Add(time.Second), Rung: access.Bound, Method: "n", Calls: []access.CallRef{{Call: "b", Turn: "t1"}}}
	op := access.Operation{ID: "o", Session: "s", Time: at, Principal: access.Principal{Issuer: "i", Subject: "a"}, Cause: &cause}
	rest := []access.IndexEntry{{Record: &access.Record{Operation: op}}, {Cause: &later}}
	all := slices.Concat(one, two, rest)
	// The index is fed in order, in batches of any size, again after a crash; a result may be told of before its call.
	for name, batches := range map[string][][]access.IndexEntry{
		"at once": {all}, "apart": {one[:2], one[2:], two, rest}, "again": {all, all}, "the result first": {one[:2], two, one[2:], rest},
	} {
		t.Run(name, func(t *testing.T) {
			s := fresh(t)
			for _, b := range batches {
				if err := s.PutBatch(b); err != nil {
					t.Fatal(err)
				}
			}
			calls, err := s.Calls(ctx, "s")
			if err != nil || len(calls) != 3 {
				t.Fatalf("%+v, %v", calls, err)
			}
			for i, want := range []struct {
				id    string
				ended time.Time
			}{{"a", at.Add(time.Minute)}, {"b", at.Add(time.Minute)}, {"c", time.Time{}}} {
				if c := calls[i]; c.ID != want.id || !c.Ended.Equal(want.ended) || c.Session != "s" || c.Name != "Bash" || c.Input == "" || c.Emitted.IsZero() || c.Turn == "" {
					t.Errorf("%+v, want %+v", c, want)
				}
			}
			if recent, err := s.RecentTurns(ctx, at.Add(30*time.Second), []string{"m", "n"}); err != nil || len(recent) != 1 || len(recent[0].Outcome.Answer.Calls) != 1 || recent[0].Outcome.Answer.Calls[0].ID != "c" || recent[0].Operation.Model.Results[0] != "a" {
				t.Errorf("%+v, %v", recent, err)
			}
			if causes, err := s.Causes(ctx, "o"); err != nil || len(causes) != 2 || causes[0].Rung != access.Ambiguous || causes[1].Rung != access.Bound || len(causes[0].Calls) != 2 {
				t.Errorf("%+v, %v", causes, err)
			}
			if n, err := s.Prune(ctx, Operations, at.Add(30*time.Second), 10); err != nil || n != 1 { // o runs, t1 has ended
				t.Fatalf("%d, %v", n, err)
			}
			if calls, err := s.Calls(ctx, "s"); err != nil || len(calls) != 1 || calls[0].ID != "c" {
				t.Errorf("after pruning %+v, %v", calls, err)
			}
			var results int
			if err := s.read.QueryRow(`SELECT count(*) FROM call_results`).Scan(&results); err != nil || results != 0 {
				t.Errorf("%d results are left, %v", results, err)
			}
		})
	}
}

// A request that was refused brings results all the same; an identifier that comes again is another call.
func TestCallsEnd(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	s := fresh(t)
	refused := modelCall("t2", at.Add(time.Minute), []string{"call_0"})[1:2]
	refused[0].Record.Refused, refused[0].Record.Outcome = &access.Refused{Code: access.CodeDenied}, &access.Outcome{}
	if err := s.PutBatch(slices.Concat(modelCall("t1", at, nil, "call_0"), refused, modelCall("t3", at.Add(2*time.Minute), nil, "call_0"))); err != nil {
		t.Fatal(err)
	}
	calls, err := s.Calls(t.Context(), "s")
	if err != nil || len(calls) != 2 || calls[0].Turn != "t1" || !calls[0].Ended.Equal(at.Add(time.Minute)) || calls[1].Turn != "t3" || !calls[1].Ended.IsZero() {
		t.Errorf("%+v, %v", calls, err)
	}
}

// A conversation is the session in which it was first, and what a principal was in last is found again.
func TestConversations(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	s := fresh(t)
	turn := func(id, session, conversation, podUID string, at time.Time) []access.IndexEntry {
		e := modelCall(id, at, nil)
		op := &e[1].Record.Operation
		op.Session, op.Model.Conversation, op.Principal.Workload.PodUID = access.SessionID(session), conversation, podUID
		if podUID != "" {
			op.Principal.Subject = "pod"
		}
		e[0].Session.ID, e[0].Session.Principal = op.Session, op.Principal
		return e
	}
	plain := turn("t4", "s4", "", "", at.Add(3*time.Hour))
	plain[0].Session.Principal.Subject, plain[1].Record.Operation.Principal.Subject = "b", "b"
	if err := s.PutBatch(slices.Concat(turn("t1", "s1", "one", "", at), turn("t2", "s2", "two", "", at.Add(time.Hour)), turn("t3", "s3", "one", "", at.Add(2*time.Hour)), plain,
		turn("t5", "s5", "one", "u", at.Add(3*time.Hour)))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]access.SessionID{"one": "s1", "two": "s2", "three": ""} {
		if id, err := s.Conversation(t.Context(), "i|a", name); err != nil || id != want {
			t.Errorf("%s: %q, %v", name, id, err)
		}
	}
	if id, err := s.Conversation(t.Context(), "i|pod", "one"); err != nil || id != "" {
		t.Errorf("a pod's conversation is a session: %q, %v", id, err)
	}
	open, err := s.OpenSessions(t.Context(), at.Add(time.Hour))
	if err != nil || len(open) != 2 || open[0].ID != "s3" || open[0].Conversing || open[1].ID != "s4" || open[1].Principal != "i|b" {
		t.Errorf("%+v, %v", open, err)
	}
	if open, err := s.OpenSessions(t.Context(), at.Add(4*time.Hour)); err != nil || len(open) != 0 {
		t.Errorf("%+v, %v", open, err)
	}
}
