package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatebook/internal/access"
)

// rounds bounds how often an operation is judged again because the policy changed while a person was asked.
const rounds = 3

// judge gives the decision under which the operation may run, with the approval that it used up; or why it may not. d is what policy says
// at first.
func (g *Gate) judge(ctx context.Context, r Request, d access.Decision) (access.Decision, *access.Approval, error) {
	deadline := g.o.Now().Add(r.Budget)
	for round := range rounds {
		if round > 0 {
			d = g.decide(ctx, r)
		}
		if d.Effect == access.Allow && r.Together == nil {
			return d, nil, nil
		}
		if d.Effect != access.Allow && d.Effect != access.Approve {
			return d, nil, &access.Refusal{Code: access.CodeDenied, Message: d.Reason, Advice: d.Advice}
		}
		if err := r.together(ctx, Decided); err != nil {
			return d, nil, err
		}
		var a access.Approval
		var err error
		if d.Effect == access.Approve {
			if a, err = g.answer(ctx, r, d, deadline); err != nil {
				return d, nil, err
			}
		}
		if err := r.together(ctx, Answered); err != nil {
			return d, nil, asApprovalRefusal(a, err)
		}
		// Time has passed: judge again, by the policy in force and by what is stored now.
		g.refetch(ctx, r)
		now := g.decide(ctx, r)
		switch {
		case now.Effect != d.Effect || now.Policy != d.Policy:
		case now.Effect == access.Approve:
			return g.use(ctx, r.Operation, now, a)
		default:
			return now, nil, nil
		}
	}
	return access.Decision{}, nil, access.Refuse(access.CodeApprovalPending, nil, "the policy keeps changing while approval is asked; send the request again")
}

// refetch has what was fetched for policy fetched anew. What cannot be is missing again, and decide sees to it.
func (g *Gate) refetch(ctx context.Context, r Request) {
	stale := r.Operation.Fetched
	if len(stale) == 0 || r.Complete == nil {
		return
	}
	r.Operation.Fetched = nil
	if err := r.Complete(ctx, stale); err != nil {
		g.o.Log.Debug("what policy depends on could not be fetched again", "operation", r.Operation.ID, "error", err)
	}
}

// decide asks policy, and fetches what policy needs and was not given.
func (g *Gate) decide(ctx context.Context, r Request) access.Decision {
	op, policy := r.Operation, g.o.Policy()
	d, missing := policy.Decide(op)
	if len(missing) == 0 {
		return d
	}
	why := "it cannot be fetched"
	if r.Complete != nil {
		if err := r.Complete(ctx, missing); err != nil {
			why = err.Error()
		} else {
			d, missing = policy.Decide(op)
		}
	}
	if len(missing) == 0 {
		return d
	}
	for _, f := range missing {
		if !slices.ContainsFunc(op.Uninspectable, func(u access.Uninspectable) bool { return u.Field == f }) {
			op.Uninspectable = append(op.Uninspectable, access.Uninspectable{Field: f, Why: why})
		}
	}
	d, _ = policy.Decide(op)
	return d
}

// answer asks people and waits for them, as long as the client can wait.
func (g *Gate) answer(ctx context.Context, r Request, d access.Decision, deadline time.Time) (access.Approval, error) {
	a, err := g.o.Approvals.Ask(ctx, r.Operation, d, r.Card)
	if err != nil {
		return a, asApprovalRefusal(a, err)
	}
	if a.State == access.ApprovalPending {
		if r.Held != nil && r.Budget > 0 {
			r.Held(a, r.giveUp)
		}
		if a, err = g.wait(ctx, a, deadline.Sub(g.o.Now())); err != nil {
			return a, err
		}
	}
	switch a.State {
	case access.ApprovalGranted:
		return a, nil
	case access.ApprovalDenied:
		return a, &access.Refusal{Code: access.CodeApprovalDenied, Approval: a.ID, Message: denial(a)}
	case access.ApprovalPending:
		return a, &access.Refusal{Code: access.CodeApprovalPending, Approval: a.ID,
			Message: fmt.Sprintf("%s; approval %s is pending", d.Reason, a.ID),
			Advice:  fmt.Sprintf("Nothing has run. Ask for an answer to approval %s (open until %s), then run exactly the same command again: it will join this approval.", a.ID, a.Expires.UTC().Format(time.RFC3339))}
	}
	return a, &access.Refusal{Code: access.CodeApprovalExpired, Approval: a.ID,
		Message: fmt.Sprintf("approval %s is %s", a.ID, a.State), Advice: "Run the command again to ask anew."}
}

// wait holds the client. It gives back the approval as it stands when it is answered, or when the budget is used up;
// an error only when the client has gone or was cut off.
func (g *Gate) wait(ctx context.Context, a access.Approval, budget time.Duration) (access.Approval, error) {
	if budget <= 0 {
		return a, nil
	}
	g.o.Metrics.Held.Inc()
	defer g.o.Metrics.Held.Dec()
	held, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	b, err := g.o.Approvals.Wait(held, a.ID)
	switch {
	case ctx.Err() != nil:
		var r *access.Refusal
		if errors.As(context.Cause(ctx), &r) {
			return a, asApprovalRefusal(a, r)
		}
		return a, &access.Refusal{Code: access.CodeApprovalPending, Approval: a.ID, Cause: context.Cause(ctx),
			Message: fmt.Sprintf("the client went away while approval %s was pending; nothing has run", a.ID)}
	case held.Err() != nil && err != nil:
		return a, nil
	case err != nil:
		return a, asApprovalRefusal(a, err)
	}
	return b, nil
}

// use turns a granted approval into the right to run once. From here on the approval is spent, whatever happens.
func (g *Gate) use(ctx context.Context, op *access.Operation, d access.Decision, a access.Approval) (access.Decision, *access.Approval, error) {
	if ctx.Err() != nil { // gone while it was judged again: leave the approval for its next attempt
		return d, nil, asApprovalRefusal(a, context.Cause(ctx))
	}
	if err := g.o.Approvals.Use(ctx, a.ID, op, d); err != nil {
		return d, nil, asApprovalRefusal(a, err)
	}
	return d, &a, nil
}

func denial(a access.Approval) string {
	for _, ans := range a.Answers {
		if !ans.Yes {
			msg := "denied by " + ans.Approver.Name
			if ans.Reason != "" {
				msg += ": " + strings.TrimSpace(ans.Reason)
			}
			return msg
		}
	}
	return "denied"
}

func asApprovalRefusal(a access.Approval, err error) *access.Refusal {
	var r *access.Refusal
	if errors.As(err, &r) {
		own := *r
		own.Approval = a.ID
		return &own
	}
	return &access.Refusal{Code: access.CodeInternal, Approval: a.ID, Cause: err,
		Message: "approval could not be asked for or used, so the operation was not let through"}
}
