package attribution

import (
	"crypto/sha256"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"gatebook/internal/access"
)

const (
	// CallLife is how long a call without a result stays open, and a call with one is remembered.
	CallLife = time.Hour
	// maxCalls, maxOperations and maxTraces bound what is remembered of one run: none can push out what is known of another.
	maxCalls      = 2000
	maxOperations = 5000
	maxTraces     = 2000
	// maxLeaving bounds the calls of a run whose jobs are thought of.
	maxLeaving = 100
)

// Options of an Attributor. Record and Now are required.
type Options struct {
	// Record puts a cause that was found later on record, in the operation's session. It may block.
	Record func(access.SessionID, access.Cause) error
	Now    func() time.Time
	Log    *slog.Logger
}

// Attributor holds the open calls of every run. It is safe for concurrent use, and does no input or output but for
// Span, which records.
type Attributor struct {
	o Options
	// none is the answer where no call is open and no trace came: one for all, so that nothing is made on that way.
	none *access.Cause

	mu   sync.Mutex
	runs map[who]*run
	// traces says whose each trace is: of which run, which holds them as well.
	traces map[string]who
	swept  time.Time
}

// who is what cannot be told apart by its operations: a pod, whose sessions are one, or any other principal, who may hold
// several conversations, each a session, while nothing says of which an operation is.
type who struct {
	issuer, subject string
	pod             access.SessionID
}

func whoOf(p *access.Principal, s access.SessionID) who {
	if p.Workload.PodUID != "" || p.IsZero() {
		return who{pod: s}
	}
	return who{issuer: p.Issuer, subject: p.Subject}
}

// run is what is known of one agent.
type run struct {
	calls []*call // in order of emission
	// recent are those of calls that are open, or have ended not long ago.
	recent []*call
	// leaving are calls that may have left jobs running.
	leaving []*call
	// traces are those that are this run's own, with when each was seen last.
	traces map[string]time.Time
	// spans of OTLP: the call that each is of.
	spans map[trace]*call
	// operations that carried a trace, in order, for spans that come later.
	operations []traced
	// agents are sub-agents, by the digest of conversation, name and prompt, with what started each.
	agents map[agentKey]agentCause
	// files are the texts that calls wrote, by path, as far as it is known. The map is never changed, only replaced.
	files files
	last  time.Time
}

type agentKey [sha256.Size]byte

// agentCause is what started a sub-agent, and when that asked last.
type agentCause struct {
	access.Cause
	last time.Time
}

type call struct {
	ref          access.CallRef
	session      access.SessionID
	conversation string
	agent        string
	prompt       string
	trace        string // the trace of the model's request
	intent       intent
	started      bool // the agent that it gives a prompt to has asked with it
	emitted      time.Time
	ended        time.Time // zero while it is open
}

type traced struct {
	id      access.OperationID
	session access.SessionID
	at      time.Time
	trace   trace
	cause   access.Cause
	// held is how the operation went with each call that was open.
	held []held
}

// held is how an operation goes with a call.
type held struct {
	call *call
	fit  fit
	// by is the command of the call that fits best; nil where it is the call as a whole.
	by *command
}

// New makes an Attributor that knows of nothing yet.
func New(o Options) *Attributor {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	none := &access.Cause{Method: byNothing, Evidence: []access.Evidence{openCalls(0, 0)}}
	return &Attributor{o: o, none: none, runs: map[who]*run{}, traces: map[string]who{}}
}

func (a *Attributor) run(w who) *run {
	now := a.o.Now()
	a.sweep(now)
	r := a.runs[w]
	if r == nil {
		r = &run{traces: map[string]time.Time{}, spans: map[trace]*call{}, agents: map[agentKey]agentCause{}}
		a.runs[w] = r
	}
	r.last = now
	return r
}

// sweep forgets, now and then, what is too old to matter.
func (a *Attributor) sweep(now time.Time) {
	if now.Sub(a.swept) < CallLife/10 {
		return
	}
	a.swept = now
	for w, r := range a.runs {
		r.calls = slices.DeleteFunc(r.calls, func(c *call) bool { return now.Sub(c.emitted) > 2*CallLife })
		r.operations = slices.DeleteFunc(r.operations, func(t traced) bool { return now.Sub(t.at) > CallLife })
		maps.DeleteFunc(r.agents, func(_ agentKey, a agentCause) bool { return now.Sub(a.last) > CallLife })
		maps.DeleteFunc(r.spans, func(_ trace, c *call) bool { return now.Sub(c.emitted) > 2*CallLife })
		for id, last := range r.traces {
			if now.Sub(last) > 2*CallLife {
				a.disown(r, id)
			}
		}
		if now.Sub(r.last) > 2*CallLife { // and so are its traces
			delete(a.runs, w)
		}
	}
}

// own notes whose a trace is: whoever asks a model with it first. Of a run with too many the one that was seen longest ago is
// forgotten.
func (a *Attributor) own(w who, r *run, raw string) {
	t := parseTrace(raw)
	of, there := a.traces[t.id]
	if t.id == "" || there && of != w {
		return
	}
	if !there && len(r.traces) >= maxTraces {
		a.disown(r, oldest(r.traces))
	}
	a.traces[t.id], r.traces[t.id] = w, a.o.Now()
}

func (a *Attributor) disown(r *run, id string) {
	delete(a.traces, id)
	delete(r.traces, id)
}

func oldest(traces map[string]time.Time) (id string) {
	for k, last := range traces {
		if id == "" || last.Before(traces[id]) {
			id = k
		}
	}
	return id
}

// Asked tells of a request to a model that has arrived, permitted or not: the calls whose results it brings have ended,
// and with them those of the same turn, since a model is asked again only when all of them have.
func (a *Attributor) Asked(op *access.Operation) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked(op)
}

func (a *Attributor) asked(op *access.Operation) {
	w := whoOf(&op.Principal, op.Session)
	r := a.run(w)
	a.own(w, r, op.Client.Trace)
	ended := r.results(op.Model)
	for _, c := range r.calls {
		if !c.ended.IsZero() {
			continue
		}
		over := slices.ContainsFunc(ended, func(e *call) bool {
			// An earlier turn of the same loop whose results never came was given up: its answer broke off.
			return c.ref.Turn == e.ref.Turn || c.emitted.Before(e.emitted) && c.conversation == e.conversation && c.agent == e.agent && c.prompt == e.prompt
		})
		if over {
			c.ended = op.Time
		}
	}
	r.prune(op.Time)
}

// results are the calls whose results m brings: identifiers are unique in their own conversation alone. A conversation that
// is carried on under another name brings those of the one before.
func (r *run) results(m *access.Model) []*call {
	var own, others []*call
	for _, c := range r.calls {
		if !slices.Contains(m.Results, c.ref.Call) {
			continue
		}
		if c.conversation == m.Conversation {
			own = append(own, c)
		} else {
			others = append(others, c)
		}
	}
	if len(own) > 0 {
		return own
	}
	return others
}

// prune takes what has ended long ago out of recent: for an operation that arrived before, see open.
func (r *run) prune(now time.Time) {
	r.recent = slices.DeleteFunc(r.recent, func(c *call) bool {
		return !c.ended.IsZero() && now.Sub(c.ended) > recently || now.Sub(c.emitted) > CallLife+recently
	})
	r.leaving = slices.DeleteFunc(r.leaving, func(c *call) bool { return now.Sub(c.emitted) > CallLife })
}

// recently is how far back operations are looked for among the recent calls alone.
const recently = time.Minute

// Emitted tells of a tool call in the answer to op. From now on, until its result comes back, it is open.
func (a *Attributor) Emitted(op *access.Operation, tc access.ToolCall) {
	w := whoOf(&op.Principal, op.Session)
	a.mu.Lock()
	known := a.run(w).files
	a.mu.Unlock()
	in, written := a.read(tc, known) // without the lock: it takes a while
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.run(w)
	r.files = r.files.with(tc.ID, written)
	c := &call{ref: access.CallRef{Call: tc.ID, Tool: tc.Name, Turn: op.ID}, session: op.Session, trace: parseTrace(op.Client.Trace).id, intent: in, emitted: tc.Emitted}
	if m := op.Model; m != nil {
		c.conversation, c.agent, c.prompt = m.Conversation, m.Agent, m.Prompt
	}
	if r.calls = append(r.calls, c); len(r.calls) > maxCalls {
		r.calls = slices.Delete(r.calls, 0, len(r.calls)-maxCalls)
	}
	if r.recent = append(r.recent, c); len(r.recent) > maxCalls {
		r.recent = slices.Delete(r.recent, 0, len(r.recent)-maxCalls)
	}
	if in.lingers {
		if r.leaving = append(r.leaving, c); len(r.leaving) > maxLeaving {
			r.leaving = slices.Delete(r.leaving, 0, len(r.leaving)-maxLeaving)
		}
	}
}

// read reads a call's input. Should that fail in a way that nobody thought of, the call may have caused anything.
func (a *Attributor) read(tc access.ToolCall, known files) (in intent, written map[string]word) {
	defer func() {
		if why := recover(); why != nil {
			a.o.Log.Error("a tool call could not be read", "call", tc.ID, "tool", tc.Name, "error", why)
			in, written = intent{reach: may}, nil
		}
	}()
	return parseIntent(tc.Name, tc.Input, known)
}

// Remember tells of calls of models before this process began, in their order: what is open still is, and what a trace is
// of is known.
func (a *Attributor) Remember(turns []access.Record) {
	for i := range turns {
		op := &turns[i].Operation
		if op.Model == nil {
			continue
		}
		a.Asked(op)
		a.Attribute(op)
		if out := turns[i].Outcome; out != nil && out.Answer != nil {
			for _, tc := range out.Answer.Calls {
				a.Emitted(op, tc)
			}
		}
	}
}

// Attribute says which call is behind op, as far as that is known now. A call of a model has no cause: it is one; but a
// sub-agent's has the call that started the agent. The answer must not be changed.
func (a *Attributor) Attribute(op *access.Operation) *access.Cause {
	if op.Parent != "" || op.Detail() == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if op.Model != nil {
		return a.spawned(op)
	}
	w := whoOf(&op.Principal, op.Session)
	r := a.runs[w]
	t := parseTrace(op.Client.Trace)
	silent := t.id == "" && op.Client.Call == "" // the client says nothing
	if silent && (r == nil || len(r.recent)+len(r.leaving) == 0) {
		return a.none
	}
	if r == nil {
		r = a.run(w)
	}
	r.last = a.o.Now()
	open := r.open(op.Time)
	if silent && len(open)+len(r.leaving) == 0 {
		return a.none
	}
	c, hs := a.judge(w, r, op, t, open)
	c.Operation, c.Time = op.ID, op.Time
	if t.id != "" {
		if r.operations = append(r.operations, traced{op.ID, op.Session, op.Time, t, c, hs}); len(r.operations) > maxOperations {
			r.operations = slices.Delete(r.operations, 0, len(r.operations)-maxOperations)
		}
	}
	return &c
}

// open lists the calls that have no result at that time.
func (r *run) open(at time.Time) []*call {
	from := r.recent
	if n := len(r.calls); n > len(from) && r.last.Sub(at) > recently { // it arrived long ago
		from = r.calls
	}
	var out []*call
	for _, c := range from {
		if !c.emitted.After(at) && (c.ended.IsZero() || c.ended.After(at)) && at.Sub(c.emitted) < CallLife {
			out = append(out, c)
		}
	}
	return out
}

// find gives the latest call of that identifier, of the trace where it has one; nil where there is none, or where conversations
// without a trace have one each: identifiers are unique in their own alone.
func (r *run) find(id, trace string) (found *call) {
	for _, c := range slices.Backward(r.calls) {
		switch {
		case c.ref.Call != id || c.trace != "" && c.trace != trace:
		case c.trace == trace:
			return c
		case found == nil:
			found = c
		case found.conversation != c.conversation:
			return nil
		}
	}
	return found
}
