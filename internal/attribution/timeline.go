package attribution

import (
	"context"
	"slices"

	"gatebook/internal/access"
	"gatebook/internal/store"
)

// maxMoments bounds a timeline.
const maxMoments = 5000

// Timeline tells what happened in a session: prompts, below them the tool calls that they led to, below these the
// operations that they caused, and the sub-agents that they started with all of theirs. What no call is known to have
// caused stands at the top. Beside each other things stand in order of time. more says that the session has more
// operations than are told of, which are its latest.
func Timeline(ctx context.Context, x Index, session access.SessionID) (out []access.Moment, more bool, err error) {
	records, more, err := operations(ctx, x, session)
	if err != nil {
		return nil, false, err
	}
	calls, err := x.Calls(ctx, session)
	if err != nil {
		return nil, false, err
	}
	t := &timeline{all: calls, turns: map[access.OperationID][]access.Call{}, calls: map[callKey]*node{}, prompts: map[string]*node{}}
	for _, c := range calls {
		t.turns[c.Turn] = append(t.turns[c.Turn], c)
	}
	for _, r := range records {
		if r.Operation.Model != nil {
			t.turn(r)
		}
	}
	for _, r := range records {
		if r.Operation.Model == nil && r.Operation.Parent == "" {
			causes, err := x.Causes(ctx, r.Operation.ID)
			if err != nil {
				return nil, false, err
			}
			t.operation(r, causes)
		}
	}
	return t.root.flat(nil, 0), more, nil
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
	root    node
	all     []access.Call
	turns   map[access.OperationID][]access.Call
	calls   map[callKey]*node
	prompts map[string]*node // the last, by agent
}

// callKey is a call of a turn: providers make a call's own identifier unique in a turn only.
type callKey struct {
	turn access.OperationID
	id   string
}

// node is a moment with what came of it.
type node struct {
	access.Moment
	below []*node
}

func (n *node) add(m access.Moment) *node {
	n.below = append(n.below, &node{Moment: m})
	return n.below[len(n.below)-1]
}

// flat lists what is below n, each behind what it is below.
func (n *node) flat(out []access.Moment, depth int) []access.Moment {
	slices.SortStableFunc(n.below, func(a, b *node) int { return a.Time.Compare(b.Time) })
	for _, b := range n.below {
		b.Depth = depth
		out = b.flat(append(out, b.Moment), depth+1)
	}
	return out
}

// turn adds a model's turn: its prompt where that is new, and its calls.
func (t *timeline) turn(r access.Record) {
	m := r.Operation.Model
	prompt := t.prompts[m.Agent]
	if m.Prompt != "" && (prompt == nil || prompt.Prompt != m.Prompt) {
		prompt = t.above(r, prompt).add(access.Moment{Time: r.Operation.Time, Agent: m.Agent, Prompt: m.Prompt})
		t.prompts[m.Agent] = prompt
	}
	if prompt == nil {
		prompt = &t.root
	}
	for _, c := range t.turns[r.Operation.ID] {
		t.calls[callKey{c.Turn, c.ID}] = prompt.add(access.Moment{Time: c.Emitted, Agent: m.Agent, Call: &c})
	}
}

// above is what a prompt stands below: of a sub-agent the call that started it, else what it was told before, else its
// parent's prompt.
func (t *timeline) above(r access.Record, before *node) *node {
	m := r.Operation.Model
	if m.Agent == "" {
		return &t.root
	}
	if c := starter(t.all, r.Operation); c != nil {
		if n := t.calls[callKey{c.Turn, c.ID}]; n != nil {
			return n
		}
	}
	if before != nil {
		return before
	}
	if p := t.prompts[m.ParentAgent]; p != nil {
		return p
	}
	return &t.root
}

// operation adds one that is no model's, below the one call that caused it.
func (t *timeline) operation(r access.Record, causes []access.Cause) {
	cause, _ := best(r.Operation.Cause, causes)
	above := &t.root
	if cause != nil && cause.Rung > access.Ambiguous && len(cause.Calls) == 1 {
		if n := t.calls[callKey{cause.Calls[0].Turn, cause.Calls[0].Call}]; n != nil {
			above = n
		}
	}
	above.add(access.Moment{Time: r.Operation.Time, Agent: above.Agent, Record: &r, Cause: cause})
}
