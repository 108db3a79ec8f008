package approval

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatebook/internal/access"
)

// End takes back a yes that can still be used: for a task, for a time, or once and not used yet. Nothing runs by it from
// then on; what runs already goes on. Who may: whom policy names as an approver, and whom Options.MayEnd lets. Errors are
// this package's.
func (d *Desk) End(ctx context.Context, id access.ApprovalID, who access.Principal, reason string) (access.Approval, error) {
	return d.change(ctx, id, func(a access.Approval, now time.Time) (step, error) {
		return d.end(a, access.Answer{Approver: who, Reason: reason, Time: now}, now)
	})
}

// end adds a last answer, a no: so it is kept, shown and told like any other.
func (d *Desk) end(a access.Approval, no access.Answer, now time.Time) (step, error) {
	switch {
	case no.Approver.IsZero() || !no.Approver.Workload.IsZero():
		return step{}, fmt.Errorf("%w: a workload is no person", ErrNotAllowed)
	case !Named(a.Decision.Approval, no.Approver) && !d.o.MayEnd(no.Approver, a):
		return step{}, ErrNotAllowed
	case strings.TrimSpace(no.Reason) == "":
		return step{}, fmt.Errorf("%w: ending needs a reason", ErrInvalid)
	case lapsed(a, now) && a.State == access.ApprovalGranted:
		return expire(a, now, ErrExpired), nil
	case a.State != access.ApprovalGranted:
		return step{}, ErrNotGranted
	}
	if err := settle(&no, a.Decision.Approval); err != nil {
		return step{}, err
	}
	s := step{was: a, now: a}
	s.now.State, s.now.Answers = access.ApprovalEnded, append(slices.Clip(a.Answers), no)
	s.events = []Event{{Kind: Ended, Approval: s.now, Answer: no, Time: now}}
	return s, nil
}
