package attribution

import (
	"context"
	"slices"

	"gatebook/internal/access"
	"gatebook/internal/store"
)

// maxMoments bounds a timeline.
const maxMoments = 5000

// Timeline tells what happened in a session: prompts in order, below each the tool calls that it led to, below a call the
// operations that it caused, or the sub-agent that it started. What no one call is known to have caused stands at the top,
// at its time. more says that the session has more operations than are told of, which are its latest.
func Timeline(ctx context.Context, x Index, session access.SessionID) (out []access.Moment, more bool, err error) {
	records, more, err := operations(ctx, x, session)
	if err != nil {
		return nil, false, err
	}
	calls, err := x.Calls(ctx, session)
	if err != nil {
		return nil, false, err
	}
	t := &timeline{ctx: ctx, x: x, agents: map[string]*agent{}, turns: map[access.OperationID][]access.Call{}, calls: map[access.CallRef]*node{}}
	for _, c := range calls {
		t.turns[c.Turn] = append(t.turns[c.Turn], c)
	}
	for _, r := range records {
		if r.Operation.Model != nil {
			if err := t.turn(r); err != nil {
				return nil, false, err
			}
		}
	}
	elsewhere, err := t.elsewhere(session)
	if err != nil {
		return nil, false, err
	}
	for _, r := range append(records, elsewhere...) {
		if r.Operation.Model == nil && r.Operation.Parent == "" {
			if err := t.operation(r); err != nil {
				return nil, false, err
			}
		}
	}
	t.root.flatten(0, &out)
	return out, more, nil
}

// operations gives the session's, the oldest first.
func operations(ctx context.Context, x Index, session access.SessionID) ([]access.Record, bool, error) {
	var out []access.Record
	cursor := ""
	for {
		page, next, err := x.Search(ctx, store.OperationFilter{Session: session, Cursor: cursor})
		if err != nil {
			return nil, false, err
		}
		out = append(out, page...)
		if cursor = next; next == "" || len(out) >= maxMoments {
			slices.Reverse(out)
			return out, next != "", nil
		}
	}
}

// timeline is one in the making.
type timeline struct {
	ctx    context.Context
	x      Index
	root   node
	agents map[string]*agent // by conversation and name
	turns  map[access.OperationID][]access.Call
	calls  map[access.CallRef]*node // by identifier and turn
}

// node is a moment with those below it.
type node struct {
	access.Moment
	below []*node
}

func (n *node) add(m access.Moment) *node {
	child := &node{Moment: m}
	n.below = append(n.below, child)
	return child
}

func (n *node) flatten(depth int, out *[]access.Moment) {
	slices.SortStableFunc(n.below, func(a, b *node) int { return a.Time.Compare(b.Time) })
	for _, b := range n.below {
		b.Depth = depth
		*out = append(*out, b.Moment)
		b.flatten(depth+1, out)
	}
}

// agent is a conversation's own, or a sub-agent in it.
type agent struct {
	place  *node // below which its prompts stand
	cause  *access.Cause
	prompt *node // the last one
	text   string
	turns  int64 // how many messages the last request had
	idle   bool  // the last answer had no calls
}

// elsewhere gives operations of other sessions that calls of this one caused.
func (t *timeline) elsewhere(session access.SessionID) ([]access.Record, error) {
	ids, err := t.x.CausedElsewhere(t.ctx, session)
	if err != nil {
		return nil, err
	}
	var out []access.Record
	for _, id := range ids {
		r, there, err := t.x.Operation(t.ctx, id)
		if err != nil {
			return nil, err
		}
		if there {
			out = append(out, r)
		}
	}
	return out, nil
}

// operation places an operation below the one call that caused it.
func (t *timeline) operation(r access.Record) error {
	causes, err := t.x.Causes(t.ctx, r.Operation.ID)
	if err != nil {
		return err
	}
	cause, _ := best(r.Operation.Cause, causes)
	m := access.Moment{Time: r.Operation.Time, Record: &r, Cause: cause}
	if n := t.call(cause); n != nil {
		m.Conversation, m.Agent = n.Conversation, n.Agent
		n.add(m)
		return nil
	}
	t.root.add(m)
	return nil
}

// call is the one call that a cause names; nil where it names none, several, or one that the index no longer has.
func (t *timeline) call(c *access.Cause) *node {
	if c == nil || c.Rung <= access.Ambiguous || len(c.Calls) != 1 {
		return nil
	}
	return t.calls[access.CallRef{Call: c.Calls[0].Call, Turn: c.Calls[0].Turn}]
}

// turn adds a model's turn: its prompt where that is new, and its calls.
func (t *timeline) turn(r access.Record) error {
	m := r.Operation.Model
	key := m.Conversation + "\x00" + m.Agent
	a := t.agents[key]
	if a == nil {
		var err error
		if a, err = t.agent(r); err != nil {
			return err
		}
		t.agents[key] = a
	}
	again := a.idle && len(m.Results) == 0 && m.Turns > a.turns // the same words once more
	if m.Prompt != "" && (a.prompt == nil || a.text != m.Prompt || again) {
		a.text = m.Prompt
		a.prompt = a.place.add(access.Moment{Time: r.Operation.Time, Conversation: m.Conversation, Agent: m.Agent, Prompt: m.Prompt, Cause: a.cause})
	}
	place := a.prompt
	if place == nil {
		place = a.place
	}
	calls := t.turns[r.Operation.ID]
	a.turns, a.idle = m.Turns, len(calls) == 0
	for _, c := range calls {
		t.calls[access.CallRef{Call: c.ID, Turn: c.Turn}] = place.add(access.Moment{Time: c.Emitted, Conversation: m.Conversation, Agent: m.Agent, Call: &c})
	}
	return nil
}

// agent finds where an agent's prompts stand: a sub-agent's below the call that started it or, where that is not known, below
// what its parent was last asked.
func (t *timeline) agent(r access.Record) (*agent, error) {
	m := r.Operation.Model
	if m.Agent == "" {
		return &agent{place: &t.root}, nil
	}
	causes, err := t.x.Causes(t.ctx, r.Operation.ID)
	if err != nil {
		return nil, err
	}
	a := &agent{place: &t.root}
	a.cause, _ = best(r.Operation.Cause, causes)
	if n := t.call(a.cause); n != nil {
		a.place = n
	} else if parent := t.agents[m.Conversation+"\x00"+m.ParentAgent]; parent != nil && parent.prompt != nil {
		a.place = parent.prompt
	}
	return a, nil
}
