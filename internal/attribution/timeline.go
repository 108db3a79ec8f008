package attribution

import (
	"context"
	"slices"

	"gatebook/internal/access"
	"gatebook/internal/store"
)

// maxMoments bounds a timeline.
const maxMoments = 5000

// Timeline tells what happened in a session, in order: prompts, below them the tool calls that they led to, below these
// the operations that they caused. What no call is known to have caused stands at the top. more says that the session
// has more operations than are told of, which are its latest.
func Timeline(ctx context.Context, x Index, session access.SessionID) (out []access.Moment, more bool, err error) {
	records, more, err := operations(ctx, x, session)
	if err != nil {
		return nil, false, err
	}
	calls, err := x.Calls(ctx, session)
	if err != nil {
		return nil, false, err
	}
	t := &timeline{depth: map[string]int{"": 0}, prompts: map[string]string{}, below: map[string][]access.Moment{}, turns: map[access.OperationID][]access.Call{}}
	for _, c := range calls {
		t.turns[c.Turn] = append(t.turns[c.Turn], c)
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
	for _, r := range records {
		if r.Operation.Model != nil {
			t.turn(r)
		}
	}
	for _, stray := range t.below { // of calls that the index no longer has
		t.out = append(t.out, stray...)
	}
	slices.SortStableFunc(t.out, func(a, b access.Moment) int { return a.Time.Compare(b.Time) })
	return t.out, more, nil
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
	out     []access.Moment
	depth   map[string]int    // by agent
	prompts map[string]string // the last, by agent
	turns   map[access.OperationID][]access.Call
	below   map[string][]access.Moment // operations, by the one call that caused them
}

func (t *timeline) operation(r access.Record, causes []access.Cause) {
	cause, _ := best(r.Operation.Cause, causes)
	m := access.Moment{Time: r.Operation.Time, Record: &r, Cause: cause}
	if cause != nil && cause.Rung > access.Ambiguous && len(cause.Calls) == 1 {
		t.below[cause.Calls[0].Call] = append(t.below[cause.Calls[0].Call], m)
		return
	}
	t.out = append(t.out, m)
}

// turn adds a model's turn: its prompt where that is new, its calls, and what they caused.
func (t *timeline) turn(r access.Record) {
	m := r.Operation.Model
	depth, known := t.depth[m.Agent]
	if !known {
		depth = t.depth[m.ParentAgent] + 2 // below the call that started it
		t.depth[m.Agent] = depth
	}
	if m.Prompt != "" && t.prompts[m.Agent] != m.Prompt {
		t.prompts[m.Agent] = m.Prompt
		t.out = append(t.out, access.Moment{Time: r.Operation.Time, Depth: depth, Agent: m.Agent, Prompt: m.Prompt})
	}
	for _, c := range t.turns[r.Operation.ID] {
		t.out = append(t.out, access.Moment{Time: c.Emitted, Depth: depth + 1, Agent: m.Agent, Call: &c})
		for _, op := range t.below[c.ID] {
			op.Depth, op.Agent = depth+2, m.Agent
			t.out = append(t.out, op)
		}
		delete(t.below, c.ID)
	}
}
