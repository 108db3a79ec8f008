package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
)

func addTimeline(parent *cobra.Command) {
	var c connection
	var o output
	cmd := c.verb(&cobra.Command{Use: "timeline SESSION", Short: "Say what came of each prompt of a session", Args: cobra.ExactArgs(1),
		Long: `Tells a session from its prompts down: below each prompt the tool calls that it led to, below a call the operations that it caused, or
the sub-agent that it started. What no one call is known to have caused stands at the left, at its time.`},
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
	names := map[string]bool{}
	for _, m := range t.Moments {
		if m.Prompt != "" {
			names[m.Conversation] = true
		}
	}
	for _, m := range t.Moments {
		indent := stamp(m.Time) + "  " + strings.Repeat("   ", m.Depth)
		switch {
		case m.Call != nil:
			fold(&b, indent, callLine(*m.Call))
		case m.Record != nil:
			fold(&b, indent, recordLine(m))
		default:
			fold(&b, indent, promptLine(m, len(names) > 1))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// maxLine bounds what a timeline shows of a text; why and --json show all of it.
const maxLine = 240

func brief(s string) string {
	s = inert(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\t' }), " ⏎ "))
	if r := []rune(s); len(r) > maxLine {
		return string(r[:maxLine]) + " …"
	}
	return s
}

func promptLine(m access.Moment, named bool) string {
	out := "prompt: "
	if m.Agent != "" {
		out = "agent " + inert(m.Agent) + ": "
	}
	out += brief(m.Prompt)
	if named && m.Conversation != "" {
		out += "  [conversation " + inert(m.Conversation) + "]"
	}
	if m.Cause != nil {
		out += "  [" + causeText(m.Cause) + "]"
	}
	return out
}

func callLine(c access.Call) string {
	out := inert(c.Name) + " " + brief(callText(c)) + "  [" + inert(c.ID)
	if !c.Ended.IsZero() {
		out += ", result after " + span(c.Ended.Sub(c.Emitted))
	}
	return out + "]"
}

func recordLine(m access.Moment) string {
	op := m.Record.Operation
	return fmt.Sprintf("%s  [%s, %s: %s] %s", brief(op.Command), inert(op.Target.Name), causeText(m.Cause), effect(*m.Record), op.ID)
}

// causeText is a cause in a few words: its rung, and the calls that it names.
func causeText(c *access.Cause) string {
	if c == nil {
		return "not asked"
	}
	out := c.Rung.String()
	for i, ref := range c.Calls {
		sep := ", "
		if i == 0 {
			sep = " to "
		}
		out += sep + inert(ref.Call)
	}
	if len(c.Flags) > 0 {
		out += "!"
	}
	return out
}
