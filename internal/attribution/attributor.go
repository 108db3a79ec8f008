package attribution

import (
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
	// maxCalls and maxOperations bound what is remembered of one session.
	maxCalls      = 2000
	maxOperations = 5000
)

// Options of an Attributor. Record and Now are required.
type Options struct {
	// Record puts a cause that was found later on record. It may block.
	Record func(access.SessionID, access.Cause) error
	Now    func() time.Time
	Log    *slog.Logger
}

// Attributor holds the open calls of every session. It is safe for concurrent use, and does no input or output but for
// Span, which records.
type Attributor struct {
	o  Options
	mu sync.Mutex
	// sessions by their name, and whose each trace is.
	sessions map[access.SessionID]*session
	traces   map[string]owner
	swept    time.Time
}

// owner is the session in which a trace was seen first, and when it was seen there last.
type owner struct {
	session access.SessionID
	last    time.Time
}

// session is what is known of one run of an agent.
type session struct {
	calls []*call // in order of emission
	// spans of OTLP by their identifier: the call that each is of.
	spans map[string]string
	// operations that carried a trace, in order, for spans that come later.
	operations []traced
	last       time.Time
}

type call struct {
	ref          access.CallRef
	conversation string
	agent        string
	trace        string // the trace of the model's request
	intent       intent
	emitted      time.Time
	ended        time.Time // zero while it is open
}

type traced struct {
	id    access.OperationID
	at    time.Time
	trace trace
	cause access.Cause
}

// New makes an Attributor that knows of nothing yet.
func New(o Options) *Attributor {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Attributor{o: o, sessions: map[access.SessionID]*session{}, traces: map[string]owner{}}
}

func (a *Attributor) session(id access.SessionID) *session {
	now := a.o.Now()
	a.sweep(now)
	s := a.sessions[id]
	if s == nil {
		s = &session{spans: map[string]string{}}
		a.sessions[id] = s
	}
	s.last = now
	return s
}

// sweep forgets, now and then, what is too old to matter.
func (a *Attributor) sweep(now time.Time) {
	if now.Sub(a.swept) < CallLife/10 {
		return
	}
	a.swept = now
	for id, s := range a.sessions {
		s.calls = slices.DeleteFunc(s.calls, func(c *call) bool { return now.Sub(c.emitted) > 2*CallLife })
		s.operations = slices.DeleteFunc(s.operations, func(t traced) bool { return now.Sub(t.at) > CallLife })
		known := map[string]bool{}
		for _, c := range s.calls {
			known[c.ref.Call] = true
		}
		maps.DeleteFunc(s.spans, func(_, call string) bool { return !known[call] })
		if now.Sub(s.last) > 2*CallLife {
			delete(a.sessions, id)
		}
	}
	maps.DeleteFunc(a.traces, func(_ string, o owner) bool { return now.Sub(o.last) > 2*CallLife })
}

// Asked tells of a call to a model that is permitted: the calls whose results it brings have ended, and with them those
// of the same turn, since a model is asked again only when all of them have.
func (a *Attributor) Asked(op *access.Operation) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.session(op.Session)
	if t := parseTrace(op.Client.Trace); t.id != "" {
		if o, there := a.traces[t.id]; !there || o.session == op.Session {
			a.traces[t.id] = owner{op.Session, a.o.Now()}
		}
	}
	var turns []access.OperationID
	for _, c := range s.calls {
		if slices.Contains(op.Model.Results, c.ref.Call) {
			turns = append(turns, c.ref.Turn)
		}
	}
	for _, c := range s.calls {
		if c.ended.IsZero() && slices.Contains(turns, c.ref.Turn) {
			c.ended = op.Time
		}
	}
}

// Emitted tells of a tool call in the answer to op. From now on, until its result comes back, it is open.
func (a *Attributor) Emitted(op *access.Operation, tc access.ToolCall) {
	in := parseIntent(tc.Name, tc.Input) // before the lock: it takes a while
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.session(op.Session)
	c := &call{ref: access.CallRef{Call: tc.ID, Tool: tc.Name, Turn: op.ID}, trace: parseTrace(op.Client.Trace).id, intent: in, emitted: tc.Emitted}
	if op.Model != nil {
		c.conversation, c.agent = op.Model.Conversation, op.Model.Agent
	}
	if s.calls = append(s.calls, c); len(s.calls) > maxCalls {
		s.calls = slices.Delete(s.calls, 0, len(s.calls)-maxCalls)
	}
}

// Remember tells of calls that were emitted before this process began, in the order of their emission.
func (a *Attributor) Remember(calls []access.Call) {
	for _, tc := range calls {
		c := &call{ref: access.CallRef{Call: tc.ID, Tool: tc.Name, Turn: tc.Turn}, intent: parseIntent(tc.Name, tc.Input), emitted: tc.Emitted, ended: tc.Ended}
		a.mu.Lock()
		s := a.session(tc.Session)
		s.calls = append(s.calls, c)
		a.mu.Unlock()
	}
}

// Attribute says which call is behind op, as far as that is known now. A call of a model has no cause: it is one.
func (a *Attributor) Attribute(op *access.Operation) *access.Cause {
	if op.Model != nil || op.Parent != "" || op.Detail() == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.session(op.Session)
	t := parseTrace(op.Client.Trace)
	c := a.judge(s, op, t)
	c.Operation, c.Time = op.ID, op.Time
	if t.id != "" {
		if s.operations = append(s.operations, traced{op.ID, op.Time, t, c}); len(s.operations) > maxOperations {
			s.operations = slices.Delete(s.operations, 0, len(s.operations)-maxOperations)
		}
	}
	return &c
}

// open lists the session's calls that have no result at that time.
func (s *session) open(at time.Time) []*call {
	var out []*call
	for _, c := range s.calls {
		if !c.emitted.After(at) && (c.ended.IsZero() || c.ended.After(at)) && at.Sub(c.emitted) < CallLife {
			out = append(out, c)
		}
	}
	return out
}

// find gives the call of that identifier; nil where there is none.
func (s *session) find(id string) *call {
	for _, c := range s.calls {
		if c.ref.Call == id {
			return c
		}
	}
	return nil
}
