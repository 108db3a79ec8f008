package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/approval"
)

// inert makes text that an agent chose harmless for a terminal, and keeps it whole.
func inert(s string) string { return approval.Inert(s) }

func addApprovals(parent *cobra.Command) {
	var c connection
	var o output
	var all bool
	var states []string
	cmd := c.verb(&cobra.Command{
		Use: "approvals [ID]", Short: "List what waits for an answer, or show one approval whole", Args: cobra.MaximumNArgs(1),
	}, func(cmd *cobra.Command, args []string, x *client.Client) error {
		if len(args) == 1 {
			a, err := x.Approval(cmd.Context(), access.ApprovalID(args[0]))
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), a, func(w io.Writer) error { return printApproval(w, a) })
		}
		page, err := x.Approvals(cmd.Context(), selected(all, states)...)
		if err != nil {
			return err
		}
		if len(page.Items) == 0 && !o.json {
			fmt.Fprintln(cmd.ErrOrStderr(), nothing(all, states))
		}
		if page.Next != "" && !o.json {
			defer fmt.Fprintln(cmd.ErrOrStderr(), "there are more, older ones")
		}
		return o.print(cmd.OutOrStdout(), page, func(w io.Writer) error { return listApprovals(w, page.Items) })
	})
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "also those that were answered, used or expired")
	f.StringSliceVar(&states, "state", nil, "only those that are pending, granted, used, denied, expired or ended")
	o.flag(cmd)
	cmd.AddCommand(approvalsEnd())
	parent.AddCommand(cmd)
}

// selected are the states that were asked for; none: all.
func selected(all bool, states []string) []access.ApprovalState {
	var out []access.ApprovalState
	for _, s := range states {
		out = append(out, access.ApprovalState(s))
	}
	if len(out) == 0 && !all {
		out = []access.ApprovalState{access.ApprovalPending}
	}
	return out
}

func nothing(all bool, states []string) string {
	switch {
	case len(states) > 0:
		return "there is no approval that is " + strings.Join(states, " or ")
	case all:
		return "nobody has asked for an approval yet"
	}
	return "nothing waits for an answer"
}

func listApprovals(w io.Writer, all []access.Approval) error {
	for _, a := range all {
		more := ""
		switch {
		case a.Waiting:
			more = ", its client waits"
		case a.State == access.ApprovalGranted && a.Scope != access.ScopeOnce:
			more = fmt.Sprintf(", granted for a %s until %s", scopeWord(a.Scope), stamp(a.ValidUntil))
		}
		if _, err := fmt.Fprintf(w, "%s  %-8s %-8s %s  on %s\n    %s\n    %s%s\n", a.ID, a.State, a.Decision.Risk,
			inert(a.Operation.Principal.Name), inert(a.Operation.Target.Name), inert(a.Operation.Command), inert(a.Decision.Reason), more); err != nil {
			return err
		}
	}
	return nil
}

// scopeWord is what people call a scope.
func scopeWord(s access.Scope) string {
	if s == access.ScopeSession {
		return "task"
	}
	return string(s)
}

func approvalsEnd() *cobra.Command {
	var c connection
	var o output
	var reason string
	cmd := c.verb(&cobra.Command{Use: "end ID --reason WHY", Short: "Take back a yes that can still be used, such as one for a task or a time", Args: cobra.ExactArgs(1),
		Long: "Takes back a yes that was given for a task, for a time, or once and not used yet. Nothing runs by it from then on.\n" +
			"What runs already goes on: to cut that, too, revoke its session. Approvers may."},
		func(cmd *cobra.Command, args []string, x *client.Client) error {
			if strings.TrimSpace(reason) == "" {
				return usageError{errors.New("say why, for the record: --reason")}
			}
			a, err := x.End(cmd.Context(), access.ApprovalID(args[0]), reason)
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), a, func(w io.Writer) error { return answered(w, a) })
		})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	o.flag(cmd)
	return cmd
}

// printApproval shows all there is; what cannot be shown is said.
func printApproval(w io.Writer, a client.Approval) error {
	var b strings.Builder
	for i, l := range a.Links {
		chain{&b}.candidate(i, len(a.Links), l)
	}
	line := func(k, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", k, inert(fmt.Sprintf(format, args...)))
	}
	op := a.Operation
	if c := a.Operation.Cause; c != nil {
		line("caused by", "%s: %s", c.Rung, c.Method)
	}
	line("approval", "%s (%s)", a.ID, a.State)
	line("command", "%s", op.Command)
	line("who", "%s, subject %s, groups %s", op.Principal.Name, op.Principal.Key(), strings.Join(op.Principal.Groups, ", "))
	if wl := op.Principal.Workload; wl.Pod != "" {
		line("pod", "%s/%s on node %s", wl.Namespace, wl.Pod, wl.Node)
	}
	line("target", "%s", op.Target.Name)
	line("session", "%s", a.Operation.Session)
	line("from", "%s, which calls itself %q", op.Client.Address, op.Client.UserAgent)
	line("risk", "%s", a.Decision.Risk)
	line("why", "%s", a.Decision.Reason)
	for _, r := range a.Decision.Rules {
		line("rule", "%s: %s", r.ID, r.Effect)
	}
	if op.Client.Reason != "" {
		line("it says", "%s", op.Client.Reason)
	}
	line("digest", "%s", op.Digest)
	line("asked", "%s, open until %s", stamp(a.Created), stamp(a.Expires))
	if a.State == access.ApprovalGranted {
		line("granted", "%s, until %s", scopeWord(a.Scope), stamp(a.ValidUntil))
	}
	if a.UsedBy != "" {
		line("used by", "operation %s", a.UsedBy)
	}
	if t := a.Decision.Approval; t != nil {
		line("needs", "%d of users %v groups %v", t.Count, t.Users, t.Groups)
	}
	for i, x := range a.Answers {
		said := "no"
		switch {
		case x.Yes && x.BreakGlass:
			said = "yes, once, breaking the glass"
		case x.Yes:
			said = "yes, " + scopeWord(x.Scope)
		case i > 0 && a.State == access.ApprovalEnded:
			said = "ended"
		}
		line("answer", "%s by %s at %s: %s", said, x.Approver.Name, stamp(x.Time), x.Reason)
	}
	for _, u := range append(op.Uninspectable, a.Card.Uninspectable...) {
		line("NOT SHOWN", "%s: %s", u.Field, u.Why)
	}
	for _, part := range []struct{ title, text string }{{"changes", a.Card.Diff}, {"object", a.Card.Object}} {
		if part.text != "" {
			fmt.Fprintf(&b, "%s\n", part.title)
			for l := range strings.Lines(part.text) {
				fmt.Fprintf(&b, "    %s\n", inert(strings.TrimSuffix(l, "\n")))
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func addApprove(parent *cobra.Command) {
	var c connection
	var o output
	var a client.Answer
	var task bool
	cmd := c.verb(&cobra.Command{
		Use: "approve ID", Short: "Let a held operation run", Args: cobra.ExactArgs(1),
		Long: "Lets exactly the operation that the approval shows run: once, or with --task again in its session, or with\n--for again for a time. It is bound to the operation's bytes, who asked, the target and the policy.",
	}, func(cmd *cobra.Command, args []string, x *client.Client) error {
		a.Yes, a.Scope = true, access.ScopeOnce
		switch {
		case task && a.For > 0:
			return usageError{fmt.Errorf("give one of --task and --for")}
		case task:
			a.Scope = access.ScopeSession
		case a.For > 0:
			a.Scope = access.ScopeTime
		}
		return answerApproval(cmd.Context(), cmd.OutOrStdout(), &o, x, access.ApprovalID(args[0]), a)
	})
	o.flag(cmd)
	f := cmd.Flags()
	f.StringVar(&a.Reason, "reason", "", "why, for the record")
	f.BoolVar(&task, "task", false, "the same operation again, until its session ends")
	f.DurationVar(&a.For, "for", 0, "the same operation again, for so long")
	f.BoolVar(&a.BreakGlass, "break-glass", false, "answer outside of the rules; needs the role, a reason, and raises an alert")
	parent.AddCommand(cmd)
}

func addDeny(parent *cobra.Command) {
	var c connection
	var o output
	var a client.Answer
	cmd := c.verb(&cobra.Command{Use: "deny ID", Short: "Refuse a held operation, and tell the agent why", Args: cobra.ExactArgs(1)},
		func(cmd *cobra.Command, args []string, x *client.Client) error {
			return answerApproval(cmd.Context(), cmd.OutOrStdout(), &o, x, access.ApprovalID(args[0]), a)
		})
	o.flag(cmd)
	cmd.Flags().StringVar(&a.Reason, "reason", "", "why, and what to do instead: the agent reads it")
	parent.AddCommand(cmd)
}

func answerApproval(ctx context.Context, w io.Writer, o *output, x *client.Client, id access.ApprovalID, a client.Answer) error {
	out, err := x.Answer(ctx, id, a)
	if err != nil {
		return err
	}
	return o.print(w, out, func(w io.Writer) error { return answered(w, out) })
}

// answered says where an approval stands now.
func answered(w io.Writer, a access.Approval) error {
	missing := ""
	if t := a.Decision.Approval; a.State == access.ApprovalPending && t != nil {
		missing = fmt.Sprintf("; %d more must say yes", t.Count-len(a.Answers))
	}
	_, err := fmt.Fprintf(w, "%s is %s%s\n    %s\n", a.ID, a.State, missing, inert(a.Operation.Command))
	return err
}
