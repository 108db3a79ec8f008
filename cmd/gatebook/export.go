package main

import (
	"bufio"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gatebook/internal/recording"
	"gatebook/internal/recording/export"
)

func addExport(parent *cobra.Command) {
	var r reading
	var format string
	cmd := &cobra.Command{Use: "export ID", Short: "Write a recording as asciicast, Kubernetes audit events or JSON lines",
		Long: "Writes what was recorded to standard output: as jsonl (every frame), audit (audit.k8s.io/v1 events), or asciicast\n" +
			"(one exec or attach: give its operation)." + readingHelp, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			session, op, err := r.find(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
			var event func(recording.Event) error
			end := func() error { return nil }
			switch format {
			case "jsonl":
				event = export.Lines{Out: out}.Event
			case "audit":
				event = (&export.Audit{Out: out}).Event
			case "asciicast":
				if op == "" {
					return usageError{errors.New("an asciicast is of one operation; give an operation")}
				}
				a := export.NewAsciicast(out, op)
				event, end = a.Event, a.Close
			default:
				return usageError{fmt.Errorf("--format %q is not jsonl, audit or asciicast", format)}
			}
			err = r.session(cmd.Context(), session, func(e recording.Event) error {
				if op != "" && e.Operation != op {
					return nil
				}
				return event(e)
			})
			return errors.Join(err, end(), out.Flush())
		}}
	r.flags(cmd)
	cmd.Flags().StringVar(&format, "format", "jsonl", "jsonl, audit or asciicast")
	parent.AddCommand(cmd)
}
