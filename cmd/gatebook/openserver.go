package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api"
	"gatebook/internal/api/client"
	"gatebook/internal/attribution"
	"gatebook/internal/credential"
	"gatebook/internal/protocol"
	"gatebook/internal/server"
)

// openServer makes the handler of each target, and the server in front of them.
func (g *gateway) openServer(ctx context.Context) error {
	handlers, hosts, upstreams := map[string]protocol.Handler{}, map[string]string{}, map[string]*credential.Upstream{}
	for _, t := range g.cfg.Targets {
		if t.Protocol == "postgres" {
			continue // has a listener of its own
		}
		u, err := newUpstream(t, g.cfg, g.masks.Learn)
		if err != nil {
			return err
		}
		h, err := protocols()[t.Protocol](g, t, u)
		if err != nil {
			return usageError{err}
		}
		handlers[t.Name], upstreams[t.Name] = h, u
		g.onClose(func() error { u.Close(); return nil })
		for _, host := range t.Hosts {
			hosts[host] = t.Name
		}
	}
	if err := g.openIdentity(ctx, upstreams); err != nil {
		return err
	}
	g.onClose(func() error { g.identity.Close(); return nil })
	tc, err := g.tls()
	if err != nil {
		return err
	}
	if err := g.openPostgres(tc); err != nil {
		return err
	}
	proxy, err := g.proxy(handlers)
	if err != nil {
		return err
	}
	g.server = server.New(server.Options{
		Authenticate: g.identity.Authenticate, Session: g.sessions.Of, Targets: handlers, Hosts: hosts, Proxy: proxy, Own: g.own(), TLS: tc, Log: g.log,
		HeaderBytes: g.cfg.Limits.HeaderBytes, HeaderTimeout: g.cfg.Limits.HeaderTimeout, BodyTimeout: g.cfg.Limits.BodyTimeout, Streams: g.cfg.Limits.Streams,
	})
	return nil
}

// tls gives the certificate of the configuration, or one that is made here.
func (g *gateway) tls() (*tls.Config, error) {
	cert, key := g.cfg.TLS.CertificateFile, g.cfg.TLS.KeyFile
	if cert == "" {
		names := append([]string{"localhost", "127.0.0.1"}, g.cfg.TLS.Names...)
		if u, err := url.Parse(g.cfg.URL); err == nil {
			names = append(names, u.Hostname())
		}
		for _, t := range g.cfg.Targets {
			names = append(names, t.Hosts...)
		}
		var err error
		if cert, key, err = server.SelfMade(g.cfg.Data, names); err != nil {
			return nil, err
		}
	}
	tc, err := server.Reloaded(cert, key, func(err error) { g.log.Error("the new certificate is not used", "error", err) })
	if err != nil {
		return nil, usageError{fmt.Errorf("tls: %w", err)}
	}
	return tc, nil
}

// own answers below /gatebook/.
func (g *gateway) own() http.Handler {
	o := api.Options{
		Authenticate: g.identity.Authenticate, Session: func(p access.Principal) access.SessionID { return g.sessions.Of(p, "") }, Register: func(p access.Principal, cancel func(error)) func() {
			return g.revocations.Register(p, "", cancel)
		},
		May: g.may, Index: g.store, CatchUp: g.recorder.CatchUp, Desk: g.desk, Note: g.recorder.Note,
		Revoke: g.revoke, Restore: g.restore, Forget: g.forget, Digest: g.masks.Digest, Explain: func(r *access.Record) any { return g.policy.current().ExplainRecorded(r) }, Log: g.log,
		Book: api.Book{Archive: g.archive, Ledger: os.DirFS(g.folder("ledger")), Frames: g.recorder.Frames},
	}
	for _, t := range g.cfg.Targets {
		o.Targets = append(o.Targets, g.offered(t))
	}
	if g.attribution != nil {
		o.Span = g.span
	}
	mux := http.NewServeMux()
	mux.Handle(client.Prefix, api.New(o))
	if g.embedded != nil {
		mux.Handle(embeddedPath+"/", g.embedded)
	}
	return mux
}

// span takes what a client's telemetry says of a call. A name that is a secret is none: flags would repeat it.
func (g *gateway) span(p access.Principal, s access.SessionID, sp attribution.Span) {
	if g.masks.Scope(s).Claimed().Clean([]byte(sp.Call)) {
		g.attribution.Span(p, s, sp)
	}
}

// serve answers on the listener, and on the administrative one, until ctx ends; then it drains.
func (g *gateway) serve(ctx context.Context, l, admin net.Listener) error {
	a := &http.Server{Handler: g.admin(), ReadTimeout: 5 * time.Second}
	failed := make(chan error, 3)
	databases, err := g.listenPostgres()
	if err != nil {
		return err
	}
	if databases != nil {
		go func() { failed <- g.servePostgres(databases) }()
	}
	go func() { failed <- g.server.Serve(l) }()
	go func() {
		if err := a.Serve(admin); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serving %s: %w", admin.Addr(), err)
		}
	}()
	select {
	case err = <-failed:
	case <-ctx.Done():
		g.log.Info("draining", "for", g.cfg.Drain)
	}
	g.gate.Drain()
	last, cancel := context.WithTimeout(context.Background(), g.cfg.Drain)
	defer cancel()
	g.server.Shutdown(last)
	return errors.Join(err, a.Close())
}
