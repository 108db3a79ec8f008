package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/recording"
)

func addWhy(parent *cobra.Command) {
	var r reading
	var o output
	var bytesToo bool
	var since string
	cmd := &cobra.Command{Use: "why WHAT", Short: "Say which prompt caused something, and how sure that is", Args: cobra.MinimumNArgs(1),
		Long: `Tells how something came about: prompt, tool call, operation, decision, approval, effect, each with its time, and on what the
link to the tool call rests.

WHAT is a commit of a push (7 digits or more), an object such as "deployments shop/web", words of a statement or command, an
operation or an approval. It can also be a text that was sent or delivered, such as a row's: where nothing is known by WHAT and
there is the auditor's key (--key), or with --recorded, recordings are read through for it, which is itself recorded.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := r.open()
			if err != nil {
				return err
			}
			defer x.Close()
			what := strings.Join(args, " ")
			var found client.Why
			if !bytesToo {
				found, err = x.Why(cmd.Context(), what)
				bytesToo = err == nil && len(found.Chains) == 0 && r.Key != ""
			}
			if bytesToo {
				found, err = r.whoSaw(cmd.Context(), x, what, since)
			}
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), found, func(w io.Writer) error { return printWhy(w, found, what) })
		}}
	r.flags(cmd)
	o.flag(cmd)
	cmd.Flags().BoolVar(&bytesToo, "recorded", false, "look for WHAT in everything that was recorded at once")
	cmd.Flags().StringVar(&since, "since", "24h", "in recordings: of sessions that began not before: a time, or a duration ago")
	parent.AddCommand(cmd)
}

// whoSaw finds the operations in whose recorded bytes the text is, and what is behind each.
func (r *reading) whoSaw(ctx context.Context, x *client.Client, text, since string) (client.Why, error) {
	var out client.Why
	from, err := moment(since, time.Now())
	if err != nil {
		return out, err
	}
	page, err := pages(ctx, client.Query{Since: from, Limit: 1000}, x.Sessions)
	if err != nil {
		return out, err
	}
	out.More = page.Next != ""
	for _, s := range page.Items {
		f := &finder{text: []byte(text), seen: map[string][]byte{}}
		if err := r.session(ctx, s.ID, f.event); err != nil {
			return out, err
		}
		for _, id := range f.found {
			w, err := x.Why(ctx, string(id))
			if err != nil {
				return out, err
			}
			out.Chains = append(out.Chains, w.Chains...)
		}
	}
	return out, nil
}

// finder finds a text in the streams of operations, however they are cut into frames.
type finder struct {
	text  []byte
	seen  map[string][]byte // the last bytes of each stream
	found []access.OperationID
}

func (f *finder) event(e recording.Event) error {
	if e.Kind != recording.KindPayload && e.Kind != recording.KindStream || len(f.text) == 0 {
		return nil
	}
	if n := len(f.found); n > 0 && f.found[n-1] == e.Operation {
		return nil
	}
	key := fmt.Sprint(e.Operation, e.Kind, e.Stream, e.Direction)
	b := append(f.seen[key], e.Data...)
	if bytes.Contains(b, f.text) {
		f.found = append(f.found, e.Operation)
		delete(f.seen, key)
		return nil
	}
	f.seen[key] = append([]byte(nil), b[max(0, len(b)-len(f.text)+1):]...)
	return nil
}

func printWhy(w io.Writer, found client.Why, what string) error {
	var b strings.Builder
	for i, c := range found.Chains {
		if i > 0 {
			b.WriteString("\n")
		}
		writeChain(&b, c)
	}
	switch {
	case len(found.Chains) == 0:
		fmt.Fprintf(&b, "nothing that was recorded is known by %q; with the auditor's key (--key) the recordings themselves are looked through\n", inert(what))
	case found.More:
		b.WriteString("\nthere are more; ask for something more particular\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeChain tells one chain from the prompt down.
func writeChain(b *strings.Builder, c access.Chain) {
	op := c.Record.Operation
	for _, l := range c.Links {
		writeLink(b, l)
	}
	if op.Model != nil {
		writePrompt(b, c.Record)
		fmt.Fprintf(b, "model call  %s\n", effect(c.Record))
		return
	}
	fmt.Fprintf(b, "operation   %s  %s  %s on %s\n%s", stamp(op.Time), op.ID, inert(op.Principal.Name), inert(op.Target.Name), below(op.Command))
	writeCause(b, c)
	fmt.Fprintf(b, "decision    %s, risk %s: %s\n", c.Record.Decision.Effect, c.Record.Decision.Risk, inert(c.Record.Decision.Reason))
	if c.Approval != nil {
		writeApproval(b, *c.Approval)
	}
	fmt.Fprintf(b, "effect      %s\n", effect(c.Record))
}

// below is a text that may have lines, under the words of a heading.
func below(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		fmt.Fprintf(&b, "            %s\n", inert(strings.TrimSuffix(line, "\n")))
	}
	return b.String()
}

// callText is what a call asks for: the command of a shell, or its input as the model emitted it.
func callText(c access.Call) string {
	var in struct{ Command string }
	if json.Unmarshal([]byte(c.Input), &in) == nil && in.Command != "" {
		return in.Command
	}
	return c.Input
}

// writePrompt tells what a model was asked, and by whom.
func writePrompt(b *strings.Builder, turn access.Record) {
	m := turn.Operation.Model
	who := m.Model
	if m.Agent != "" {
		who += ", agent " + m.Agent
	}
	fmt.Fprintf(b, "prompt      %s  %s  (%s)\n%s", stamp(turn.Operation.Time), turn.Operation.ID, inert(who), below(m.Prompt))
}

func writeLink(b *strings.Builder, l access.Link) {
	if l.Parent != nil {
		writeLink(b, *l.Parent)
	}
	if l.Turn != nil && l.Turn.Operation.Model != nil {
		writePrompt(b, *l.Turn)
	} else {
		fmt.Fprintf(b, "prompt      of %s, which the index no longer has\n", l.Call.Turn)
	}
	fmt.Fprintf(b, "tool call   %s  %s  %s\n%s", stamp(l.Call.Emitted), inert(l.Call.ID), inert(l.Call.Name), below(callText(l.Call)))
}

func writeCause(b *strings.Builder, c access.Chain) {
	if c.Cause == nil {
		b.WriteString("caused by   not asked: no model's calls came by this gateway then\n")
		return
	}
	fmt.Fprintf(b, "caused by   %s: %s\n", c.Cause.Rung, inert(c.Cause.Method))
	for _, e := range c.Cause.Evidence {
		worth := "the client's word"
		if e.Seen {
			worth = "seen by the gateway"
		}
		fmt.Fprintf(b, "            - %s (%s)\n", inert(e.What), worth)
	}
	for _, f := range c.Cause.Flags {
		fmt.Fprintf(b, "            ! %s\n", inert(f))
	}
	for _, e := range c.Earlier {
		fmt.Fprintf(b, "            said at %s: %s, %s\n", stamp(e.Time), e.Rung, inert(e.Method))
	}
}

func writeApproval(b *strings.Builder, a access.Approval) {
	fmt.Fprintf(b, "approval    %s  %s\n", a.ID, a.State)
	for _, ans := range a.Answers {
		yes := "no"
		if ans.Yes {
			yes = "yes"
		}
		fmt.Fprintf(b, "            %s  %s by %s: %s\n", stamp(ans.Time), yes, inert(ans.Approver.Name), inert(ans.Reason))
	}
}

// effect is how an operation ended, in a line.
func effect(r access.Record) string {
	switch {
	case r.Refused != nil:
		return "none, it was refused: " + inert(r.Refused.Message)
	case r.Outcome == nil:
		return "it still runs, or its end is not recorded"
	}
	out := fmt.Sprintf("%d after %s, %d bytes out", r.Outcome.Code, r.Outcome.Duration.Round(time.Microsecond), r.Outcome.ResponseBytes)
	if r.Outcome.Rows > 0 {
		out += fmt.Sprintf(", %d rows", r.Outcome.Rows)
	}
	if r.Outcome.Message != "" {
		out += ": " + inert(r.Outcome.Message)
	}
	return out
}

func addTimeline(parent *cobra.Command) {
	var c connection
	var o output
	cmd := c.verb(&cobra.Command{Use: "timeline SESSION", Short: "Say what came of each prompt of a session", Args: cobra.ExactArgs(1)},
		func(cmd *cobra.Command, args []string, x *client.Client) error {
			t, err := x.Timeline(cmd.Context(), access.SessionID(args[0]))
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), t, func(w io.Writer) error { return printTimeline(w, t) })
		})
	o.flag(cmd)
	parent.AddCommand(cmd)
}

func printTimeline(w io.Writer, t client.Timeline) error {
	var b strings.Builder
	if t.More {
		b.WriteString("(older operations are left out)\n")
	}
	for _, m := range t.Moments {
		fmt.Fprintf(&b, "%s  %s%s\n", stamp(m.Time), strings.Repeat("   ", m.Depth), momentText(m))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func momentText(m access.Moment) string {
	switch {
	case m.Call != nil:
		return fmt.Sprintf("%s: %s  [%s]", inert(m.Call.Name), inert(callText(*m.Call)), inert(m.Call.ID))
	case m.Record != nil:
		rung := "not asked"
		if m.Cause != nil {
			if rung = m.Cause.Rung.String(); len(m.Cause.Calls) == 1 {
				rung += " to " + inert(m.Cause.Calls[0].Call)
			}
		}
		return fmt.Sprintf("%s  [%s, %s: %s] %s", inert(m.Record.Operation.Command), inert(m.Record.Operation.Target.Name), rung, effect(*m.Record), m.Record.Operation.ID)
	case m.Agent != "":
		return fmt.Sprintf("agent %s: %s", inert(m.Agent), inert(m.Prompt))
	}
	return "prompt: " + inert(m.Prompt)
}
