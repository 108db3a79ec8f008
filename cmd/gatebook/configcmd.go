package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gatebook/internal/config"
	"gatebook/internal/policy"
)

func addConfig(parent *cobra.Command) {
	c := &cobra.Command{Use: "config", Short: "Check a configuration"}
	c.AddCommand(&cobra.Command{
		Use:   "check FILE",
		Short: "Say what is wrong with a configuration and its policy, and change nothing",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := config.LoadFile(args[0])
			if err != nil {
				return usageError{err}
			}
			var problems []error
			for _, t := range cfg.Targets {
				if _, err := newUpstream(t, cfg.Issuers); err != nil {
					problems = append(problems, err)
				}
			}
			files, err := readPolicy(cfg.Policy)
			if err == nil {
				_, err = policy.Load(files)
			}
			if err := errors.Join(append(problems, err)...); err != nil {
				return usageError{err}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is good: %d targets, %d issuers\n", args[0], len(cfg.Targets), len(cfg.Issuers))
			return nil
		},
	})
	parent.AddCommand(c)
}
