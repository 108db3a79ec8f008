package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"gatebook/internal/api/client"
)

// maxForget bounds what is read; no value that stands everywhere is as long.
const maxForget = 64 << 10

func addForget(parent *cobra.Command) {
	var c connection
	var out output
	var reason string
	cmd := c.verb(&cobra.Command{Use: "forget", Short: "Show a value again that is hidden everywhere because it was taken for a secret", Args: cobra.NoArgs,
		Long: "Reads a value from standard input, so that it is in no command line. It is known no longer, and not learned again;\n" +
			"where structure says that it is a secret, as in a Secret's data, it stays masked. Who may do so is roles.admins."},
		func(cmd *cobra.Command, _ []string, x *client.Client) error {
			if strings.TrimSpace(reason) == "" {
				return usageError{errors.New("say why, for the record: --reason")}
			}
			value, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxForget+1))
			if err != nil {
				return fmt.Errorf("reading the value: %w", err)
			}
			if len(value) > maxForget || strings.TrimSpace(string(value)) == "" {
				return usageError{fmt.Errorf("give the value on standard input, at most %d bytes", maxForget)}
			}
			done, err := x.Forget(cmd.Context(), string(value), reason)
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), done, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "forgotten: %d patterns were known; recorded as %s\n", done.Patterns, done.Digest)
				return err
			})
		})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	out.flag(cmd)
	parent.AddCommand(cmd)
}
