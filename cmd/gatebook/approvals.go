package main

import (
	"context"
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
	var all bool
	cmd := c.verb(&cobra.Command{
		Use: "approvals [ID]", Short: "List what waits for an answer, or show one approval whole", Args: cobra.MaximumNArgs(1),
	}, func(cmd *cobra.Command, args []string, x *client.Client) error {
		if len(args) == 1 {
			a, err := x.Approval(cmd.Context(), access.ApprovalID(args[0]))
			if err != nil {
				return err
			}
			return printApproval(cmd.OutOrStdout(), a)
		}
		states := []access.ApprovalState{access.ApprovalPending}
		if all {
			states = nil
		}
		page, err := x.Approvals(cmd.Context(), states...)
		if err != nil {
			return err
		}
		if len(page.Items) == 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "nothing waits for an answer")
		}
		for _, a := range page.Items {
			waits := ""
			if a.Waiting {
				waits = ", its client waits"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s  %-8s %-8s %s  on %s\n    %s\n    %s%s\n", a.ID, a.State, a.Decision.Risk,
				inert(a.Operation.Principal.Name), inert(a.Operation.Target.Name), inert(a.Operation.Command), inert(a.Decision.Reason), waits)
		}
		if page.Next != "" {
			fmt.Fprintln(cmd.ErrOrStderr(), "there are more, older ones")
		}
		return nil
	})
	cmd.Flags().BoolVar(&all, "all", false, "also those that were answered, used or expired")
	parent.AddCommand(cmd)
}

// printApproval shows all there is; what cannot be shown is said.
func printApproval(w io.Writer, a access.Approval) error {
	var b strings.Builder
	line := func(k, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", k, inert(fmt.Sprintf(format, args...)))
	}
	op := a.Operation
	line("approval", "%s (%s)", a.ID, a.State)
	line("command", "%s", op.Command)
	line("who", "%s, subject %s, groups %s", op.Principal.Name, op.Principal.Key(), strings.Join(op.Principal.Groups, ", "))
	if wl := op.Principal.Workload; !wl.IsZero() {
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
	if t := a.Decision.Approval; t != nil {
		line("needs", "%d of users %v groups %v", t.Count, t.Users, t.Groups)
	}
	for _, x := range a.Answers {
		said := "no"
		if x.Yes {
			said = "yes, " + string(x.Scope)
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
		return answerApproval(cmd.Context(), cmd.OutOrStdout(), x, access.ApprovalID(args[0]), a)
	})
	f := cmd.Flags()
	f.StringVar(&a.Reason, "reason", "", "why, for the record")
	f.BoolVar(&task, "task", false, "the same operation again, until its session ends")
	f.DurationVar(&a.For, "for", 0, "the same operation again, for so long")
	f.BoolVar(&a.BreakGlass, "break-glass", false, "answer outside of the rules; needs the role, a reason, and raises an alert")
	parent.AddCommand(cmd)
}

func addDeny(parent *cobra.Command) {
	var c connection
	var a client.Answer
	cmd := c.verb(&cobra.Command{Use: "deny ID", Short: "Refuse a held operation, and tell the agent why", Args: cobra.ExactArgs(1)},
		func(cmd *cobra.Command, args []string, x *client.Client) error {
			return answerApproval(cmd.Context(), cmd.OutOrStdout(), x, access.ApprovalID(args[0]), a)
		})
	cmd.Flags().StringVar(&a.Reason, "reason", "", "why, and what to do instead: the agent reads it")
	parent.AddCommand(cmd)
}

func answerApproval(ctx context.Context, w io.Writer, x *client.Client, id access.ApprovalID, a client.Answer) error {
	out, err := x.Answer(ctx, id, a)
	if err != nil {
		return err
	}
	missing := ""
	if t := out.Decision.Approval; out.State == access.ApprovalPending && t != nil {
		missing = fmt.Sprintf("; %d more must say yes", t.Count-len(out.Answers))
	}
	_, err = fmt.Fprintf(w, "%s is %s%s\n    %s\n", out.ID, out.State, missing, inert(out.Operation.Command))
	return err
}
