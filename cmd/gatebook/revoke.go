package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
)

// revoking is what a command line of revoke asks for.
type revoking struct {
	access.Revocation
	session string
	lasts   time.Duration
	undo    string
	list    bool
	output
}

func addRevoke(parent *cobra.Command) {
	var c connection
	var r revoking
	cmd := c.verb(&cobra.Command{Use: "revoke", Short: "Take back a subject's, a session's or a token's access, at once", Args: cobra.NoArgs,
		Long: "Takes back access and cuts what runs, live streams included, within a second. Say what is revoked by one of\n--subject, --session and --token-id. " +
			"--list, or nothing, lists what is revoked. --undo takes a revocation back;\nthat needs a role of its own (roles.restorers)."},
		func(cmd *cobra.Command, _ []string, x *client.Client) error { return r.run(cmd, x) })
	f := cmd.Flags()
	f.StringVar(&r.Subject, "subject", "", "issuer|subject, as records show it")
	f.StringVar(&r.session, "session", "", "a session")
	f.StringVar(&r.TokenID, "token-id", "", "a token's id (jti)")
	f.StringVar(&r.Reason, "reason", "", "why, for the record")
	f.DurationVar(&r.lasts, "for", 0, "how long (default: for good)")
	f.BoolVar(&r.list, "list", false, "list what is revoked")
	f.StringVar(&r.undo, "undo", "", "take back the revocation of this ID")
	r.flag(cmd)
	parent.AddCommand(cmd)
}

func (r *revoking) run(cmd *cobra.Command, x *client.Client) error {
	r.Session = access.SessionID(r.session)
	what := 0
	for _, s := range []string{r.Subject, r.session, r.TokenID, r.undo} {
		if s != "" {
			what++
		}
	}
	switch {
	case what > 1 || what == 1 && r.list:
		return usageError{errors.New("give one of --subject, --session, --token-id, --undo and --list")}
	case what == 0:
		return r.show(cmd, x)
	case strings.TrimSpace(r.Reason) == "":
		return usageError{errors.New("say why, for the record: --reason")}
	case r.undo != "":
		done, err := x.Restore(cmd.Context(), r.undo, r.Reason)
		if err != nil {
			return err
		}
		return r.print(cmd.OutOrStdout(), done, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "taken back: %s", revocationLine(done.Revocation))
			return err
		})
	}
	if r.lasts > 0 {
		r.Until = time.Now().Add(r.lasts)
	}
	done, err := x.Revoke(cmd.Context(), r.Revocation)
	if err != nil {
		return err
	}
	return r.print(cmd.OutOrStdout(), done, func(w io.Writer) error {
		_, err := io.WriteString(w, revocationLine(done))
		return err
	})
}

func (r *revoking) show(cmd *cobra.Command, x *client.Client) error {
	page, err := x.Revocations(cmd.Context())
	if err != nil {
		return err
	}
	if len(page.Items) == 0 && !r.json {
		fmt.Fprintln(cmd.ErrOrStderr(), "nothing is revoked")
	}
	return r.print(cmd.OutOrStdout(), page, func(w io.Writer) error {
		for _, v := range page.Items {
			if _, err := io.WriteString(w, revocationLine(v)); err != nil {
				return err
			}
		}
		return nil
	})
}

func revocationLine(r access.Revocation) string {
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
	return fmt.Sprintf("%s  %s  %s, %s, by %s: %s\n", r.ID, stamp(r.Time), inert(what), until, inert(r.By), inert(r.Reason))
}
