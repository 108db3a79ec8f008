package attribution

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatebook/internal/access"
)

// world is an attributor, its clock, and what it put on record.
type world struct {
	*Attributor
	by access.Principal
	// conversation and agent of the next turns.
	conversation, agent string
	before              []string // the call that call made last
	t                   testing.TB
	now                 time.Time
	n                   int
	later               []access.Cause
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, by: pod, now: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}
	w.Attributor = New(Options{Now: func() time.Time { return w.now }, Record: func(_ access.SessionID, c access.Cause) error {
		w.later = append(w.later, c)
		return nil
	}})
	return w
}

const (
	traceA = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	traceB = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01" // the same trace, another span
	traceC = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
)

// pod is a principal whose sessions are one.
var pod = access.Principal{Issuer: "c", Subject: "sa", Workload: access.Workload{PodUID: "u"}}

// turn is one call of the model: with results that came back, and tool calls in its answer, each "id: shell text".
func (w *world) turn(s access.SessionID, trace string, results []string, calls ...string) access.OperationID {
	w.n++
	w.now = w.now.Add(time.Second)
	op := &access.Operation{ID: access.OperationID(fmt.Sprint("turn", w.n)), Session: s, Time: w.now, Principal: w.by, Client: access.Client{Trace: trace},
		Model: &access.Model{Results: results, Conversation: w.conversation, Agent: w.agent}}
	w.Asked(op)
	w.now = w.now.Add(time.Second)
	for _, c := range calls {
		id, shell, _ := cutCall(c)
		w.Emitted(op, access.ToolCall{ID: id, Name: "Bash", Input: fmt.Sprintf(`{"command":%q}`, shell), Emitted: w.now})
	}
	return op.ID
}

func cutCall(s string) (string, string, bool) {
	for i := range s {
		if s[i] == ':' {
			return s[:i], s[i+2:], true
		}
	}
	return s, "", false
}

func (w *world) does(s access.SessionID, trace string, op *access.Operation) access.Cause {
	w.n++
	w.now = w.now.Add(time.Second)
	op.ID, op.Session, op.Time, op.Client.Trace, op.Principal = access.OperationID(fmt.Sprint("op", w.n)), s, w.now, trace, w.by
	c := w.Attribute(op)
	if c == nil || c != w.none && (c.Operation != op.ID || !c.Time.Equal(w.now)) || c.Method == "" || len(c.Evidence) == 0 {
		w.t.Fatalf("%+v", c)
	}
	return *c
}

func is(t *testing.T, c access.Cause, r access.Rung, flags int, calls ...string) {
	t.Helper()
	var got []string
	for _, ref := range c.Calls {
		got = append(got, ref.Call)
	}
	if c.Rung != r || len(c.Flags) != flags || !slices.Equal(got, calls) {
		t.Errorf("%s by %q, calls %v, flags %v; want %s, %v, %d flags", c.Rung, c.Method, got, c.Flags, r, calls, flags)
	}
}

func TestRungsWithoutTrace(t *testing.T) {
	w := newWorld(t)
	is(t, w.does("s", "", kube("list", "pods", "", "")), access.Unattributed, 0)
	w.turn("s", "", nil, "a: kubectl get pods", "b: git push", "c: ./x.sh")
	is(t, w.does("s", "", kube("list", "pods", "", "")), access.Matched, 0, "a")
	is(t, w.does("s", "", push("refs/heads/main")), access.Matched, 0, "b")
	is(t, w.does("s", "", kube("delete", "pods", "", "x")), access.Windowed, 0, "c")
	is(t, w.does("other", "", kube("list", "pods", "", "")), access.Unattributed, 0)
	w.turn("s", "", []string{"a"}) // a turn's results come back together
	is(t, w.does("s", "", push("refs/heads/main")), access.Unattributed, 0)
	w.turn("s", "", nil, "d: kubectl get pods", "e: kubectl get pods -A")
	is(t, w.does("s", "", kube("list", "pods", "", "")), access.Ambiguous, 0, "d", "e")
	w.turn("s", "", []string{"d", "e"}, "f: sleep 60")
	is(t, w.does("s", "", kube("list", "pods", "", "")), access.Unattributed, 0) // a background job
	if w.Attribute(&access.Operation{Model: &access.Model{}, Session: "s"}) != nil || w.Attribute(&access.Operation{Parent: "x", Session: "s", Web: &access.Web{}}) != nil {
		t.Error("a call of a model, or the gateway's own, has a cause")
	}
}

func TestTraces(t *testing.T) {
	w := newWorld(t)
	w.turn("s", traceA, nil, "a: kubectl get pods", "b: kubectl get pods -A")
	is(t, w.does("s", traceB, kube("list", "pods", "", "")), access.Ambiguous, 0, "a", "b")
	w.turn("s", traceA, []string{"a"}, "c: kubectl get pods")
	is(t, w.does("s", traceB, kube("list", "pods", "", "")), access.Bound, 0, "c")
	is(t, w.does("s", traceC, kube("list", "pods", "", "")), access.Matched, 0, "c") // a trace of which nothing is known
	is(t, w.does("thief", traceB, kube("list", "pods", "", "")), access.Unattributed, 1)
	w.turn("thief", "", nil, "x: kubectl get pods")
	is(t, w.does("thief", traceB, kube("list", "pods", "", "")), access.Unattributed, 1) // copied, flagged, not believed
	w.turn("s", traceC, []string{"c"}, "d: ./anything")
	is(t, w.does("s", traceB, kube("list", "pods", "", "")), access.Unattributed, 1) // outlived its call
	is(t, w.does("s", traceC, kube("list", "pods", "", "")), access.Windowed, 0, "d")
}

func TestSpansRaise(t *testing.T) {
	w := newWorld(t)
	w.turn("s", traceA, nil, "a: kubectl get pods", "b: kubectl get pods -A")
	first := w.does("s", traceB, kube("list", "pods", "", ""))
	span := Span{Trace: parseTrace(traceB).id, ID: parseTrace(traceB).span, Call: "b"}
	w.Span(pod, "thief", span)
	if len(w.later) != 0 {
		t.Fatalf("recorded %+v", w.later)
	}
	w.Span(pod, "s", span)
	w.Span(pod, "s", span)
	if len(w.later) != 1 || w.later[0].Operation != first.Operation || !w.later[0].Time.Equal(w.now) {
		t.Fatalf("recorded %+v", w.later)
	}
	is(t, w.later[0], access.Bound, 0, "b")
	is(t, w.does("s", traceB, kube("list", "pods", "", "")), access.Bound, 0, "b") // known from now on
	is(t, w.does("s", traceB, kube("delete", "pods", "", "x")), access.Unattributed, 1)
	w.turn("s", traceA, []string{"a", "b"}, "c: kubectl get pods")
	is(t, w.does("s", traceB, kube("list", "pods", "", "")), access.Unattributed, 1) // the span's call has ended
}

// A request that names its call is believed where the gateway saw that call open, and it fits.
func TestNames(t *testing.T) {
	w := newWorld(t)
	names := func(call string, op *access.Operation) *access.Operation {
		op.Client.Call = call
		return op
	}
	w.turn("s", "", nil, "a: kubectl get pods", "b: kubectl get pods", "c: ls")
	is(t, w.does("s", "", kube("list", "pods", "", "")), access.Ambiguous, 0, "a", "b")
	is(t, w.does("s", "", names("b", kube("list", "pods", "", ""))), access.Bound, 0, "b")
	is(t, w.does("s", "", names("c", kube("list", "pods", "", ""))), access.Unattributed, 1)
	is(t, w.does("thief", "", names("b", kube("list", "pods", "", ""))), access.Unattributed, 1)
	w.turn("s", "", []string{"a"})
	is(t, w.does("s", "", names("b", kube("list", "pods", "", ""))), access.Unattributed, 1)
}

// A span that comes after its call has ended still says which call an earlier operation was of, and contradicts a guess.
func TestSpansContradict(t *testing.T) {
	w := newWorld(t)
	w.turn("s", traceA, nil, "a: kubectl get pods", "b: ./x.sh")
	is(t, w.does("s", traceB, kube("list", "pods", "", "")), access.Bound, 0, "a")
	w.turn("s", traceA, []string{"a"})
	w.Span(pod, "s", Span{Trace: parseTrace(traceB).id, ID: parseTrace(traceB).span, Call: "b"})
	if len(w.later) != 1 {
		t.Fatalf("recorded %+v", w.later)
	}
	is(t, w.later[0], access.Bound, 1, "b")
}

// After a restart, what is open still is, and nothing else; whose a trace is, is known; and a job that outlived its call is
// still that.
func TestRemember(t *testing.T) {
	before := newWorld(t)
	turn := func(id access.OperationID, trace string, results []string, calls ...string) access.Record {
		before.now = before.now.Add(time.Second)
		r := access.Record{Operation: access.Operation{ID: id, Session: "s", Time: before.now, Principal: pod, Client: access.Client{Trace: trace}, Model: &access.Model{Results: results}},
			Outcome: &access.Outcome{Answer: &access.ModelAnswer{}}}
		for _, c := range calls {
			id, shell, _ := cutCall(c)
			r.Outcome.Answer.Calls = append(r.Outcome.Answer.Calls, access.ToolCall{ID: id, Name: "Bash", Input: fmt.Sprintf(`{"command":%q}`, shell), Emitted: before.now})
		}
		return r
	}
	w := newWorld(t)
	w.now = w.now.Add(time.Minute)
	w.Remember([]access.Record{turn("t0", traceC, nil, "b: kubectl get pods"), turn("t1", traceA, []string{"b"}, "a: kubectl get pods")})
	is(t, w.does("s", "", kube("list", "pods", "", "")), access.Matched, 0, "a")
	is(t, w.does("s", traceB, kube("list", "pods", "", "")), access.Bound, 0, "a")
	is(t, w.does("s", traceC, kube("list", "pods", "", "")), access.Unattributed, 1)
	is(t, w.does("thief", traceB, kube("list", "pods", "", "")), access.Unattributed, 1)
	w.turn("s", "", []string{"a"})
	is(t, w.does("s", "", kube("list", "pods", "", "")), access.Unattributed, 0)
}

// What telemetry says is the client's word: where it names a call that there is not, that had ended, that cannot have done it
// or that is of another trace, that is on record as a flag, once, and raises nothing.
func TestSpansLie(t *testing.T) {
	span := func(call string) Span {
		return Span{Trace: strings.ToUpper(parseTrace(traceB).id), ID: parseTrace(traceB).span, Call: call}
	}
	for name, c := range map[string]struct {
		say  Span
		rung access.Rung
	}{
		"no call":       {span("nobody's"), access.Ambiguous},
		"ended":         {span("old"), access.Unattributed},
		"only ls":       {span("ls"), access.Unattributed},
		"another trace": {span("other"), access.Ambiguous},
	} {
		w := newWorld(t)
		w.turn("s", traceC, nil, "other: kubectl get pods")
		w.turn("s", traceA, []string{"other"}, "old: kubectl get pods")
		w.turn("s", traceA, []string{"old"}, "a: kubectl get pods", "b: kubectl get pods -A", "ls: ls")
		is(t, w.does("s", traceB, kube("list", "pods", "", "")), access.Ambiguous, 0, "a", "b")
		w.Span(pod, "s", c.say)
		w.Span(pod, "s", c.say)
		if len(w.later) != 1 || w.later[0].Rung != c.rung || len(w.later[0].Flags) != 1 {
			t.Errorf("%s: %+v", name, w.later)
		}
	}
	w := newWorld(t)
	w.turn("s", traceA, nil, "a: kubectl get pods", "b: kubectl get pods -A")
	is(t, w.does("s", traceB, kube("list", "pods", "", "")), access.Ambiguous, 0, "a", "b")
	w.Span(pod, "s", Span{Trace: parseTrace(traceC).id, ID: parseTrace(traceB).span, Call: "b"}) // the span of another trace
	if len(w.later) != 0 {
		t.Errorf("%+v", w.later)
	}
	w.Span(pod, "s", span("b"))
	w.Span(pod, "s", span("a")) // the first word stands
	if n := len(w.later); n != 2 || w.later[0].Rung != access.Bound || w.later[1].Rung != access.Bound || w.later[1].Calls[0].Call != "b" || len(w.later[1].Flags) != 1 {
		t.Errorf("%+v", w.later)
	}
}

// Identifiers of calls are unique in their own conversation at most, and some clients count from 0.
func TestOneIdentifierTwice(t *testing.T) {
	w := newWorld(t)
	w.turn("s", "", nil, "call_0: kubectl get pods")
	w.turn("s", "", []string{"call_0"}, "call_0: git push")
	is(t, w.does("s", "", push("refs/heads/x")), access.Matched, 0, "call_0")
	w.converse("two", "", nil, "call_0: kubectl get services")
	w.turn("s", "", []string{"call_0"})
	is(t, w.does("s", "", push("refs/heads/x")), access.Unattributed, 0)
	is(t, w.does("s", "", kube("list", "services", "", "")), access.Matched, 0, "call_0")
	w.converse("three", "", []string{"call_0"}) // a conversation that is carried on under another name
	is(t, w.does("s", "", kube("list", "services", "", "")), access.Unattributed, 0)
}

// An identifier that several conversations have open names none of their calls alone, whether a request says it or a span.
func TestOneIdentifierInTwoConversations(t *testing.T) {
	w := newWorld(t)
	names := func(op *access.Operation) *access.Operation {
		op.Client.Call = "call_0"
		return op
	}
	w.converse("one", "", nil, "call_0: ./x")
	is(t, w.does("s", "", names(push("refs/heads/x"))), access.Bound, 0, "call_0")
	w.converse("two", "", nil, "call_0: ./y")
	is(t, w.does("s", "", names(push("refs/heads/x"))), access.Ambiguous, 0, "call_0", "call_0")
	is(t, w.does("s", traceC, push("refs/heads/x")), access.Ambiguous, 0, "call_0", "call_0")
	w.Span(pod, "s", Span{Trace: parseTrace(traceC).id, ID: parseTrace(traceC).span, Call: "call_0"})
	if len(w.later) != 1 || w.later[0].Rung == access.Bound || len(w.later[0].Flags) != 1 {
		t.Errorf("a span made of it %+v", w.later)
	}
	w.converse("two", "", []string{"call_0"}, "call_1: ./y") // its own has ended
	is(t, w.does("s", "", names(push("refs/heads/x"))), access.Bound, 0, "call_0")
}

// What is kept of sub-agents is forgotten with their calls, so that there is room for others however long a run lasts.
func TestSubAgentsAreForgotten(t *testing.T) {
	w := newWorld(t)
	ask := func(n int) access.Cause {
		w.now = w.now.Add(time.Second)
		op := &access.Operation{ID: access.OperationID(fmt.Sprint("m", n)), Session: "s", Time: w.now, Principal: pod, Model: &access.Model{Agent: fmt.Sprint("a", n), Prompt: fmt.Sprint("count to ", n)}}
		w.Asked(op)
		return *w.Attribute(op)
	}
	for n := range 2 * maxCalls {
		if n%100 == 0 {
			w.now = w.now.Add(CallLife / 10)
		}
		w.before = nil
		w.call(fmt.Sprint("t", n), "Task", fmt.Sprintf(`{"prompt":"count to %d"}`, n))
		is(t, ask(n), access.Matched, 0, fmt.Sprint("t", n))
		is(t, ask(n), access.Matched, 0, fmt.Sprint("t", n)) // as it was
		if t.Failed() {
			t.Fatalf("at agent %d", n)
		}
	}
	if n := len(w.runs[who{pod: "s"}].agents); n > maxCalls {
		t.Errorf("%d agents are kept", n)
	}
}

// What telemetry says against itself is on record a few times, and not without end.
func TestSpansThatFlood(t *testing.T) {
	w := newWorld(t)
	w.turn("s", traceA, nil, "a: kubectl get pods", "b: kubectl get pods -A")
	w.does("s", traceB, kube("list", "pods", "", ""))
	span := Span{Trace: parseTrace(traceB).id, ID: parseTrace(traceB).span}
	for n := range 1000 {
		span.Call = fmt.Sprint("made-up-", n)
		w.Span(pod, "s", span)
	}
	span.Call = strings.Repeat("x", maxCallID+1)
	w.Span(pod, "s", span)
	if n := len(w.later); n == 0 || n > maxFlags {
		t.Fatalf("%d causes are recorded", n)
	}
	if last := w.later[len(w.later)-1]; last.Rung != access.Ambiguous || len(last.Flags) > maxFlags {
		t.Errorf("%+v", last)
	}
}

// converse is a turn of a conversation of that name, and of a sub-agent where one is named.
func (w *world) converse(conversation, agent string, results []string, calls ...string) access.OperationID {
	w.conversation, w.agent = conversation, agent
	defer func() { w.conversation, w.agent = "", "" }()
	return w.turn("s", "", results, calls...)
}

// A turn whose results never came, since its answer broke off and the model was asked anew, is over when those of a later one
// come; what another agent does in the meantime is not.
func TestGivenUp(t *testing.T) {
	w := newWorld(t)
	w.converse("c", "", nil, "lost: kubectl get pods")
	w.converse("c", "sub", nil, "sub: git push")
	w.converse("c", "", nil, "again: kubectl get pods")
	is(t, w.does("s", "", kube("list", "pods", "", "")), access.Ambiguous, 0, "lost", "again")
	w.converse("c", "", []string{"again"})
	is(t, w.does("s", "", kube("list", "pods", "", "")), access.Unattributed, 0)
	is(t, w.does("s", "", push("refs/heads/x")), access.Matched, 0, "sub")
}

// Two conversations of one principal who is no pod are two sessions, but nothing says of which an operation is.
func TestConversationsOfOnePrincipal(t *testing.T) {
	w := newWorld(t)
	w.by = access.Principal{Issuer: "i", Subject: "ada"}
	w.turn("one", "", nil, "a: kubectl get pods")
	w.turn("two", traceA, nil, "b: git push", "c: kubectl get services")
	c := w.does("two", "", kube("list", "pods", "", ""))
	is(t, c, access.Matched, 0, "a")
	if e := c.Evidence; len(e) != 3 || e[0].What != "calls that are open in its session: 2, in other conversations of the same principal: 1" || !strings.Contains(e[2].What, "of another conversation of the same principal, session one") {
		t.Errorf("%+v", e)
	}
	is(t, w.does("one", traceA, push("refs/heads/x")), access.Bound, 0, "b")
	is(t, w.does("two", "", kube("delete", "pods", "", "x")), access.Unattributed, 0)
	w.Span(w.by, "one", Span{Trace: parseTrace(traceA).id, ID: parseTrace(traceA).span, Call: "c"})
	w.by = access.Principal{Issuer: "i", Subject: "bob"}
	is(t, w.does("bobs", "", kube("list", "pods", "", "")), access.Unattributed, 0)
	is(t, w.does("bobs", traceA, kube("list", "pods", "", "")), access.Unattributed, 1)
}

// What kubectl says of itself tells calls apart that fit, is named as what it is, and nothing more.
func TestInvokedAs(t *testing.T) {
	w := newWorld(t)
	w.turn("s", "", nil, "a: kubectl get pods", "b: kubectl describe pods")
	c := w.does("s", "", as(kube("list", "pods", "", ""), "kubectl describe"))
	is(t, c, access.Matched, 0, "b")
	if e := c.Evidence[1]; e.Seen || !strings.Contains(e.What, "kubectl describe") {
		t.Errorf("%+v", c.Evidence)
	}
	is(t, w.does("s", "", as(kube("list", "pods", "", ""), "kubectl delete")), access.Ambiguous, 0, "a", "b")
}

// A file that an earlier call wrote says what a script of that name would do, and excludes nothing: it may have changed.
func TestScriptOfAnEarlierCall(t *testing.T) {
	w := newWorld(t)
	w.call("w1", "Write", `{"file_path":"/src/deploy.sh","content":"#!/bin/sh\nkubectl delete pod $1\n"}`)
	w.call("w2", "Edit", `{"file_path":"/src/deploy.sh","old_string":"delete pod","new_string":"delete deployment"}`)
	w.call("r", "Bash", `{"command":"cd /work && ./deploy.sh web"}`)
	c := w.does("s", "", kube("delete", "deployments", "", "web"))
	is(t, c, access.Matched, 0, "r")
	if e := c.Evidence[len(c.Evidence)-1]; !strings.Contains(e.What, "kubectl delete deployment web (in deploy.sh, as call w2 wrote it)") {
		t.Errorf("%+v", e)
	}
	is(t, w.does("s", "", kube("delete", "pods", "", "web")), access.Windowed, 0, "r")
	w.call("q", "Bash", `{"command":"cat > q.sql <<'E'\ndelete from t where id = 3;\nE\npsql -f q.sql"}`)
	is(t, w.does("s", "", statement("delete from t where id = 3")), access.Matched, 0, "q")
	w.call("in", "Bash", `{"command":"psql < q.sql"}`)
	is(t, w.does("s", "", statement("delete from t where id = 3")), access.Matched, 0, "in")
	is(t, w.does("s", "", statement("delete from t")), access.Windowed, 0, "in") // it may be another by now
	w.call("rm", "Bash", `{"command":"rm /src/deploy.sh; ./deploy.sh web"}`)
	is(t, w.does("s", "", kube("delete", "deployments", "", "web")), access.Windowed, 0, "rm")
}

// call is a turn with one call of any tool, and the results of the one before.
func (w *world) call(id, tool, input string) {
	results := w.before
	w.before = []string{id}
	op := &access.Operation{ID: access.OperationID("turn of " + id), Session: "s", Time: w.now.Add(time.Second), Principal: w.by, Model: &access.Model{Results: results}}
	w.now = w.now.Add(2 * time.Second)
	w.Asked(op)
	w.Emitted(op, access.ToolCall{ID: id, Name: tool, Input: input, Emitted: w.now})
}

// A sub-agent's requests are linked to the call that started it, by its prompt, or said not to be.
func TestSubAgents(t *testing.T) {
	w := newWorld(t)
	ask := func(agent, parent, prompt string) access.Cause {
		w.now = w.now.Add(time.Second)
		op := &access.Operation{ID: access.OperationID(agent + prompt), Session: "s", Time: w.now, Principal: pod, Model: &access.Model{Agent: agent, ParentAgent: parent, Prompt: prompt}}
		w.Asked(op)
		c := w.Attribute(op)
		if c == nil || c.Operation != op.ID {
			t.Fatalf("%+v", c)
		}
		return *c
	}
	is(t, ask("early", "", "look"), access.Unattributed, 0)
	w.call("t1", "Task", `{"description":"d","prompt":"look at the logs\n","subagent_type":"x"}`)
	is(t, ask("two", "", "something else"), access.Windowed, 0, "t1")
	is(t, ask("deep", "other", "look at the logs"), access.Unattributed, 0)
	is(t, ask("one", "", "look at the logs"), access.Matched, 0, "t1")
	w.before = nil
	w.call("t2", "Agent", `{"prompt":"look at the logs","run_in_background":true}`)
	w.call("m", "SendMessage", `{"to":"one","message":"now the other"}`) // t2 has ended
	is(t, ask("three", "", "look at the logs"), access.Matched, 0, "t2") // t1 has its agent
	is(t, ask("one", "", "look at the logs"), access.Matched, 0, "t1")   // as it was at its first request
	is(t, ask("one", "", "now the other"), access.Matched, 0, "m")
	w.before = nil
	w.call("x", "Agent", `{"prompt":"count"}`)
	w.call("y", "Agent", `{"prompt":"count"}`)
	is(t, ask("four", "", "count"), access.Ambiguous, 0, "x", "y")
}

// A job that outlives its call is of no open call, and where one fits as well, nobody can tell.
func TestJobsLeftRunning(t *testing.T) {
	w := newWorld(t)
	w.turn("s", traceA, nil, "a: (sleep 9; kubectl get pods) & sleep 1 & kubectl get services")
	w.turn("s", traceA, []string{"a"}, "b: sleep 20")
	c := w.does("s", "", kube("list", "pods", "", ""))
	is(t, c, access.Unattributed, 0)
	if len(c.Evidence) != 2 || !strings.Contains(c.Evidence[1].What, "call a has ended, but may have left a job running; ") {
		t.Errorf("%+v", c.Evidence)
	}
	is(t, w.does("s", traceB, kube("list", "services", "", "")), access.Unattributed, 0)
	w.turn("s", traceA, []string{"b"}, "c: kubectl get pods", "d: kubectl get services")
	is(t, w.does("s", "", kube("list", "pods", "", "")), access.Ambiguous, 0, "c", "a")
	is(t, w.does("s", traceB, kube("list", "pods", "", "")), access.Ambiguous, 0, "c", "a")
	is(t, w.does("s", traceB, kube("list", "services", "", "")), access.Bound, 0, "d") // ended with its call
	w.now = w.now.Add(CallLife)
	w.turn("s", "", []string{"c"}, "e: kubectl get pods")
	is(t, w.does("s", "", kube("list", "pods", "", "")), access.Matched, 0, "e")
	w.before = []string{"e"}
	w.call("f", "Bash", `{"command":"kubectl get pods -w","run_in_background":true}`)
	w.call("g", "Bash", `{"command":"kubectl get pods"}`)
	is(t, w.does("s", "", kube("list", "pods", "", "")), access.Ambiguous, 0, "g", "f")
}

// That a cause cannot be recorded loses nothing but that.
func TestRecordFails(t *testing.T) {
	w := newWorld(t)
	w.o.Record = func(access.SessionID, access.Cause) error { return errors.New("full") }
	w.turn("s", traceA, nil, "a: kubectl get pods", "b: kubectl get pods -A")
	w.does("s", traceB, kube("list", "pods", "", ""))
	w.Span(pod, "s", Span{Trace: parseTrace(traceB).id, ID: parseTrace(traceB).span, Call: "b"})
}

// Whatever happens: a cause names calls of its own session that were open then, one call unless it is ambiguous, and
// nothing above ambiguous without one.
func TestNeverBeyondTheSession(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		owner, open := map[string]access.SessionID{}, map[string]bool{}
		check := func(s access.SessionID, c access.Cause, at map[string]bool) {
			if (c.Rung == access.Unattributed) != (len(c.Calls) == 0) || c.Rung > access.Ambiguous && len(c.Calls) != 1 {
				r.Fatalf("%+v", c)
			}
			for _, ref := range c.Calls {
				if owner[ref.Call] != s || !at[ref.Call] {
					r.Fatalf("%s names %s of %s, open %v", s, ref.Call, owner[ref.Call], at[ref.Call])
				}
			}
		}
		shells := []string{"kubectl get pods", "git push", "./x", "ls", "kubectl delete pod a"}
		traces := []string{"", traceA, traceB, traceC, "junk"}
		was := map[access.OperationID]map[string]bool{}
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			s := rapid.SampledFrom([]access.SessionID{"s", "t"}).Draw(r, "session")
			tr := rapid.SampledFrom(traces).Draw(r, "trace")
			switch rapid.IntRange(0, 2).Draw(r, "what") {
			case 0:
				var results, calls []string
				for id, o := range owner {
					if o == s && open[id] {
						results = append(results, id)
						open[id] = false
					}
				}
				for range rapid.IntRange(0, 3).Draw(r, "calls") {
					id := fmt.Sprint("c", len(owner))
					owner[id], open[id] = s, true
					calls = append(calls, id+": "+rapid.SampledFrom(shells).Draw(r, "shell"))
				}
				w.turn(s, tr, results, calls...)
			case 1:
				op := rapid.SampledFrom([]*access.Operation{kube("list", "pods", "", ""), push("refs/heads/x"), kube("delete", "pods", "", "b")}).Draw(r, "op")
				own := *op
				c := w.does(s, tr, &own)
				was[c.Operation] = map[string]bool{}
				for id := range open {
					was[c.Operation][id] = open[id]
				}
				check(s, c, was[c.Operation])
			case 2:
				if len(owner) > 0 {
					id := fmt.Sprint("c", rapid.IntRange(0, len(owner)-1).Draw(r, "call"))
					before := len(w.later)
					w.Span(pod, s, Span{Trace: parseTrace(traceA).id, ID: parseTrace(rapid.SampledFrom(traces[1:4]).Draw(r, "span")).span, Call: id})
					for _, c := range w.later[before:] {
						check(s, c, was[c.Operation])
					}
				}
			}
		}
	})
}

// On the way of an operation nothing is made where no call is open, and nothing parsed.
func TestNothingOpenCostsNothing(t *testing.T) {
	w := newWorld(t)
	op := statement("SELECT abalance FROM pgbench_accounts WHERE aid = 7;")
	op.ID, op.Session, op.Time, op.Principal = "o", "s", w.now, pod
	for _, state := range []string{"nothing was", "all have ended"} {
		if n := testing.AllocsPerRun(100, func() { w.Attribute(op) }); n != 0 {
			t.Errorf("%s: %v allocations", state, n)
		}
		w.turn("s", traceA, nil, "a: psql")
		w.turn("s", traceA, []string{"a"})
		w.now = w.now.Add(2 * time.Minute)
		op.Time = w.now
	}
}

func BenchmarkAttribute(b *testing.B) {
	kubectl := func(n int) (calls []string) {
		for i := range n {
			calls = append(calls, fmt.Sprintf("c%d: cd repo && kubectl get pods -n team-%d | grep x", i, i))
		}
		return calls
	}
	for name, c := range map[string]struct {
		calls []string
		op    *access.Operation
	}{
		"nothing open":        {nil, statement("SELECT abalance FROM pgbench_accounts WHERE aid = 7;")},
		"pgbench":             {[]string{"a: pgbench -S -T 60 orders"}, statement("SELECT abalance FROM pgbench_accounts WHERE aid = 7;")},
		"psql, one statement": {[]string{"a: psql -c 'select 1; select 2'"}, statement("select 2")},
		"20 of kubectl":       {kubectl(20), kube("list", "pods", "team-19", "")},
	} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			w.turn("s", traceA, nil, c.calls...)
			c.op.ID, c.op.Session, c.op.Time, c.op.Principal = "o", "s", w.now, pod
			b.ReportAllocs()
			for b.Loop() {
				w.Attribute(c.op)
			}
		})
	}
}

// BenchmarkEmitted is what reading a call costs, once.
func BenchmarkEmitted(b *testing.B) {
	const input = `{"command":"cd /src/app && NS=shop; for p in a b c; do kubectl delete pod $p -n $NS; done && git add -A && git commit -m \"$(cat <<'E'\nfix it\nE\n)\" && git push origin HEAD"}`
	b.ReportAllocs()
	for b.Loop() {
		parseIntent("Bash", input, nil)
	}
}

// A session that goes on for days, as a pod's does, keeps no more than what may still matter, and its telemetry is heard to
// the end.
func TestALongSession(t *testing.T) {
	w := newWorld(t)
	const turns = 3 * 2 * maxCalls
	var last trace
	for i := range turns {
		raw := fmt.Sprintf("00-%032x-%016x-01", i+1, i+1)
		last = parseTrace(raw)
		call := fmt.Sprint("c", i)
		w.turn("s", raw, nil, call+": kubectl get pods")
		w.Span(pod, "s", Span{Trace: last.id, ID: last.span, Call: call})
		w.turn("s", raw, []string{call})
		w.now = w.now.Add(20 * time.Second)
	}
	if s := w.runs[who{pod: "s"}]; len(w.traces) > turns/4 || s.spans[last] == nil {
		t.Errorf("%d traces and %d spans of %d are kept; the last span: %v", len(w.traces), len(s.spans), turns, s.spans[last])
	}
}

// Who floods with traces pushes out its own, the oldest first, and nobody else's; what is forgotten is gone from every list.
func TestTracesThatFlood(t *testing.T) {
	w := newWorld(t)
	flood := func(from, n int) {
		for i := range n {
			w.turn("flood", fmt.Sprintf("00-%032x-00f067aa0ba902b7-01", from+i), nil)
		}
	}
	w.turn("mine", traceA, nil, "mine: kubectl get pods")
	w.turn("flood", traceC, nil)
	flood(1, maxTraces+100)
	fresh := "00-ffffffffffffffffffffffffffffffff-00f067aa0ba902b7-01"
	w.turn("mine", fresh, nil, "again: kubectl get pods -n new")
	if _, known := w.traces[parseTrace(traceC).id]; known {
		t.Error("its own oldest is still known")
	}
	is(t, w.does("mine", fresh, kube("list", "pods", "new", "")), access.Bound, 0, "again")
	is(t, w.does("flood", fresh, kube("list", "pods", "new", "")), access.Unattributed, 1)
	is(t, w.does("flood", traceA, kube("list", "pods", "", "")), access.Unattributed, 1)
	if len(w.traces) != maxTraces+2 {
		t.Errorf("%d traces are known", len(w.traces))
	}
	w.now = w.now.Add(3 * CallLife)
	w.turn("other", "", nil)
	if len(w.traces) != 0 {
		t.Errorf("%d traces are known after hours", len(w.traces))
	}
}

// Who copies a trace is not believed either when it names a call of its own, at once or by telemetry later; and what telemetry
// says fills no memory.
func TestCopiedTraceWithNames(t *testing.T) {
	w := newWorld(t)
	w.turn("s", traceA, nil, "a: kubectl get pods")
	w.turn("thief", "", nil, "x: kubectl get pods")
	named := kube("list", "pods", "", "")
	named.Client.Call = "x"
	is(t, w.does("thief", traceA, named), access.Unattributed, 1)
	tr := parseTrace(traceA)
	w.Span(pod, "thief", Span{Trace: tr.id, ID: tr.span, Call: "x"})
	if len(w.later) != 0 {
		t.Errorf("recorded is %+v", w.later)
	}
	for i := range 2*maxCalls + 10 {
		w.Span(pod, "thief", Span{Trace: fmt.Sprintf("%032x", i+1), ID: "b7ad6b7169203331", Call: "x"})
	}
	if n := len(w.runs[whoOf(&pod, "thief")].spans); n > 2*maxCalls {
		t.Errorf("%d spans are known", n)
	}
}
