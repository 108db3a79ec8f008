package approval

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatebook/internal/access"
)

// maxReason bounds what an approver can write, in bytes.
const maxReason = 8 << 10

// Answer takes one person's answer. ans.Approver is the verified principal of who answers; ans.Time is set here. One no
// settles it, and its reason goes to the agent; a yes does when as many different people as the terms ask for have
// said it, with the narrowest scope that all of them gave. With ans.BreakGlass one yes settles it, once, whatever the
// terms say. Errors are this package's.
func (d *Desk) Answer(ctx context.Context, id access.ApprovalID, ans access.Answer) (access.Approval, error) {
	return d.change(ctx, id, func(a access.Approval, now time.Time) (step, error) {
		ans.Time = now
		return d.answer(a, ans, now)
	})
}

func (d *Desk) answer(a access.Approval, ans access.Answer, now time.Time) (step, error) {
	if err := d.mayAnswer(a, ans); err != nil {
		return step{}, err
	}
	switch {
	case a.State == access.ApprovalExpired:
		return step{}, ErrExpired
	case lapsed(a, now):
		return expire(a, now, ErrExpired), nil
	case a.State != access.ApprovalPending:
		return step{}, ErrAnswered
	case slices.ContainsFunc(a.Answers, func(b access.Answer) bool { return b.Approver.SamePerson(ans.Approver) }):
		return step{}, ErrTwice
	}
	if err := settle(&ans, a.Decision.Approval); err != nil {
		return step{}, err
	}
	s := step{was: a, now: a}
	s.now.Answers = append(slices.Clip(a.Answers), ans)
	switch {
	case !ans.Yes:
		s.now.State = access.ApprovalDenied
	case ans.BreakGlass || len(s.now.Answers) >= a.Decision.Approval.Count: // answers so far were all yes
		grant(&s.now, now)
	}
	s.events = []Event{{Kind: Answered, Approval: s.now, Answer: ans, Time: now}}
	if ans.BreakGlass {
		s.events = append(s.events, Event{Kind: BreakGlass, Approval: s.now, Answer: ans, Time: now})
	}
	return s, nil
}

// mayAnswer is the same for everybody, administrators too.
func (d *Desk) mayAnswer(a access.Approval, ans access.Answer) error {
	who, terms := ans.Approver, a.Decision.Approval
	switch {
	case who.IsZero() || terms == nil:
		return ErrNotAllowed
	case who.SamePerson(a.Operation.Principal):
		return ErrRequester
	case !who.Workload.IsZero():
		return fmt.Errorf("%w: a workload is no person", ErrNotAllowed)
	case ans.BreakGlass:
		if !d.o.MayBreakGlass(who, a) {
			return fmt.Errorf("%w: breaking the glass is a permission of its own", ErrNotAllowed)
		}
		return nil
	case len(terms.Groups) == 0 && len(terms.Users) == 0:
		if !d.o.MayApprove(who, a) {
			return ErrNotAllowed
		}
		return nil
	case Named(terms, who):
		return nil
	}
	return fmt.Errorf("%w: policy asks for %s", ErrNotAllowed, strings.Join(append(slices.Clone(terms.Groups), terms.Users...), ", "))
}

// Named reports whether the terms name p as an approver: by a group, by the name that policy sees, or by key. An alias
// names nobody, since people can often choose their own.
func Named(terms *access.ApprovalTerms, p access.Principal) bool {
	return terms != nil && (slices.ContainsFunc(terms.Groups, p.InGroup) || slices.Contains(terms.Users, p.Name) || slices.Contains(terms.Users, p.Key()))
}

// settle checks what an answer says, and leaves nothing in it without a meaning.
func settle(ans *access.Answer, terms *access.ApprovalTerms) error {
	invalid := func(why string) error { return fmt.Errorf("%w: %s", ErrInvalid, why) }
	if len(ans.Reason) > maxReason {
		return invalid(fmt.Sprintf("its reason is longer than %d bytes", maxReason))
	}
	ans.Reason = strings.ToValidUTF8(ans.Reason, "\uFFFD")
	if ans.BreakGlass {
		switch {
		case !ans.Yes:
			return invalid("breaking the glass says yes")
		case strings.TrimSpace(ans.Reason) == "":
			return invalid("breaking the glass needs a reason")
		case ans.Scope != "" && ans.Scope != access.ScopeOnce:
			return invalid("breaking the glass is for once")
		}
	}
	if !ans.Yes {
		ans.Scope, ans.For = "", 0
		return nil
	}
	switch ans.Scope {
	case "", access.ScopeOnce:
		ans.Scope, ans.For = access.ScopeOnce, 0
	case access.ScopeSession:
		ans.For = 0
		if terms.MaxGrant <= 0 {
			return invalid("policy lets this be granted for once only")
		}
	case access.ScopeTime:
		switch {
		case terms.MaxGrant <= 0:
			return invalid("policy lets this be granted for once only")
		case ans.For <= 0 || ans.For > terms.MaxGrant:
			return invalid(fmt.Sprintf("a time grant must be for more than 0 and at most %s", terms.MaxGrant))
		}
	default:
		return invalid(fmt.Sprintf("scope %q: want once, session or time", ans.Scope))
	}
	return nil
}

// grant settles a as the narrowest of what its answers allow: once, if any says so or if they differ.
func grant(a *access.Approval, now time.Time) {
	a.State, a.Scope = access.ApprovalGranted, a.Answers[0].Scope
	hold := a.Decision.Approval.MaxGrant
	for _, ans := range a.Answers {
		if ans.Scope != a.Scope {
			a.Scope = access.ScopeOnce
		}
		if ans.Scope == access.ScopeTime {
			hold = min(hold, ans.For)
		}
	}
	if a.Scope == access.ScopeOnce {
		hold = a.Decision.Approval.Valid
	}
	a.ValidUntil = now.Add(hold)
}
