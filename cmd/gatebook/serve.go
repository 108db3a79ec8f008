package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"gatebook/internal/config"
	"gatebook/internal/identity/issuer"
)

func addServe(parent *cobra.Command) {
	var file, level string
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the gateway",
		Long: "Runs the gateway until it is interrupted; then it takes no new work, and cuts what has not ended within the\n" +
			"configuration's drain. SIGHUP reads the policy again; so does any change in its folder.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{errors.New("give the configuration: --config FILE")}
			}
			cfg, err := config.LoadFile(file)
			if err != nil {
				return usageError{err}
			}
			log, err := newLog(level)
			if err != nil {
				return err
			}
			return runGateway(cmd.Context(), cfg, log, nil, func(string) {})
		},
	}
	c.Flags().StringVar(&file, "config", "", "the configuration file")
	c.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	parent.AddCommand(c)
}

func newLog(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usageError{fmt.Errorf("--log-level: %w", err)}
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})), nil
}

// runGateway opens, serves until ctx ends, and closes. ready is told the address once clients can come.
func runGateway(ctx context.Context, cfg *config.Config, log *slog.Logger, operator *issuer.Operator, ready func(address string)) (err error) {
	klog.SetLogger(logr.Discard()) // the Kubernetes libraries write of requests that they cannot parse; ours says so itself
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listening for clients: %w", err)
	}
	defer func() { closeQuietly(l) }()
	admin, err := net.Listen("tcp", cfg.Admin)
	if err != nil {
		return fmt.Errorf("listening for monitoring (admin): %w", err)
	}
	defer func() { closeQuietly(admin) }()
	g, err := openGateway(ctx, cfg, log, operator)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	log.Info("serving", "address", l.Addr().String(), "url", cfg.URL, "admin", admin.Addr().String(),
		"policy", g.policy.current().Digest(), "ledger", g.keys.verifier)
	ready(l.Addr().String())
	return g.serve(ctx, l, admin)
}

// closeQuietly closes a listener that the server, as a rule, has closed before.
func closeQuietly(l net.Listener) {
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		slog.Warn("closing a listener", "error", err)
	}
}
