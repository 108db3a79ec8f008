package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"

	"gatebook/internal/access"
	"gatebook/internal/config"
	"gatebook/internal/credential"
	"gatebook/internal/protocol/postgres"
)

// openPostgres makes the one handler of all PostgreSQL targets, which share a listener. There may be none.
func (g *gateway) openPostgres(tc *tls.Config) error {
	targets, hosts := map[string]postgres.Target{}, map[string]string{}
	for _, t := range g.cfg.Targets {
		if t.Protocol != "postgres" {
			continue
		}
		d, err := newDatabase(t, g.cfg, g.masks.Learn)
		if err != nil {
			return usageError{fmt.Errorf("target %s: %w", t.Name, err)}
		}
		targets[t.Name] = postgres.Target{Target: access.Target{Name: t.Name, Protocol: t.Protocol, Labels: t.Labels}, Upstream: d, Estimate: t.Estimate}
		for _, h := range t.Hosts {
			hosts[h] = t.Name
		}
	}
	if len(targets) == 0 {
		return nil
	}
	l := g.cfg.Limits
	var err error
	g.postgres, err = postgres.New(postgres.Options{Targets: targets, Hosts: hosts, Gate: g.gate, Masks: g.masks, TLS: tc,
		Limits: postgres.Limits{MessageBytes: l.SQLMessageBytes, StatementBytes: l.SQLStatementBytes, Names: l.SQLNames, Login: l.HeaderTimeout},
		Hold:   g.cfg.Approvals.Hold, Compiled: g.folder("compiled"), DigestKey: g.keys.digest, Log: g.log})
	return err
}

// newDatabase makes the far side of a PostgreSQL target. Its secrets are told to learn first.
func newDatabase(t config.Target, cfg *config.Config, learn func(secret []byte)) (*credential.Database, error) {
	o := credential.DatabaseOptions{URL: t.URL, ServerName: t.ServerName, Role: t.User, Reach: credential.Reach{Own: ownPorts(cfg), Proven: true}}
	if t.CertificateFile != "" {
		o.Certificate = certificatePair(t.CertificateFile, t.KeyFile, learn)
	} else {
		o.Password = learning(t.Token.Read, learn)
		_, _ = o.Password() // another target may hold a copy of it; what cannot be read yet is learned when it is used
	}
	if t.CAFile != "" {
		var err error
		if o.CA, err = os.ReadFile(t.CAFile); err != nil {
			return nil, err
		}
	}
	return credential.NewDatabase(o)
}

// address is where clients reach a target.
func (g *gateway) address(t config.Target) string {
	if t.Protocol != "postgres" {
		return g.cfg.URL + "/t/" + t.Name
	}
	host, port := "localhost", "5432"
	if u, err := url.Parse(g.cfg.URL); err == nil {
		host = u.Hostname()
	}
	if _, p, err := net.SplitHostPort(g.cfg.ListenPostgres); err == nil {
		port = p
	}
	return "postgres://" + net.JoinHostPort(host, port) + "/" + t.Name
}

// listenPostgres gives the listener for clients of PostgreSQL, or nil where there is no target for them.
func (g *gateway) listenPostgres() (net.Listener, error) {
	if g.postgres == nil {
		return nil, nil
	}
	l, err := net.Listen("tcp", g.cfg.ListenPostgres)
	if err != nil {
		return nil, fmt.Errorf("listening for clients of PostgreSQL: %w", err)
	}
	g.log.Info("serving PostgreSQL", "address", l.Addr().String())
	return l, nil
}

// servePostgres answers on l until the server shuts down.
func (g *gateway) servePostgres(l net.Listener) error {
	if err := g.server.ServeConns(l, g.postgres); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
