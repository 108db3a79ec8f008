package attribution

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatebook/internal/access"
)

// world is an attributor, its clock, and what it put on record.
type world struct {
	*Attributor
	t     testing.TB
	now   time.Time
	n     int
	later []access.Cause
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, now: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}
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

// turn is one call of the model: with results that came back, and tool calls in its answer, each "id: shell text".
func (w *world) turn(s access.SessionID, trace string, results []string, calls ...string) access.OperationID {
	w.n++
	w.now = w.now.Add(time.Second)
	op := &access.Operation{ID: access.OperationID(fmt.Sprint("turn", w.n)), Session: s, Time: w.now, Client: access.Client{Trace: trace},
		Model: &access.Model{Results: results}}
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
	op.ID, op.Session, op.Time, op.Client.Trace = access.OperationID(fmt.Sprint("op", w.n)), s, w.now, trace
	c := w.Attribute(op)
	if c == nil || c.Operation != op.ID || !c.Time.Equal(w.now) || c.Method == "" || len(c.Evidence) == 0 {
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
	w.Span("thief", span)
	w.Span("s", Span{Trace: span.Trace, ID: span.ID, Call: "nobody's"})
	if len(w.later) != 0 {
		t.Fatalf("recorded %+v", w.later)
	}
	w.Span("s", span)
	w.Span("s", Span{Trace: span.Trace, ID: span.ID, Call: "a"}) // the first word stands
	if len(w.later) != 1 || w.later[0].Operation != first.Operation || !w.later[0].Time.Equal(w.now) {
		t.Fatalf("recorded %+v", w.later)
	}
	is(t, w.later[0], access.Bound, 0, "b")
	is(t, w.does("s", traceB, kube("delete", "pods", "", "x")), access.Bound, 0, "b") // known from now on
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
	w.turn("s", traceA, nil, "a: kubectl get pods", "b: ls")
	is(t, w.does("s", traceB, kube("list", "pods", "", "")), access.Bound, 0, "a")
	w.turn("s", traceA, []string{"a"})
	w.Span("s", Span{Trace: parseTrace(traceB).id, ID: parseTrace(traceB).span, Call: "b"})
	if len(w.later) != 1 {
		t.Fatalf("recorded %+v", w.later)
	}
	is(t, w.later[0], access.Bound, 1, "b")
}

// After a restart, what is open still is, and nothing else.
func TestRemember(t *testing.T) {
	w := newWorld(t)
	at := w.now.Add(-time.Minute)
	tc := func(id, shell string) access.ToolCall {
		return access.ToolCall{ID: id, Name: "Bash", Input: fmt.Sprintf(`{"command":%q}`, shell), Emitted: at}
	}
	w.Remember([]access.Call{{ToolCall: tc("a", "kubectl get pods"), Session: "s", Turn: "t1"}, {ToolCall: tc("b", "kubectl get pods"), Session: "s", Turn: "t0", Ended: at.Add(time.Second)}})
	is(t, w.does("s", "", kube("list", "pods", "", "")), access.Matched, 0, "a")
	w.turn("s", "", []string{"a"})
	is(t, w.does("s", "", kube("list", "pods", "", "")), access.Unattributed, 0)
}

// That a cause cannot be recorded loses nothing but that.
func TestRecordFails(t *testing.T) {
	w := newWorld(t)
	w.o.Record = func(access.SessionID, access.Cause) error { return errors.New("full") }
	w.turn("s", traceA, nil, "a: kubectl get pods", "b: kubectl get pods -A")
	w.does("s", traceB, kube("list", "pods", "", ""))
	w.Span("s", Span{Trace: parseTrace(traceB).id, ID: parseTrace(traceB).span, Call: "b"})
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
					w.Span(s, Span{Trace: parseTrace(traceA).id, ID: parseTrace(rapid.SampledFrom(traces[1:4]).Draw(r, "span")).span, Call: id})
					for _, c := range w.later[before:] {
						check(s, c, was[c.Operation])
					}
				}
			}
		}
	})
}

func BenchmarkAttribute(b *testing.B) {
	w := newWorld(b)
	for i := range 20 {
		w.turn("s", traceA, nil, fmt.Sprintf("c%d: cd repo && kubectl get pods -n team-%d | grep x", i, i))
	}
	op := kube("list", "pods", "team-19", "")
	op.ID, op.Session, op.Time = "o", "s", w.now
	b.ReportAllocs()
	for b.Loop() {
		w.Attribute(op)
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
		w.Span("s", Span{Trace: last.id, ID: last.span, Call: call})
		w.turn("s", raw, []string{call})
		w.now = w.now.Add(20 * time.Second)
	}
	if s := w.sessions["s"]; len(w.traces) > turns/4 || s.spans[last.span] == "" {
		t.Errorf("%d traces and %d spans of %d are kept; the last span: %q", len(w.traces), len(s.spans), turns, s.spans[last.span])
	}
}
