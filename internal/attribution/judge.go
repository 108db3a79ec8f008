package attribution

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gatebook/internal/access"
)

// Methods, as they are written into causes.
const (
	bySpan      = "a span of the client's telemetry names the open call that made it"
	byName      = "it names the open call that made it"
	byTrace     = "its trace is that of the one open call that fits"
	byCommand   = "the only open call with a command that causes this"
	byInvoked   = "of the open calls that fit, the only one that runs what the client says it runs"
	byWindow    = "the only open call that could have caused it"
	byNothing   = "no open call of this session could have caused it"
	bySeveral   = "several open calls could have caused it"
	byJob       = "an open call could have caused it, and so could a job that a call left running"
	byPrompt    = "the only call that starts an agent with this prompt"
	byAgent     = "the only open call that starts an agent"
	byAgents    = "several open calls could have started this agent"
	byNoStarter = "no open call starts an agent"
)

// foreign flags a trace that somebody else asked a model with.
const foreign = "its trace belongs to another session"

// inputSeen is what is known of a call by the gateway itself.
const inputSeen = "the call's input, as the model emitted it"

// openCalls is how many calls were open; others are those of other conversations of the same principal.
func openCalls(own, others int) access.Evidence {
	what := "calls that are open in its session: " + strconv.Itoa(own)
	if others > 0 {
		what += ", in other conversations of the same principal: " + strconv.Itoa(others)
	}
	return access.Evidence{What: what, Seen: true}
}

func said(t trace) access.Evidence {
	return access.Evidence{What: "the client says trace " + t.id + ", span " + t.span}
}

// judge finds the rung. t is the zero trace where none came.
func (a *Attributor) judge(w who, r *run, op *access.Operation, t trace, open []*call) (access.Cause, []held) {
	own := 0
	for _, c := range open {
		if c.session == op.Session {
			own++
		}
	}
	known := openCalls(own, len(open)-own)
	sub := &subject{op: op}
	hs := hold(open, sub)
	of, seen := a.traces[t.id]
	if name := op.Client.Call; name != "" && !(seen && of != w) {
		return byCall(name, hs, known), hs
	}
	if t.id == "" {
		return r.besides(rung(hs, op, known), sub, ""), hs
	}
	says := said(t)
	none := func(flag string) (access.Cause, []held) {
		return access.Cause{Method: byNothing, Evidence: []access.Evidence{known, says}, Flags: []string{flag}}, hs
	}
	switch c := r.spans[t]; {
	case seen && of != w:
		return none(foreign)
	case c != nil:
		return spanned(c, hs, known, says), hs
	case !seen:
		says.What += ", of which nothing is known"
		return r.besides(rung(hs, op, known, says), sub, ""), hs
	}
	its := slices.DeleteFunc(slices.Clone(hs), func(h held) bool { return h.call.trace != t.id })
	if len(its) == 0 {
		return none("its trace is that of calls which have ended, or of none")
	}
	known.What += fmt.Sprintf("; with its trace: %d", len(its))
	c := rung(its, op, known, says)
	if c.Rung == access.Matched {
		c.Rung, c.Method = access.Bound, byTrace
	}
	return r.besides(c, sub, t.id), hs
}

// besides adds the jobs that calls may have left running, which are no open calls: with one that goes with the operation as well
// as an open call does, it cannot be told of which that is.
func (r *run) besides(c access.Cause, s *subject, trace string) access.Cause {
	var jobs []held
	for _, l := range r.leaving {
		over := !l.ended.IsZero() && !l.ended.After(s.op.Time) && s.op.Time.Sub(l.emitted) < CallLife
		if !over || trace != "" && l.trace != trace {
			continue
		}
		if f, by := l.intent.left(s); f == fits || f == may && c.Rung == access.Windowed {
			jobs = append(jobs, held{l, f, by})
		}
	}
	if len(jobs) == 0 {
		return c
	}
	if len(c.Calls) > 0 {
		c.Rung, c.Method, c.Calls = access.Ambiguous, byJob, append(c.Calls, refs(jobs)...)
	}
	for _, j := range jobs {
		c.Evidence = append(c.Evidence, access.Evidence{What: "call " + j.call.ref.Call + " has ended, but may have left a job running; " + j.evidence().What, Seen: true})
	}
	return c
}

// spanned is for an operation whose span the client's telemetry has tied to a call. That is the client's word, and holds
// where it agrees with what the gateway saw: the call was open, and could have made it.
func spanned(c *call, hs []held, evidence ...access.Evidence) access.Cause {
	i := slices.IndexFunc(hs, func(h held) bool { return h.call == c })
	switch {
	case i < 0:
		return access.Cause{Method: byNothing, Evidence: evidence, Flags: []string{"it carries the span of call " + c.ref.Call + ", which was not open"}}
	case hs[i].fit == cannot:
		return access.Cause{Method: byNothing, Evidence: evidence, Flags: []string{"it carries the span of call " + c.ref.Call + ", in which nothing is known to do this"}}
	}
	evidence = append(evidence, access.Evidence{What: "the client's telemetry says that this is the span of call " + c.ref.Call}, hs[i].evidence())
	return access.Cause{Rung: access.Bound, Method: bySpan, Calls: []access.CallRef{c.ref}, Evidence: evidence}
}

// byCall is for an operation that says which call it is of. It is believed where that call was open, and could have made it.
func byCall(id string, hs []held, known access.Evidence) access.Cause {
	evidence := []access.Evidence{known, {What: "the client says call " + id}}
	named := slices.DeleteFunc(slices.Clone(hs), func(h held) bool { return h.call.ref.Call != id || h.fit == cannot })
	switch len(named) {
	case 0:
	case 1:
		return access.Cause{Rung: access.Bound, Method: byName, Calls: refs(named), Evidence: append(evidence, named[0].evidence())}
	default: // identifiers are unique in their own conversation alone
		return access.Cause{Rung: access.Ambiguous, Method: bySeveral, Calls: refs(named), Evidence: evidence}
	}
	return access.Cause{Method: byNothing, Evidence: evidence, Flags: []string{"it names call " + id + ", which is not open in its session or could not have caused it"}}
}

// hold holds the operation against each of the calls.
func hold(calls []*call, s *subject) []held {
	out := make([]held, len(calls))
	for i, c := range calls {
		out[i].call = c
		out[i].fit, out[i].by = c.intent.holds(s)
	}
	return out
}

// rung is how well the calls that an operation was held against tell which it is of.
func rung(hs []held, op *access.Operation, evidence ...access.Evidence) access.Cause {
	fitting, possible := only(hs, fits), only(hs, may)
	c := access.Cause{Evidence: evidence}
	switch invoked := invokedAs(fitting, op); {
	case len(fitting) == 1:
		c.Rung, c.Method, c.Calls = access.Matched, byCommand, refs(fitting)
	case len(fitting) > 1 && len(invoked) == 1:
		fitting = invoked
		c.Rung, c.Method, c.Calls = access.Matched, byInvoked, refs(fitting)
		c.Evidence = append(c.Evidence, access.Evidence{What: "the client says that it runs " + op.Client.InvokedAs})
	case len(fitting) > 1:
		c.Rung, c.Method, c.Calls = access.Ambiguous, bySeveral, refs(fitting)
	case len(possible) == 1:
		fitting = possible
		c.Rung, c.Method, c.Calls = access.Windowed, byWindow, refs(possible)
	case len(possible) > 1:
		c.Rung, c.Method, c.Calls = access.Ambiguous, bySeveral, refs(possible)
	default:
		c.Method = byNothing
	}
	if c.Rung > access.Ambiguous {
		c.Evidence = append(c.Evidence, fitting[0].evidence())
		if fitting[0].call.session != op.Session {
			c.Evidence = append(c.Evidence, access.Evidence{What: "the call is of another conversation of the same principal, session " + string(fitting[0].call.session), Seen: true})
		}
	}
	return c
}

func only(hs []held, f fit) []held {
	var out []held
	for _, h := range hs {
		if h.fit == f {
			out = append(out, h)
		}
	}
	return out
}

// invokedAs are those of the calls that run what the client says it does, such as "kubectl get": it can tell calls apart that
// fit, and nothing else.
func invokedAs(fitting []held, op *access.Operation) []held {
	as := strings.Fields(op.Client.InvokedAs)
	if len(fitting) < 2 || len(as) < 2 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(fitting), func(h held) bool { return h.by == nil || !h.by.runs(as) })
}

// maxShown bounds how much of a command evidence shows; the call's input has all of it.
const maxShown = 200

// evidence is what in the call goes with the operation.
func (h held) evidence() access.Evidence {
	if h.by != nil {
		return access.Evidence{What: h.by.shown, Seen: true}
	}
	return access.Evidence{What: inputSeen, Seen: true}
}

// show is the evidence that a command is, made once.
func (c *command) show() string {
	text := c.String()
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + " …"
	}
	if c.from != "" {
		text += " (" + c.from + ")"
	}
	return inputSeen + "; in it: " + text
}

func refs(hs []held) []access.CallRef {
	out := make([]access.CallRef, len(hs))
	for i, h := range hs {
		out[i] = h.call.ref
	}
	return out
}

// spawned says which call gave the sub-agent that op is of its prompt; nil where it is of none. What is found for the first
// request with a prompt holds for those that follow.
func (a *Attributor) spawned(op *access.Operation) *access.Cause {
	m := op.Model
	if m.Agent == "" {
		return nil
	}
	r := a.run(whoOf(&op.Principal, op.Session))
	name := agentKey(sha256.Sum256([]byte(m.Conversation + "\x00" + m.Agent + "\x00" + m.Prompt)))
	known, there := r.agents[name]
	if !there {
		known.Cause = r.starter(op)
	}
	if known.last = a.o.Now(); there || len(r.agents) < maxCalls {
		r.agents[name] = known
	}
	c := known.Cause
	c.Operation, c.Time = op.ID, op.Time
	return &c
}

// starter looks for the call that gave an agent the prompt of op. An agent may work on when its call has ended; each call
// gives its prompt but once.
func (r *run) starter(op *access.Operation) access.Cause {
	m := op.Model
	var same, starts []held
	for _, c := range r.calls {
		if !c.intent.agent || c.started || c.emitted.After(op.Time) || op.Time.Sub(c.emitted) > CallLife || c.conversation != m.Conversation || m.ParentAgent != "" && c.agent != m.ParentAgent {
			continue
		}
		if c.intent.prompt != "" && c.intent.prompt == strings.TrimSpace(m.Prompt) {
			same = append(same, held{call: c})
		}
		if c.ended.IsZero() || c.ended.After(op.Time) {
			starts = append(starts, held{call: c})
		}
	}
	c := access.Cause{Evidence: []access.Evidence{{What: fmt.Sprintf("open calls that start an agent: %d; with this prompt, open or not, and not yet taken: %d", len(starts), len(same)), Seen: true},
		{What: "the client says that this is agent " + m.Agent}}}
	if len(same) == 1 {
		same[0].call.started = true
	}
	switch {
	case len(same) == 1:
		c.Rung, c.Method, c.Calls = access.Matched, byPrompt, refs(same)
	case len(same) > 1:
		c.Rung, c.Method, c.Calls = access.Ambiguous, byAgents, refs(same)
	case len(starts) == 1:
		c.Rung, c.Method, c.Calls = access.Windowed, byAgent, refs(starts)
	case len(starts) > 1:
		c.Rung, c.Method, c.Calls = access.Ambiguous, byAgents, refs(starts)
	default:
		c.Method = byNoStarter
	}
	return c
}
