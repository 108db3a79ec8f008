package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
)

func addRevoke(parent *cobra.Command) {
	var c connection
	var r access.Revocation
	var session string
	var lasts time.Duration
	cmd := c.verb(&cobra.Command{Use: "revoke", Short: "Take back a subject's, a session's or a token's access, at once", Args: cobra.NoArgs,
		Long: "Takes back access and cuts what runs, live streams included, within a second. Say what is revoked by one of\n--subject, --session and --token-id. Without them it lists what is revoked."},
		func(cmd *cobra.Command, _ []string, x *client.Client) error {
			r.Session = access.SessionID(session)
			if r.Subject == "" && r.Session == "" && r.TokenID == "" {
				page, err := x.Revocations(cmd.Context())
				for _, v := range page.Items {
					printRevocation(cmd, v)
				}
				return err
			}
			if lasts > 0 {
				r.Until = time.Now().Add(lasts)
			}
			done, err := x.Revoke(cmd.Context(), r)
			if err != nil {
				return err
			}
			printRevocation(cmd, done)
			return nil
		})
	f := cmd.Flags()
	f.StringVar(&r.Subject, "subject", "", "issuer|subject, as records show it")
	f.StringVar(&session, "session", "", "a session")
	f.StringVar(&r.TokenID, "token-id", "", "a token's id (jti)")
	f.StringVar(&r.Reason, "reason", "", "why, for the record")
	f.DurationVar(&lasts, "for", 0, "how long (default: for good)")
	parent.AddCommand(cmd)
}

func printRevocation(cmd *cobra.Command, r access.Revocation) {
	what := "subject " + r.Subject
	if r.Session != "" {
		what = "session " + string(r.Session)
	} else if r.TokenID != "" {
		what = "token " + r.TokenID
	}
	until := "for good"
	if !r.Until.IsZero() {
		until = "until " + stamp(r.Until)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s  %s  %s, %s, by %s: %s\n", r.ID, stamp(r.Time), inert(what), until, inert(r.By), inert(r.Reason))
}
