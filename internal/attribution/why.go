package attribution

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/store"
)

// Index is what is read to answer.
type Index interface {
	Operation(ctx context.Context, id access.OperationID) (access.Record, bool, error)
	Search(ctx context.Context, f store.OperationFilter) ([]access.Record, string, error)
	Calls(ctx context.Context, session access.SessionID) ([]access.Call, error)
	Causes(ctx context.Context, id access.OperationID) ([]access.Cause, error)
	Approvals(ctx context.Context, f access.ApprovalFilter) ([]access.Approval, error)
}

// most bounds the chains of one answer.
const most = 20

// deepest bounds the agents that start each other in one chain.
const deepest = 10

// Why gives what is known of how the operations came about that query names, the latest first, and whether there are
// more. A query is the identifier of an operation or an approval, a commit of a push (at least 7 digits), or words of
// what was acted on or of the command, such as "deployments shop/web" or the text of a statement.
func Why(ctx context.Context, x Index, query string) (chains []access.Chain, more bool, err error) {
	records, more, err := named(ctx, x, strings.TrimSpace(query))
	if err != nil {
		return nil, false, err
	}
	w := &why{ctx: ctx, x: x, calls: map[access.SessionID][]access.Call{}}
	for _, r := range records {
		c, err := w.chain(r)
		if err != nil {
			return nil, false, err
		}
		chains = append(chains, c)
	}
	return chains, more, nil
}

// named finds the operations that a query means. The gateway's own look-ups, and calls of models unless one is named, are
// no effects.
func named(ctx context.Context, x Index, query string) ([]access.Record, bool, error) {
	if query == "" {
		return nil, false, fmt.Errorf("nothing is asked: give a commit, an object, words of a statement, an operation or an approval")
	}
	if access.ValidID(query) {
		if r, there, err := x.Operation(ctx, access.OperationID(query)); err != nil || there {
			return []access.Record{r}, false, err
		}
		found, next, err := x.Search(ctx, store.OperationFilter{Approval: access.ApprovalID(query), Limit: most})
		if err != nil || len(found) > 0 {
			return found, next != "", err
		}
	}
	text := strings.Join(strings.FieldsFunc(query, func(r rune) bool { return r == '/' || r == ' ' || r == '\n' || r == '\t' }), " ")
	var out []access.Record
	cursor := ""
	for range 10 { // pages
		found, next, err := x.Search(ctx, store.OperationFilter{Text: text, Cursor: cursor})
		if err != nil {
			return nil, false, err
		}
		for _, r := range found {
			if r.Operation.Model != nil || r.Operation.Parent != "" || isCommit(query) && r.Operation.Git == nil {
				continue
			}
			if out = append(out, r); len(out) > most {
				return out[:most], true, nil
			}
		}
		if cursor = next; next == "" {
			return out, false, nil
		}
	}
	return out, true, nil
}

// isCommit reports whether s can only be meant as a commit.
func isCommit(s string) bool {
	return len(s) >= 7 && len(s) <= 64 && strings.Trim(s, "0123456789abcdef") == "" && strings.ContainsAny(s, "0123456789")
}

type why struct {
	ctx   context.Context
	x     Index
	calls map[access.SessionID][]access.Call
}

func (w *why) chain(r access.Record) (access.Chain, error) {
	c := access.Chain{Record: r}
	causes, err := w.x.Causes(w.ctx, r.Operation.ID)
	if err != nil {
		return c, err
	}
	c.Cause, c.Earlier = best(r.Operation.Cause, causes)
	if c.Links, err = w.links(r.Operation.Session, c.Cause); err != nil {
		return c, err
	}
	if r.Approval != "" {
		found, err := w.x.Approvals(w.ctx, access.ApprovalFilter{ID: r.Approval, Brief: true})
		if err != nil {
			return c, err
		}
		if len(found) == 1 {
			c.Approval = &found[0]
		}
	}
	return c, nil
}

// best is the cause of the highest rung, the latest of equals, and those before it. A later cause that contradicts an
// earlier one says so by a flag.
func best(first *access.Cause, all []access.Cause) (*access.Cause, []access.Cause) {
	if len(all) == 0 {
		return first, nil
	}
	at := 0
	for i := range all {
		if all[i].Rung >= all[at].Rung {
			at = i
		}
	}
	top := all[at]
	rest := slices.Delete(slices.Clone(all), at, at+1)
	if first != nil && len(first.Calls)+len(first.Flags) == 0 { // the index keeps it with the operation alone
		rest = append([]access.Cause{*first}, rest...)
	}
	return &top, rest
}

// Links are the calls that may be behind an operation, as far as was known when it came, each with what led to it.
func Links(ctx context.Context, x Index, op access.Operation) ([]access.Link, error) {
	w := &why{ctx: ctx, x: x, calls: map[access.SessionID][]access.Call{}}
	return w.links(op.Session, op.Cause)
}

func (w *why) links(session access.SessionID, c *access.Cause) ([]access.Link, error) {
	if c == nil {
		return nil, nil
	}
	var out []access.Link
	for _, ref := range c.Calls {
		l, err := w.link(session, ref, deepest)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// link is a call with what led to it, through up to deep more agents.
func (w *why) link(session access.SessionID, ref access.CallRef, deep int) (access.Link, error) {
	all, ok := w.calls[session]
	if !ok {
		var err error
		if all, err = w.x.Calls(w.ctx, session); err != nil {
			return access.Link{}, err
		}
		w.calls[session] = all
	}
	l := access.Link{Call: access.Call{ToolCall: access.ToolCall{ID: ref.Call, Name: ref.Tool}, Session: session, Turn: ref.Turn}}
	for _, c := range all {
		if c.ID == ref.Call && c.Turn == ref.Turn {
			l.Call = c
		}
	}
	turn, there, err := w.x.Operation(w.ctx, ref.Turn)
	if err != nil || !there {
		return l, err
	}
	l.Turn = &turn
	if c := starter(all, turn.Operation); c != nil && deep > 0 {
		parent, err := w.link(session, access.CallRef{Call: c.ID, Tool: c.Name, Turn: c.Turn}, deep-1)
		if err != nil {
			return l, err
		}
		l.Parent = &parent
	}
	return l, nil
}
