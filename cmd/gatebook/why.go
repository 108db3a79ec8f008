package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
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
link to the tool call rests. A sub-agent's call is followed to the prompt of the person.

WHAT is a commit that a push brought (7 digits or more; the tip or below it), an object such as "deployments shop/web" or
"secret/db -n shop", words of a statement or command, an operation or an approval. What is named exactly comes first, and
changes before reads.

It can also be a text that was sent or delivered, such as a row's: a value, or columns as psql prints them, with | between them.
Where nothing is known by WHAT and there is the auditor's key (--key), or with --recorded, recordings are read through for it,
which is itself recorded. What policy hid is in them as its placeholder, and is found by that alone; nor is text found that went as base64 or compressed.`,
		Example: "  gatebook why 0a1b2c3\n  gatebook why configmaps shop/settings\n  gatebook why --recorded --key auditor.key '42 | Ada Lovelace'",
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
			if bytesToo && err == nil {
				found, err = r.whoSaw(cmd.Context(), x, what, since)
			}
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), found, func(w io.Writer) error { return printWhy(w, found, what, bytesToo) })
		}}
	r.flags(cmd)
	o.flag(cmd)
	cmd.Flags().BoolVar(&bytesToo, "recorded", false, "look for WHAT in everything that was recorded at once")
	cmd.Flags().StringVar(&since, "since", "24h", "in recordings: of sessions that were used since: a time, or a duration ago")
	parent.AddCommand(cmd)
}

// whoSaw finds the operations in whose recorded bytes the text is, and what is behind each.
func (r *reading) whoSaw(ctx context.Context, x *client.Client, text, since string) (client.Why, error) {
	out := client.Why{Chains: []access.Chain{}}
	from, err := moment(since, time.Now())
	if err != nil {
		return out, err
	}
	pattern, longest := textPattern(text)
	page, err := pages(ctx, client.Query{Since: from, Limit: 1000}, x.Sessions)
	if err != nil {
		return out, err
	}
	out.More = page.Next != ""
	for _, s := range page.Items {
		f := &finder{pattern: pattern, longest: longest, seen: map[stretch][]byte{}, met: map[access.OperationID]bool{}}
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

// maxGap is how many bytes may stand between two columns: what the wire puts there, or a tab.
const maxGap = 32

// textPattern finds a text as it is or as JSON writes it, and columns, which | parts, one soon behind the other. It gives how
// long a match can be.
func textPattern(text string) (*regexp.Regexp, int) {
	var parts []string
	longest := 0
	for _, p := range strings.FieldsFunc(text, func(r rune) bool { return r == '|' || r == '\t' }) {
		if p = strings.TrimSpace(p); p == "" {
			continue
		}
		b, err := json.Marshal(p)
		if err != nil {
			panic(err) // a string always can
		}
		escaped := string(b[1 : len(b)-1])
		parts = append(parts, "(?:"+regexp.QuoteMeta(p)+"|"+regexp.QuoteMeta(escaped)+")")
		longest += max(len(p), len(escaped)) + maxGap
	}
	if len(parts) == 0 {
		parts, longest = []string{regexp.QuoteMeta(text)}, len(text)
	}
	return regexp.MustCompile("(?s)" + strings.Join(parts, fmt.Sprintf(".{0,%d}?", maxGap))), longest
}

// finder finds a text in the streams of operations, however they are cut into frames.
type finder struct {
	pattern *regexp.Regexp
	longest int
	seen    map[stretch][]byte // the last bytes of each
	met     map[access.OperationID]bool
	found   []access.OperationID
}

// stretch is bytes that belong together.
type stretch struct {
	op        access.OperationID
	payload   bool
	stream    recording.Stream
	direction recording.Direction
}

func (f *finder) event(e recording.Event) error {
	switch {
	case e.Kind == recording.KindEnd:
		for s := range f.seen {
			if s.op == e.Operation {
				delete(f.seen, s)
			}
		}
		return nil
	case e.Kind != recording.KindPayload && e.Kind != recording.KindStream || f.longest == 0 || f.met[e.Operation]:
		return nil
	}
	key := stretch{e.Operation, e.Kind == recording.KindPayload, e.Stream, e.Direction}
	b := append(f.seen[key], e.Data...)
	if f.pattern.Match(b) {
		f.found, f.met[e.Operation] = append(f.found, e.Operation), true
		delete(f.seen, key)
		return nil
	}
	f.seen[key] = append([]byte(nil), b[max(0, len(b)-f.longest):]...)
	return nil
}

func printWhy(w io.Writer, found client.Why, what string, recorded bool) error {
	var b strings.Builder
	for i, c := range found.Chains {
		if i > 0 {
			b.WriteString("\n" + strings.Repeat("-", width) + "\n")
		}
		chain{&b}.write(c)
	}
	switch {
	case len(found.Chains) == 0 && recorded:
		return fmt.Errorf("nothing that was recorded in these sessions holds %q; --since looks further back", inert(what))
	case len(found.Chains) == 0:
		return fmt.Errorf("nothing on record is known by %q; with the auditor's key (--key) the recordings themselves are looked through", inert(what))
	case found.More:
		b.WriteString("\nThere are more. Ask for something more particular.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// chain writes one chain, from the prompt of a person down.
type chain struct{ b *strings.Builder }

// head begins a part: its name, and a line of facts.
func (o chain) head(name, format string, args ...any) {
	fold(o.b, fmt.Sprintf("%-12s", name), fmt.Sprintf(format, args...))
}

// text is what somebody wrote, below the facts.
func (o chain) text(s string) { quoted(o.b, strings.Repeat(" ", 12), s) }

// point is one thing among several, below the facts.
func (o chain) point(mark, format string, args ...any) {
	fold(o.b, strings.Repeat(" ", 12)+mark+" ", fmt.Sprintf(format, args...))
}

func (o chain) write(c access.Chain) {
	op := c.Record.Operation
	for i, l := range c.Links {
		o.candidate(i, len(c.Links), l)
	}
	if op.Model != nil {
		o.turn(c.Record)
	} else {
		after := ""
		if len(c.Links) == 1 && !c.Links[0].Call.Emitted.IsZero() {
			after = ", " + span(op.Time.Sub(c.Links[0].Call.Emitted)) + " after the call"
		}
		o.head("operation", "%s  %s  %s on %s%s", stamp(op.Time), op.ID, inert(op.Principal.Name), inert(op.Target.Name), after)
		o.text(op.Command)
	}
	o.cause(c)
	o.decision(c.Record.Decision)
	if c.Approval != nil {
		o.approval(*c.Approval)
	}
	o.head("effect", "%s", effect(c.Record))
	if op.Parent != "" {
		o.point("-", "the gateway's own look-up, for operation %s", op.Parent)
	}
}

// candidate is one of n calls that may be behind something.
func (o chain) candidate(i, n int, l access.Link) {
	if n > 1 {
		o.head("candidate", "%d of %d", i+1, n)
	}
	o.link(l)
}

func (o chain) link(l access.Link) {
	if l.Parent != nil {
		o.link(*l.Parent)
	}
	if l.Turn != nil && l.Turn.Operation.Model != nil {
		o.turn(*l.Turn)
	} else {
		o.head("prompt", "of %s, which the index no longer has", l.Call.Turn)
	}
	if l.Agent != nil {
		o.head("started by", "%s: %s", l.Agent.Rung, inert(l.Agent.Method))
		o.evidence(*l.Agent)
	}
	took := ""
	if !l.Call.Ended.IsZero() && !l.Call.Emitted.IsZero() {
		took = ", result after " + span(l.Call.Ended.Sub(l.Call.Emitted))
	}
	o.head("tool call", "%s  %s  %s%s", stamp(l.Call.Emitted), inert(l.Call.ID), inert(l.Call.Name), took)
	o.text(callText(l.Call))
}

// turn is a request to a model: what was last asked.
func (o chain) turn(r access.Record) {
	m := r.Operation.Model
	who := m.Model
	if r.Outcome != nil && r.Outcome.Answer != nil && r.Outcome.Answer.Model != "" {
		who = r.Outcome.Answer.Model
	}
	name := "prompt"
	if m.Agent != "" {
		name, who = "to agent", who+", agent "+m.Agent
	}
	o.head(name, "%s  %s  %s  (%s)", stamp(r.Operation.Time), r.Operation.ID, inert(r.Operation.Principal.Name), inert(who))
	o.text(m.Prompt)
	for _, f := range m.Flags {
		o.point("!", "%s", inert(f))
	}
}

func (o chain) cause(c access.Chain) {
	switch {
	case c.Cause == nil && c.Record.Operation.Model != nil:
		return
	case c.Cause == nil && c.Record.Operation.Parent != "":
		return
	case c.Cause == nil:
		o.head("caused by", "not asked: no model's calls came by this gateway then, or the request could not be read")
		return
	}
	o.head("caused by", "%s: %s", c.Cause.Rung, inert(c.Cause.Method))
	o.evidence(*c.Cause)
	for _, e := range c.Earlier {
		var named []string
		for _, ref := range e.Calls {
			named = append(named, inert(ref.Call))
		}
		when := e.Time
		if when.IsZero() {
			when = c.Record.Operation.Time
		}
		o.point("=", "said at %s: %s, %s %s", stamp(when), e.Rung, inert(e.Method), strings.Join(named, ", "))
		for _, f := range e.Flags {
			o.point("!", "%s", inert(f))
		}
	}
}

// evidence is on what a link rests, and whose word that is.
func (o chain) evidence(c access.Cause) {
	for _, e := range c.Evidence {
		worth := "the client's word: "
		if e.Seen {
			worth = "seen by the gateway: "
		}
		o.point("-", "%s%s", worth, inert(e.What))
	}
	for _, f := range c.Flags {
		o.point("!", "%s", inert(f))
	}
}

func (o chain) decision(d access.Decision) {
	o.head("decision", "%s, risk %s: %s", d.Effect, d.Risk, inert(d.Reason))
	for _, r := range d.Rules {
		o.point("-", "rule %s, %s: %s", inert(r.ID), r.Effect, inert(r.Reason))
	}
}

func (o chain) approval(a access.Approval) {
	o.head("approval", "%s  %s  %s", stamp(a.Created), a.ID, a.State)
	for _, ans := range a.Answers {
		yes := "no"
		if ans.Yes {
			yes = "yes"
		}
		if ans.BreakGlass {
			yes += ", breaking the glass,"
		}
		scope := ""
		if ans.Scope != "" && ans.Scope != access.ScopeOnce {
			scope = " (for the " + string(ans.Scope) + ")"
		}
		o.point("-", "%s, after %s: %s by %s%s: %s", stamp(ans.Time), span(ans.Time.Sub(a.Created)), yes, inert(ans.Approver.Name), scope, inert(ans.Reason))
	}
}

// callText is a tool call as a person would read it: a shell's command, a file and what is written to it, an agent's prompt, a
// URL; else the input.
func callText(c access.Call) string {
	var in struct {
		Command string `json:"command"`
		File    string `json:"file_path"`
		Content string `json:"content"`
		Old     string `json:"old_string"`
		New     string `json:"new_string"`
		Prompt  string `json:"prompt"`
		URL     string `json:"url"`
	}
	switch err := json.Unmarshal([]byte(c.Input), &in); {
	case err != nil:
	case in.Command != "":
		return in.Command
	case in.File != "" && in.Old != "":
		return in.File + "\n- " + strings.ReplaceAll(in.Old, "\n", "\n- ") + "\n+ " + strings.ReplaceAll(in.New, "\n", "\n+ ")
	case in.File != "":
		return strings.TrimSpace(in.File + "\n" + in.Content)
	case in.URL != "":
		return strings.TrimSpace(in.URL + "\n" + in.Prompt)
	case in.Prompt != "":
		return in.Prompt
	}
	return c.Input
}

// effect is how an operation ended, in a line.
func effect(r access.Record) string {
	switch {
	case r.Refused != nil:
		return "none, it was refused: " + inert(r.Refused.Message)
	case r.Outcome == nil:
		return "it still runs, or its end is not recorded"
	}
	x := r.Outcome
	var out string
	switch {
	case x.Code != 0:
		out = fmt.Sprint(x.Code)
	case x.Message != "":
		out = "failed"
	default:
		out = "done"
	}
	out += fmt.Sprintf(" after %s", span(x.Duration))
	if x.Rows > 0 {
		out += fmt.Sprintf(", %d rows", x.Rows)
	}
	out += fmt.Sprintf(", %d bytes out", x.ResponseBytes)
	if x.Masked > 0 {
		out += fmt.Sprintf(", %d values hidden", x.Masked)
	}
	if x.ExitCode > 0 {
		out += fmt.Sprintf(", exit code %d", x.ExitCode)
	}
	if x.Truncated != "" {
		out += ", cut off: " + inert(x.Truncated)
	}
	if x.Message != "" {
		out += ": " + inert(x.Message)
	}
	return out
}
