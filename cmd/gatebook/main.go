// Command gatebook is a gateway that AI coding agents pass to reach what they work on, and the book that proves what
// they did there. One file holds one verb.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"gatebook/internal/api/client"
)

// Exit codes, beside 0.
const (
	exitFailed = 1 // it was tried and did not work
	exitUsage  = 2 // it was asked for wrongly: arguments, configuration, policy
	exitBroken = 3 // verify found that the book was touched
)

// usageError is a mistake in what was asked for.
type usageError struct{ error }

// brokenError is a book that was touched.
type brokenError struct{ error }

func (e usageError) Unwrap() error  { return e.error }
func (e brokenError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	os.Exit(report(err))
}

func report(err error) int {
	if err == nil {
		return 0
	}
	var own exitError
	if errors.As(err, &own) {
		return own.code
	}
	fmt.Fprintln(os.Stderr, "gatebook:", err)
	var u usageError
	var b brokenError
	var refused *client.Error
	switch {
	case errors.As(err, &u), errors.As(err, &refused) && refused.Status == http.StatusBadRequest:
		return exitUsage
	case errors.As(err, &b):
		return exitBroken
	}
	return exitFailed
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "gatebook",
		Short: "A gateway that AI coding agents pass, and the book that proves what they did",
		Long: "Gatebook stands between AI coding agents and what they work on. It knows who asks, decides every request,\n" +
			"holds privileged ones for a person, masks secrets, and records everything so that it can be proved.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 asked for wrongly, 3 the book was touched.",
		SilenceErrors: true, SilenceUsage: true,
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	for _, add := range verbs() {
		add(c)
	}
	strict(c)
	return c
}

// strict makes what is wrong with a command line a usageError that shows how it goes, in c and every command below.
func strict(c *cobra.Command) {
	for _, sub := range c.Commands() {
		strict(sub)
	}
	if c.HasSubCommands() && c.RunE == nil {
		c.Args, c.SuggestionsMinimumDistance = cobra.ArbitraryArgs, 2
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			hint := "see " + cmd.CommandPath() + " --help"
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "did you mean " + strings.Join(near, " or ") + "?"
			}
			return usageError{fmt.Errorf("%s has no command %q; %s", cmd.CommandPath(), args[0], hint)}
		}
		return
	}
	if args := c.Args; args != nil {
		c.Args = func(cmd *cobra.Command, given []string) error {
			if err := args(cmd, given); err != nil {
				return usageError{fmt.Errorf("%w; it goes: %s", err, cmd.UseLine())}
			}
			return nil
		}
	}
}
