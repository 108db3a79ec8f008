package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"gatebook/internal/access"
	"gatebook/internal/recording"
	"gatebook/internal/recording/export"
	"gatebook/internal/recording/terminal"
)

const readingHelp = "\n\nID is a session, an operation, or SESSION/OPERATION. What is sealed is opened here with the auditor's key (--key);\n" +
	"the gateway cannot. Reading is itself recorded."

func addShow(parent *cobra.Command) {
	var r reading
	var o output
	var body bool
	cmd := &cobra.Command{Use: "show ID", Short: "Show a session's operations, or one with everything that was recorded",
		Long: "Shows what was recorded." + readingHelp, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			session, op, err := r.find(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			s := &shower{out: cmd.OutOrStdout(), only: op, bodies: body || op != "", json: o.json}
			if err := r.session(cmd.Context(), session, s.event); err != nil {
				return err
			}
			return s.end()
		}}
	r.flags(cmd)
	o.flag(cmd)
	cmd.Flags().BoolVar(&body, "bodies", false, "with the bytes of every operation")
	parent.AddCommand(cmd)
}

// shower prints events for people. Recorded bytes cannot act on the terminal.
type shower struct {
	out    io.Writer
	only   access.OperationID
	bodies bool
	json   bool // as export writes it: a line for each frame
	shown  int
	last   string // what the last bytes were of
	quotes map[string]*quote
	err    error // of writing
	// refused are those of which their beginning has said how they ended.
	refused map[access.OperationID]bool
}

func (s *shower) event(e recording.Event) error {
	if s.only != "" && e.Operation != s.only {
		return nil
	}
	if s.json {
		return s.jsonLine(e)
	}
	switch e.Kind {
	case recording.KindBegin:
		return s.begin(e)
	case recording.KindPayload:
		return s.bytes(e, "request")
	case recording.KindStream:
		return s.bytes(e, fmt.Sprintf("%s, %s", e.Stream, e.Direction))
	case recording.KindResize:
		s.line("%s  %s  terminal is %d by %d", e.Operation, stamp(e.At), e.Cols, e.Rows)
	case recording.KindEnd:
		return s.ended(e)
	case recording.KindNote:
		s.shown++
		s.line("%s  note %s: %s", stamp(e.At), e.Name, inert(noteText(e.Name, e.Data)))
	}
	return nil
}

func (s *shower) jsonLine(e recording.Event) error {
	if !s.bodies && (e.Kind == recording.KindPayload || e.Kind == recording.KindStream) {
		return nil
	}
	s.shown++
	return export.Lines{Out: s.out}.Event(e)
}

func (s *shower) line(format string, args ...any) {
	if q := s.quotes[s.last]; q != nil && s.err == nil {
		s.err = q.end(s.out)
	}
	s.last = ""
	fmt.Fprintf(s.out, format+"\n", args...)
}

func (s *shower) begin(e recording.Event) error {
	var o recording.Opening
	if err := json.Unmarshal(e.Data, &o); err != nil {
		return fmt.Errorf("reading operation %s: %w", e.Operation, err)
	}
	s.shown++
	op, d := o.Operation, o.Decision
	s.line("%s  %s  %s  on %s", op.ID, stamp(op.Time), inert(op.Principal.Name), inert(op.Target.Name))
	s.line("    %s", inert(op.Command))
	s.line("    %s, risk %s: %s", d.Effect, d.Risk, inert(d.Reason))
	for _, hit := range d.Rules {
		s.line("    rule %s: %s", hit.ID, hit.Effect)
	}
	if o.Approval != nil {
		for _, a := range o.Approval.Answers {
			s.line("    approval %s: yes by %s at %s: %s", o.Approval.ID, inert(a.Approver.Name), stamp(a.Time), inert(a.Reason))
		}
	}
	if o.Refused != nil {
		if s.refused == nil {
			s.refused = map[access.OperationID]bool{}
		}
		s.refused[op.ID] = true
		s.line("    refused, %s: %s", o.Refused.Code, inert(o.Refused.Message))
	}
	if s.only != "" {
		s.line("    subject %s, token id %s, session %s", inert(op.Principal.Key()), inert(op.Principal.TokenID), op.Session)
		s.line("    policy %s, digest %s, from %s, agent %q", d.Policy, op.Digest, op.Client.Address, op.Client.UserAgent)
	}
	return nil
}

func (s *shower) bytes(e recording.Event, what string) error {
	if !s.bodies {
		return nil
	}
	key := string(e.Operation) + " " + what
	if s.quotes == nil {
		s.quotes = map[string]*quote{}
	}
	if s.quotes[key] == nil {
		s.quotes[key] = &quote{}
	}
	if s.last != key {
		s.line("--- %s", what)
	}
	s.last = key
	return errors.Join(s.err, s.quotes[key].write(s.out, e.Data))
}

func (s *shower) ended(e recording.Event) error {
	var c recording.Closing
	if err := json.Unmarshal(e.Data, &c); err != nil {
		return fmt.Errorf("reading the end of operation %s: %w", e.Operation, err)
	}
	if s.refused[e.Operation] {
		delete(s.refused, e.Operation)
		return nil
	}
	o := c.Outcome
	how := fmt.Sprintf("%d, %s, %d bytes in, %d bytes out, %d masked", o.Code, o.Duration.Round(time.Microsecond), o.RequestBytes, o.ResponseBytes, o.Masked)
	if o.ExitCode >= 0 {
		how += fmt.Sprintf(", exit %d", o.ExitCode)
	}
	if o.Truncated != "" {
		how += ", TRUNCATED: " + inert(o.Truncated)
	}
	if o.Message != "" {
		how += ": " + inert(o.Message)
	}
	s.line("%s  %s  ended: %s", e.Operation, stamp(e.At), how)
	return nil
}

func (s *shower) end() error {
	if s.shown == 0 {
		return errors.New("nothing of that is recorded, or it is not sealed and the archive's copy does not have it yet")
	}
	if q := s.quotes[s.last]; q != nil {
		return errors.Join(s.err, q.end(s.out))
	}
	return s.err
}

func addTail(parent *cobra.Command) {
	var r reading
	var o output
	var body bool
	cmd := &cobra.Command{Use: "tail [SESSION]", Short: "Show operations as they happen, of one session or of all", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := r.open()
			if err != nil {
				return err
			}
			defer x.Close()
			path := "frames"
			if len(args) == 1 {
				path = "sessions/" + args[0] + "/frames"
			}
			stream, err := x.Stream(cmd.Context(), "GET", path, map[string][]string{"follow": {"true"}}, nil)
			if err != nil {
				return err
			}
			defer stream.Close()
			s := &shower{out: cmd.OutOrStdout(), bodies: body, json: o.json}
			err = recording.ReadFrames(stream, s.event)
			if cmd.Context().Err() == context.Canceled {
				return nil
			}
			return err
		}}
	r.connection.flags(cmd)
	o.flag(cmd)
	cmd.Flags().BoolVar(&body, "bodies", false, "with the bytes of every operation")
	parent.AddCommand(cmd)
}

func addReplay(parent *cobra.Command) {
	var r reading
	p := terminal.Player{Out: os.Stdout}
	cmd := &cobra.Command{Use: "replay ID", Short: "Play what commands in containers printed, as it was printed",
		Long: "Plays terminal output in its own time. Escape sequences that could act on your terminal are made harmless." + readingHelp, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			session, op, err := r.find(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			p.Operation, p.Out = op, cmd.OutOrStdout()
			err = r.session(cmd.Context(), session, func(e recording.Event) error { return p.Play(cmd.Context(), e) })
			if closed := p.Close(); err == nil {
				err = closed
			}
			return err
		}}
	r.flags(cmd)
	f := cmd.Flags()
	f.Float64Var(&p.Speed, "speed", 1, "how many times as fast; 0: without pauses")
	f.DurationVar(&p.MaxIdle, "skip", 2*time.Second, "no pause is longer; 0: as long as they were")
	f.BoolVar(&p.Input, "input", false, "also what the client sent")
	parent.AddCommand(cmd)
}
