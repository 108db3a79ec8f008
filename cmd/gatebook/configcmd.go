package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gatebook/internal/config"
	"gatebook/internal/credential"
	"gatebook/internal/identity"
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
			if err := checkConfig(cfg); err != nil {
				return usageError{err}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is good: %d targets, %d issuers\n", args[0], len(cfg.Targets), len(cfg.Issuers))
			return nil
		},
	})
	parent.AddCommand(c)
}

// checkConfig finds what only those who use the configuration can tell: files that are missing, issuers that could name
// each other's people, and what is wrong with the policy.
func checkConfig(cfg *config.Config) error {
	var problems []error
	upstreams := map[string]*credential.Upstream{}
	for _, t := range cfg.Targets {
		u, err := newUpstream(t, cfg, func([]byte) {})
		upstreams[t.Name] = u
		problems = append(problems, err)
	}
	var issuers []identity.Issuer
	for _, is := range cfg.Issuers {
		x, err := newIssuer(is, upstreams[is.Cluster])
		if err != nil {
			err = fmt.Errorf("issuer %s: %w", is.Name, err)
		}
		issuers = append(issuers, x)
		problems = append(problems, err)
	}
	if len(issuers) > 0 {
		problems = append(problems, identity.Check(identity.Options{Issuers: issuers}))
	}
	files, err := readPolicy(cfg.Policy)
	if err == nil {
		_, err = policy.Load(files)
	}
	return errors.Join(append(problems, err)...)
}
