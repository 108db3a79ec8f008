package attribution

import (
	"fmt"
	"slices"
	"strings"

	"gatebook/internal/access"
)

// Methods, as they are written into causes.
const (
	byName    = "it names the call that made it"
	bySpan    = "a span of the client's telemetry names the call that made it"
	byTrace   = "its trace is that of the one open call that fits"
	byCommand = "the only open call with a command that causes this"
	byWindow  = "the only open call that could have caused it"
	byNothing = "no open call of this session could have caused it"
	bySeveral = "several open calls could have caused it"
)

// judge finds the rung. t is the zero trace where none came.
func (a *Attributor) judge(s *session, op *access.Operation, t trace) access.Cause {
	open := s.open(op.Time)
	known := access.Evidence{What: fmt.Sprintf("calls that are open in its session: %d", len(open)), Seen: true}
	if op.Client.Call != "" {
		return byNaming(open, op, known)
	}
	if t.id == "" {
		return rung(open, op, known)
	}
	says := access.Evidence{What: "the client says trace " + t.id + ", span " + t.span}
	none := func(flag string) access.Cause {
		return access.Cause{Method: byNothing, Evidence: []access.Evidence{known, says}, Flags: []string{flag}}
	}
	of, seen := a.traces[t.id]
	switch {
	case seen && a.sessions[of.session] != s:
		return none("its trace belongs to another session")
	case s.spans[t.span] != "":
		return s.bySpan(open, t, known, says)
	case !seen:
		c := rung(open, op, known)
		c.Evidence = append(c.Evidence, access.Evidence{What: says.What + ", of which nothing is known"})
		return c
	}
	named := slices.DeleteFunc(slices.Clone(open), func(c *call) bool { return c.trace != t.id })
	if len(named) == 0 {
		return none("its trace is that of calls which have ended, or of none")
	}
	c := rung(named, op, access.Evidence{What: fmt.Sprintf("calls that are open in its session: %d, with its trace: %d", len(open), len(named)), Seen: true}, says)
	if c.Rung == access.Matched {
		c.Rung, c.Method = access.Bound, byTrace
	}
	return c
}

// byNaming is for an operation that says which call it is of. It is believed where that call is open in its session and could
// have caused it.
func byNaming(open []*call, op *access.Operation, known access.Evidence) access.Cause {
	says := access.Evidence{What: "the client says call " + op.Client.Call}
	for _, c := range open {
		if c.ref.Call == op.Client.Call && c.intent.holds(op) != cannot {
			return access.Cause{Rung: access.Bound, Method: byName, Calls: []access.CallRef{c.ref},
				Evidence: []access.Evidence{known, says, {What: "the call's input, as the model emitted it", Seen: true}}}
		}
	}
	return access.Cause{Method: byNothing, Evidence: []access.Evidence{known, says}, Flags: []string{"it names call " + op.Client.Call + ", which is not open in its session or could not have caused it"}}
}

// bySpan is for an operation whose span the client's telemetry has tied to a call.
func (s *session) bySpan(open []*call, t trace, evidence ...access.Evidence) access.Cause {
	id := s.spans[t.span]
	for _, c := range open {
		if c.ref.Call == id {
			return access.Cause{Rung: access.Bound, Method: bySpan, Calls: []access.CallRef{c.ref}, Evidence: evidence}
		}
	}
	return access.Cause{Method: byNothing, Evidence: evidence, Flags: []string{"it carries the span of call " + id + ", which was not open"}}
}

// rung holds the operation against each of the calls.
func rung(calls []*call, op *access.Operation, evidence ...access.Evidence) access.Cause {
	var fitting, possible []*call
	for _, c := range calls {
		switch c.intent.holds(op) {
		case fits:
			fitting = append(fitting, c)
		case may:
			possible = append(possible, c)
		}
	}
	c := access.Cause{Evidence: evidence}
	switch {
	case len(fitting) == 1:
		c.Rung, c.Method, c.Calls = access.Matched, byCommand, refs(fitting)
	case len(fitting) > 1:
		c.Rung, c.Method, c.Calls = access.Ambiguous, bySeveral, refs(fitting)
	case len(possible) == 1:
		c.Rung, c.Method, c.Calls = access.Windowed, byWindow, refs(possible)
	case len(possible) > 1:
		c.Rung, c.Method, c.Calls = access.Ambiguous, bySeveral, refs(possible)
	default:
		c.Method = byNothing
	}
	if len(c.Calls) > 0 && c.Rung != access.Ambiguous {
		c.Evidence = append(c.Evidence, access.Evidence{What: "the call's input, as the model emitted it", Seen: true})
	}
	return c
}

func refs(cs []*call) []access.CallRef {
	out := make([]access.CallRef, len(cs))
	for i, c := range cs {
		out[i] = c.ref
	}
	return out
}

// Span is what the client's telemetry says of one span.
type Span struct {
	// Trace and ID are in lower-case hexadecimal.
	Trace, ID string
	// Call is the tool call that the span is the execution of (tool_use_id).
	Call string
}

// Span takes evidence that the session's client sends, seconds after the fact. Where it says more than was known of
// an operation, that is put on record as a cause of its own. It says nothing about operations of other sessions.
func (a *Attributor) Span(id access.SessionID, sp Span) {
	for _, c := range a.learn(id, sp) {
		if err := a.o.Record(id, c); err != nil {
			a.o.Log.Error("what caused an operation could not be recorded", "operation", c.Operation, "error", err)
		}
	}
}

func (a *Attributor) learn(id access.SessionID, sp Span) []access.Cause {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.sessions[id]
	if s == nil || sp.Call == "" || !isHex(sp.ID, 16) || s.find(sp.Call) == nil || s.spans[sp.ID] != "" {
		return nil
	}
	if len(s.spans) >= maxCalls*2 { // a client that floods; what is known stays
		return nil
	}
	s.spans[sp.ID] = sp.Call
	var out []access.Cause
	for i := range s.operations {
		if o := &s.operations[i]; o.trace.span == sp.ID && strings.EqualFold(o.trace.id, sp.Trace) {
			if c, more := s.later(o); more {
				c.Time = a.o.Now()
				o.cause = c
				out = append(out, c)
			}
		}
	}
	return out
}

// later is what is known of an operation now that its span is tied to a call, and whether that is more than before.
func (s *session) later(o *traced) (access.Cause, bool) {
	c := s.bySpan(s.open(o.at), o.trace, access.Evidence{What: "the client says trace " + o.trace.id + ", span " + o.trace.span})
	c.Operation = o.id
	before := o.cause
	if c.Rung == access.Bound && len(before.Calls) == 1 && before.Calls[0] != c.Calls[0] {
		c.Flags = append(c.Flags, "an earlier answer named call "+before.Calls[0].Call)
	}
	same := c.Rung == before.Rung && slices.Equal(c.Calls, before.Calls) && slices.Equal(c.Flags, before.Flags)
	return c, !same
}
