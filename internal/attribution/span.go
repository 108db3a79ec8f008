package attribution

import (
	"slices"
	"strings"

	"gatebook/internal/access"
)

// Span is what the client's telemetry says of one span.
type Span struct {
	// Trace and ID are in hexadecimal.
	Trace, ID string
	// Call is the tool call that the span is the execution of (tool_use_id).
	Call string
}

const (
	// maxCallID bounds the name of a call that telemetry is believed to mean.
	maxCallID = 256
	// maxFlags bounds what telemetry may say against itself of one operation: whoever says more is not to be believed anyway, and
	// each word of it would be on record.
	maxFlags = 8
)

// Span takes evidence that a principal's client sends, seconds after the fact; s is the session that the principal is in.
// Where it says more than was known of an operation, or contradicts it, that is put on record as a cause of its own. It
// says nothing about operations of others.
func (a *Attributor) Span(p access.Principal, s access.SessionID, sp Span) {
	for _, l := range a.learn(whoOf(&p, s), sp) {
		if err := a.o.Record(l.session, l.cause); err != nil {
			a.o.Log.Error("what caused an operation could not be recorded", "operation", l.cause.Operation, "error", err)
		}
	}
}

// later is a cause that was found later, and where it belongs.
type later struct {
	session access.SessionID
	cause   access.Cause
}

func (a *Attributor) learn(w who, sp Span) []later {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.runs[w]
	t := trace{strings.ToLower(sp.Trace), strings.ToLower(sp.ID)}
	if r == nil || sp.Call == "" || len(sp.Call) > maxCallID || !isHex(t.id, 32) || !isHex(t.span, 16) {
		return nil
	}
	c := r.find(sp.Call, t.id)
	before := r.spans[t]
	switch {
	case before == nil && c != nil && len(r.spans) < maxCalls*2: // else a client that floods; what is known stays
		r.spans[t] = c
	case c != nil && before == c:
		return nil
	}
	var out []later
	for i := range r.operations {
		o := &r.operations[i]
		if o.trace != t {
			continue
		}
		next, more := o.later(c, before, sp.Call)
		if !more {
			continue
		}
		next.Operation, next.Time = o.id, a.o.Now()
		o.cause = next
		out = append(out, later{o.session, next})
	}
	return out
}

// later is what is known of an operation now that its span is said to be of call c, or of one that there is not, where it
// is not said already to be of call before; and whether that is more than it was.
func (o *traced) later(c, before *call, id string) (access.Cause, bool) {
	if len(o.cause.Flags) >= maxFlags {
		return access.Cause{}, false
	}
	if c == nil || before != nil { // the first word stands, and what contradicts it is flagged
		flag := "the client's telemetry also says that it is of call " + id
		if c == nil {
			flag = "the client's telemetry says that it is of call " + id + ", of which nothing is known in its session and trace"
		}
		if slices.Contains(o.cause.Flags, flag) {
			return access.Cause{}, false
		}
		next := o.cause
		next.Flags = append(slices.Clone(next.Flags), flag)
		return next, true
	}
	next := spanned(c, o.held, said(o.trace))
	if slices.Contains(o.cause.Flags, foreign) {
		return access.Cause{}, false // whatever telemetry says, the trace is another's
	}
	if next.Rung == access.Bound && len(o.cause.Calls) == 1 && o.cause.Calls[0] != c.ref {
		next.Flags = append(next.Flags, "an earlier answer named call "+o.cause.Calls[0].Call)
	}
	same := next.Rung == o.cause.Rung && slices.Equal(next.Calls, o.cause.Calls) && slices.Equal(next.Flags, o.cause.Flags)
	return next, !same
}
