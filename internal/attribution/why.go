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
	CausedElsewhere(ctx context.Context, session access.SessionID) ([]access.OperationID, error)
	Approvals(ctx context.Context, f access.ApprovalFilter) ([]access.Approval, error)
}

const (
	// most bounds the chains of one answer, and mostPages what is looked through for them.
	most      = 20
	mostPages = 10
	// maxLinks bounds the agents that started one another.
	maxLinks = 8
)

// Why gives what is known of how the operations came about that query names, and whether there are more. A query is the
// identifier of an operation or an approval, a commit of a push (at least 7 digits), or words of what was acted on or of
// the command, such as "deployments shop/web", "secret/db -n shop" or the text of a statement. What the words name exactly
// comes first, changes before reads, and the latest first.
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
		if out, more, err := byID(ctx, x, query); err != nil || len(out) > 0 {
			return out, more, err
		}
	}
	if commit := strings.ToLower(query); len(commit) >= 7 && len(commit) <= 64 && strings.Trim(commit, "0123456789abcdef") == "" {
		out, more, err := look(ctx, x, store.OperationFilter{Text: commit}, func(r access.Record) int {
			if !brings(r.Operation.Git, commit) {
				return never
			}
			return rank(r)
		})
		if err != nil || len(out) > 0 || strings.ContainsAny(commit, "0123456789") { // else it may be a word
			return out, more, err
		}
	}
	f, words := searched(query)
	return look(ctx, x, f, func(r access.Record) int {
		if exactly(&r.Operation, words) {
			return rank(r)
		}
		return rank(r) + inexact
	})
}

// byID finds an operation, or what an approval was asked for and what ran under it.
func byID(ctx context.Context, x Index, id string) ([]access.Record, bool, error) {
	if r, there, err := x.Operation(ctx, access.OperationID(id)); err != nil || there {
		return []access.Record{r}, false, err
	}
	asked, err := x.Approvals(ctx, access.ApprovalFilter{ID: access.ApprovalID(id), Brief: true})
	if err != nil || len(asked) == 0 {
		return nil, false, err
	}
	out, next, err := x.Search(ctx, store.OperationFilter{Approval: access.ApprovalID(id), Limit: most})
	if err != nil {
		return nil, false, err
	}
	first := asked[0].Operation.ID
	if !slices.ContainsFunc(out, func(r access.Record) bool { return r.Operation.ID == first }) {
		r, there, err := x.Operation(ctx, first)
		if err != nil {
			return nil, false, err
		}
		if there {
			out = append(out, r)
		}
	}
	return out, next != "", nil
}

// brings reports whether it is the update of a ref that made a commit its tip, or brought it below.
func brings(g *access.Git, commit string) bool {
	return g != nil && g.Service == "receive-pack" && (strings.HasPrefix(g.New, commit) ||
		slices.ContainsFunc(g.Commits, func(c access.Commit) bool { return strings.HasPrefix(c.ID, commit) }))
}

const (
	inexact = 10
	never   = 100
)

// rank orders what was found: changes that ran, changes that were refused, and then reads.
func rank(r access.Record) int {
	n := 0
	if !changes(&r.Operation) {
		n = 2
	}
	if r.Refused != nil {
		n++
	}
	return n
}

// changes reports whether an operation is more than a read.
func changes(op *access.Operation) bool {
	switch {
	case op.Kubernetes != nil:
		return !reads(op.Kubernetes)
	case op.SQL != nil:
		return op.SQL.Effect != "read" && op.SQL.Effect != "session"
	case op.Git != nil:
		return op.Git.Service == "receive-pack" && op.Git.Ref != ""
	case op.Web != nil:
		return !slices.Contains([]string{"GET", "HEAD", "OPTIONS"}, op.Web.Method)
	}
	return false
}

// look looks through what a filter finds, and gives the best of it in order.
func look(ctx context.Context, x Index, f store.OperationFilter, order func(access.Record) int) ([]access.Record, bool, error) {
	type ranked struct {
		access.Record
		n int
	}
	var all []ranked
	more := true
	for range mostPages {
		found, next, err := x.Search(ctx, f)
		if err != nil {
			return nil, false, err
		}
		for _, r := range found {
			if n := order(r); n < never && r.Operation.Model == nil && r.Operation.Parent == "" {
				all = append(all, ranked{r, n})
			}
		}
		if f.Cursor = next; next == "" {
			more = false
			break
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return a.n - b.n })
	var out []access.Record
	for _, r := range all[:min(len(all), most)] {
		out = append(out, r.Record)
	}
	return out, more || len(all) > most, nil
}

// searched makes a search of what was asked: -n NAMESPACE as kubectl has it, and words.
func searched(query string) (store.OperationFilter, []string) {
	var f store.OperationFilter
	var words []string
	fields := strings.Fields(query)
	for i := 0; i < len(fields); i++ {
		key, value, given := strings.Cut(fields[i], "=")
		switch {
		case (key == "-n" || key == "--namespace") && given:
			f.Namespace = value
		case (key == "-n" || key == "--namespace") && i+1 < len(fields):
			i++
			f.Namespace = fields[i]
		default:
			words = append(words, strings.FieldsFunc(fields[i], func(r rune) bool { return r == '/' })...)
		}
	}
	if len(words) > 1 {
		if full, ok := shortNames[strings.ToLower(words[0])]; ok {
			words[0] = full
		}
	}
	f.Text = strings.Join(words, " ")
	return f, words
}

// exactly reports whether the words are just what an operation acts on: not beginnings, and nothing of its command.
func exactly(op *access.Operation, words []string) bool {
	_, _, names := op.ActsOn()
	have := strings.Fields(names)
	k := op.Kubernetes
	return !slices.ContainsFunc(words, func(w string) bool {
		return !slices.Contains(have, w) && (k == nil || !sameResource(w, k))
	})
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
	id := r.Approval
	if id == "" && r.Refused != nil {
		id = r.Refused.Approval
	}
	if id == "" {
		return c, nil
	}
	found, err := w.x.Approvals(w.ctx, access.ApprovalFilter{ID: id, Brief: true})
	if err == nil && len(found) == 1 {
		c.Approval = &found[0]
	}
	return c, err
}

// best is the cause of the highest rung, the latest of equals, and the others, in order. A later cause that contradicts an
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
		l, err := w.link(session, ref, 0)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// link gives a call with the turn that emitted it, and of a sub-agent's turn the call that started the agent.
func (w *why) link(session access.SessionID, ref access.CallRef, depth int) (access.Link, error) {
	l := access.Link{Call: access.Call{ToolCall: access.ToolCall{ID: ref.Call, Name: ref.Tool}, Session: session, Turn: ref.Turn}}
	turn, there, err := w.x.Operation(w.ctx, ref.Turn)
	if err != nil {
		return l, err
	}
	if there {
		l.Turn = &turn
		session = turn.Operation.Session
	}
	all, ok := w.calls[session]
	if !ok {
		if all, err = w.x.Calls(w.ctx, session); err != nil {
			return l, err
		}
		w.calls[session] = all
	}
	for _, c := range all {
		if c.ID == ref.Call && c.Turn == ref.Turn {
			l.Call = c
		}
	}
	if !there || turn.Operation.Cause == nil || depth >= maxLinks {
		return l, nil
	}
	err = w.parent(&l, turn, depth)
	return l, err
}

// parent finds the call that gave a sub-agent its prompt.
func (w *why) parent(l *access.Link, turn access.Record, depth int) error {
	causes, err := w.x.Causes(w.ctx, turn.Operation.ID)
	if err != nil {
		return err
	}
	l.Agent, _ = best(turn.Operation.Cause, causes)
	if l.Agent == nil || len(l.Agent.Calls) != 1 {
		return nil
	}
	parent, err := w.link(turn.Operation.Session, l.Agent.Calls[0], depth+1)
	l.Parent = &parent
	return err
}
