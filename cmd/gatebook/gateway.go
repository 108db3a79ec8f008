package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"gatebook/internal/approval"
	"gatebook/internal/archive"
	"gatebook/internal/attribution"
	"gatebook/internal/config"
	"gatebook/internal/gate"
	"gatebook/internal/identity"
	"gatebook/internal/identity/issuer"
	"gatebook/internal/journal"
	"gatebook/internal/ledger"
	"gatebook/internal/mask"
	"gatebook/internal/protocol/postgres"
	"gatebook/internal/recording"
	"gatebook/internal/server"
	"gatebook/internal/store"
)

// gateway is all parts of a running Gatebook, joined.
type gateway struct {
	cfg *config.Config
	log *slog.Logger
	// operator logs in by a code shown at the terminal; nil where people have passwords.
	operator *issuer.Operator

	keys        *keys
	store       *store.Store
	ledger      *ledger.Log
	journal     *journal.Journal
	archive     *archive.Folder
	recorder    *recording.Recorder
	masks       *mask.Engine
	keeping     sync.Mutex // held while what masks knows is put into the store
	policy      *policyFolder
	revocations *identity.Revocations
	identity    *identity.Authenticator
	embedded    *issuer.Issuer
	desk        *approval.Desk
	attribution *attribution.Attributor // nil where no target is a model
	gate        *gate.Gate
	sessions    *gate.Sessions
	server      *server.Server
	postgres    *postgres.Handler // nil: there are no such targets
	metrics     *prometheus.Registry

	background sync.WaitGroup
	stop       context.CancelFunc
	closers    []func() error // in the order of opening
}

// openGateway opens everything, and listens to nothing yet. The caller closes it.
func openGateway(ctx context.Context, cfg *config.Config, log *slog.Logger, operator *issuer.Operator) (_ *gateway, err error) {
	ctx, stop := context.WithCancel(ctx)
	g := &gateway{cfg: cfg, log: log, operator: operator, stop: stop, metrics: prometheus.NewRegistry()}
	g.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	for _, step := range []func(context.Context) error{g.openBook, g.openMasks, g.openPolicy, g.openDesk, g.openGate, g.openServer} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (g *gateway) folder(name string) string { return filepath.Join(g.cfg.Data, name) }

func (g *gateway) onClose(f func() error) { g.closers = append(g.closers, f) }

// run starts background work that ends with the gateway.
func (g *gateway) run(ctx context.Context, f func(context.Context)) {
	g.background.Go(func() { f(ctx) })
}

// Close undoes what was opened, the last first.
func (g *gateway) Close() error {
	g.stop()
	g.background.Wait()
	var errs []error
	for i := len(g.closers) - 1; i >= 0; i-- {
		errs = append(errs, g.closers[i]())
	}
	return errors.Join(errs...)
}
