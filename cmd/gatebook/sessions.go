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
)

// queryFlags are the filters of sessions and search.
type queryFlags struct {
	q    client.Query
	risk string
	output
	session      string
	since, until string
}

func (f *queryFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.q.Principal, "principal", "", "only of this principal's name")
	fs.StringVar(&f.q.Target, "target", "", "only on this target")
	fs.StringVar(&f.risk, "risk", "", "only of this risk or higher: low, medium, high, critical")
	fs.StringVar(&f.since, "since", "", "not before: a time (RFC 3339, or 2006-01-02) or a duration ago, such as 2h")
	fs.StringVar(&f.until, "until", "", "only before: as since")
	fs.IntVar(&f.q.Limit, "limit", 50, "at most so many")
	fs.StringVar(&f.q.Cursor, "cursor", "", "go on where the last page ended")
	f.flag(cmd)
}

// perPage is the most that the gateway gives at once.
const perPage = 100

// pages asks for one page after another, until there are as many rows as the query's limit, or no more.
func pages[T any](ctx context.Context, q client.Query, ask func(context.Context, client.Query) (client.Page[T], error)) (client.Page[T], error) {
	out := client.Page[T]{Items: []T{}}
	if q.Limit < 1 {
		return out, usageError{fmt.Errorf("--limit %d: want 1 or more", q.Limit)}
	}
	for left := q.Limit; left > 0; {
		q.Limit = min(left, perPage)
		page, err := ask(ctx, q)
		if err != nil {
			return out, err
		}
		out.Items, out.Next = append(out.Items, page.Items...), page.Next
		if left -= len(page.Items); page.Next == "" {
			break
		}
		q.Cursor = page.Next
	}
	return out, nil
}

// show prints a page, and says what a list alone does not.
func show[T any](cmd *cobra.Command, f *queryFlags, page client.Page[T], row func(io.Writer, T) error) error {
	err := f.print(cmd.OutOrStdout(), page, func(w io.Writer) error {
		for _, x := range page.Items {
			if err := row(w, x); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case f.json:
	case len(page.Items) == 0 && f.q.Principal != "":
		fmt.Fprintln(cmd.ErrOrStderr(), "nothing was found; --principal takes a whole name, such as system:serviceaccount:NAMESPACE:NAME, or ISSUER|SUBJECT")
	case len(page.Items) == 0:
		fmt.Fprintln(cmd.ErrOrStderr(), "nothing was found")
	case page.Next != "":
		fmt.Fprintf(cmd.ErrOrStderr(), "there are more: --cursor %s\n", page.Next)
	}
	return err
}

func (f *queryFlags) query(now time.Time) (client.Query, error) {
	q := f.q
	q.Session = access.SessionID(f.session)
	if f.risk != "" {
		if err := q.Risk.UnmarshalText([]byte(f.risk)); err != nil {
			return q, usageError{err}
		}
	}
	var err error
	if q.Since, err = moment(f.since, now); err == nil {
		q.Until, err = moment(f.until, now)
	}
	return q, err
}

// moment reads a time, or how long ago it was.
func moment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageError{fmt.Errorf("%q is neither a time (2006-01-02, 2006-01-02 15:04:05, RFC 3339) nor a duration ago (90m)", s)}
}

func addSessions(parent *cobra.Command) {
	var c connection
	var f queryFlags
	cmd := c.verb(&cobra.Command{Use: "sessions", Short: "List the runs of agents, the latest first", Args: cobra.NoArgs},
		func(cmd *cobra.Command, _ []string, x *client.Client) error {
			q, err := f.query(time.Now())
			if err != nil {
				return err
			}
			page, err := pages(cmd.Context(), q, x.Sessions)
			if err != nil {
				return err
			}
			return show(cmd, &f, page, printSession)
		})
	f.add(cmd)
	parent.AddCommand(cmd)
}

func printSession(w io.Writer, s access.SessionSummary) error {
	live := "ended"
	if s.Live {
		live = "live"
	}
	_, err := fmt.Fprintf(w, "%s  %s  %-5s  %4d operations, %d refused  risk %-8s  %s  on %s\n", s.ID, stamp(s.Started), live,
		s.Operations, s.Refused, s.Risk, inert(s.Principal.Name), inert(strings.Join(s.Targets, ", ")))
	return err
}

func addSearch(parent *cobra.Command) {
	var c connection
	var f queryFlags
	cmd := c.verb(&cobra.Command{Use: "search [WORDS]", Short: "Find operations, the latest first",
		Long: "Finds operations in which each word begins a word of the command, the principal's name, what it acts on, or why\nit was refused."},
		func(cmd *cobra.Command, args []string, x *client.Client) error {
			q, err := f.query(time.Now())
			if err != nil {
				return err
			}
			q.Text = strings.Join(args, " ")
			page, err := pages(cmd.Context(), q, x.Operations)
			if err != nil {
				return err
			}
			return show(cmd, &f, page, printRecord)
		})
	f.add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.session, "session", "", "only of this session")
	fs.StringVar(&f.q.Namespace, "namespace", "", "only in this namespace")
	fs.StringVar(&f.q.Verb, "verb", "", "only this verb")
	fs.StringVar(&f.q.Resource, "resource", "", "only this resource, such as secrets or pods/exec")
	fs.StringVar(&f.q.Effect, "effect", "", "only those that policy allowed, denied or had approved: allow, deny, approve")
	fs.StringVar(&f.q.Refused, "refused", "", "only those that did not run (true) or did (false)")
	parent.AddCommand(cmd)
}

// printRecord prints an operation on two lines.
func printRecord(w io.Writer, r access.Record) error {
	op, how := r.Operation, r.Decision.Effect.String()
	switch {
	case r.Refused != nil:
		how = "refused: " + string(r.Refused.Code)
	case r.Outcome == nil:
		how += ", running"
	default:
		how += fmt.Sprintf(", %d, %s, %d bytes", r.Outcome.Code, r.Outcome.Duration.Round(time.Millisecond), r.Outcome.ResponseBytes)
		if r.Outcome.ExitCode >= 0 {
			how += fmt.Sprintf(", exit %d", r.Outcome.ExitCode)
		}
		if r.Outcome.Masked > 0 {
			how += fmt.Sprintf(", %d masked", r.Outcome.Masked)
		}
	}
	_, err := fmt.Fprintf(w, "%s  %s  %-8s  %s  on %s (%s)\n    %s\n", op.ID, stamp(op.Time), r.Decision.Risk, inert(op.Principal.Name), inert(op.Target.Name), how, inert(op.Command))
	return err
}
