package approval

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"gatebook/internal/access"
)

var errInexact = errors.New("the request holds text that is not UTF-8, which cannot be shown to an approver exactly")

// Ask gives the approval for op, asking people where there is none: it joins an open question or an unused yes of the
// same binding and terms, and repeats a no that is at most Options.Denial old. card is called at most once, and only
// for a new question. Of the operation, the approval keeps all but the decoded objects, which are on its card. The
// error is an *access.Refusal.
func (d *Desk) Ask(ctx context.Context, op *access.Operation, dec access.Decision, card func(context.Context) (access.Card, error)) (access.Approval, error) {
	a, err := d.ask(ctx, op, dec, card)
	if err != nil {
		return a, refusal(a.ID, err)
	}
	return d.view(a), nil
}

func (d *Desk) ask(ctx context.Context, op *access.Operation, dec access.Decision, card func(context.Context) (access.Card, error)) (access.Approval, error) {
	if err := askable(op, dec); err != nil {
		return access.Approval{}, err
	}
	dec.Approval = ptr(complete(*dec.Approval))
	draft := access.Approval{State: access.ApprovalPending, Binding: Bind(op, dec), Operation: bare(op), Decision: dec}
	name, err := slot(draft)
	if err != nil {
		return access.Approval{}, err
	}
	for range attempts {
		a, err := d.find(ctx, draft)
		if err != nil || a.ID != "" {
			return a, err
		}
		mine, done, err := d.claim(ctx, name)
		if err != nil {
			return access.Approval{}, err
		}
		if !mine {
			continue // somebody else has just asked the same
		}
		a, err = d.open(ctx, draft, name, card)
		done()
		if err != nil || a.ID != "" {
			return a, err
		}
	}
	return access.Approval{}, errors.New("asking: others keep asking the same")
}

// askable refuses what could not be bound or shown.
func askable(op *access.Operation, dec access.Decision) error {
	switch {
	case dec.Effect != access.Approve || dec.Approval == nil:
		return errors.New("asking: the decision does not ask for approval")
	case op.Digest.IsZero() || op.Principal.IsZero() || op.Target.Name == "" || dec.Policy.IsZero():
		return errors.New("asking: the operation has no digest, principal, target or policy to bind to")
	}
	if slices.ContainsFunc(op.Texts(), func(s string) bool { return !utf8.ValidString(s) }) {
		return errInexact
	}
	return nil
}

// complete fills in what the terms leave open, on the safe side.
func complete(t access.ApprovalTerms) access.ApprovalTerms {
	t.Count, t.MaxGrant = max(t.Count, 1), max(t.MaxGrant, 0)
	if t.Expires <= 0 {
		t.Expires = defaultExpires
	}
	if t.Valid <= 0 {
		t.Valid = defaultValid
	}
	return t
}

// bare is the operation without the objects.
func bare(op *access.Operation) access.Operation {
	out := *op
	if op.Kubernetes != nil {
		k := *op.Kubernetes
		k.Object, k.Stored = nil, nil
		out.Kubernetes = &k
	}
	return out
}

// find gives the approval that already answers the draft, or the zero one; open ones that have lapsed it closes.
func (d *Desk) find(ctx context.Context, draft access.Approval) (access.Approval, error) {
	open, err := d.o.Store.Approvals(ctx, access.ApprovalFilter{Binding: draft.Binding,
		States: []access.ApprovalState{access.ApprovalPending, access.ApprovalGranted}, Brief: true})
	if err != nil {
		return access.Approval{}, err
	}
	var pending access.ApprovalID
	for _, a := range open {
		switch {
		case lapsed(a, d.now()):
			if err := d.expire(ctx, a.ID); err != nil {
				return access.Approval{}, err
			}
		case !sameTerms(a.Decision.Approval, draft.Decision.Approval):
		case a.State == access.ApprovalGranted && a.Scope == access.ScopeSession && a.Operation.Session != draft.Operation.Session:
		case a.State == access.ApprovalGranted:
			return d.stored(ctx, a.ID)
		default:
			pending = a.ID
		}
	}
	if pending != "" {
		return d.stored(ctx, pending)
	}
	denied, err := d.o.Store.Approvals(ctx, access.ApprovalFilter{Binding: draft.Binding, States: []access.ApprovalState{access.ApprovalDenied}, Limit: 1})
	if err != nil || len(denied) == 0 || !d.stands(denied[0], draft) {
		return access.Approval{}, err
	}
	return denied[0], nil
}

// stands reports whether a no still answers the draft.
func (d *Desk) stands(a, draft access.Approval) bool {
	if len(a.Answers) == 0 || !sameTerms(a.Decision.Approval, draft.Decision.Approval) {
		return false
	}
	return d.now().Sub(a.Answers[len(a.Answers)-1].Time) < d.o.Denial
}

// claim gives the caller the right to ask under name, until done; or waits until who has it is done.
func (d *Desk) claim(ctx context.Context, name string) (mine bool, done func(), err error) {
	d.mu.Lock()
	other := d.asking[name]
	if other == nil {
		ch := make(chan struct{})
		d.asking[name] = ch
		d.mu.Unlock()
		return true, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			delete(d.asking, name)
			close(ch)
		}, nil
	}
	d.mu.Unlock()
	select {
	case <-other:
		return false, nil, nil
	case <-ctx.Done():
		return false, nil, ctx.Err()
	}
}

// open asks a new question; where somebody else has just asked the same, it gives the zero approval.
func (d *Desk) open(ctx context.Context, a access.Approval, name string, card func(context.Context) (access.Card, error)) (access.Approval, error) {
	// Asked and answered between the caller's look and its claim: look again.
	if found, err := d.find(ctx, a); err != nil || found.ID != "" {
		return found, err
	}
	if err := d.room(ctx, a); err != nil {
		return access.Approval{}, err
	}
	if card != nil {
		var err error
		if a.Card, err = card(ctx); err != nil {
			return access.Approval{}, fmt.Errorf("making the card: %w", err)
		}
	}
	now := d.now()
	a.ID, a.Created, a.Expires = access.ApprovalID(access.NewID(now)), now, now.Add(a.Decision.Approval.Expires)
	events := []Event{{Kind: Asked, Approval: a, Time: now}}
	d.turn.Lock()
	defer d.turn.Unlock()
	// Others may have asked while the card was made: neither the slot nor the room is sure before it is taken.
	if err := d.room(ctx, a); err != nil {
		return access.Approval{}, err
	}
	ok, err := d.recorded(events, func() (bool, error) {
		return d.o.Store.CreateApproval(ctx, a, name, d.o.MaxOpen, d.messages(events)...)
	})
	if err != nil || !ok {
		return access.Approval{}, cmp.Or(err, d.room(ctx, a))
	}
	d.tell(events)
	return a, nil
}

// room reports whether the one who asks may have one more open question.
func (d *Desk) room(ctx context.Context, a access.Approval) error {
	n, err := d.o.Store.CountPending(ctx, a.Operation.Principal.Key(), d.now())
	if err == nil && n >= d.o.MaxOpen {
		err = ErrTooMany
	}
	return err
}

func ptr[T any](v T) *T { return &v }
