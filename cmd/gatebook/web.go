package main

import (
	"fmt"
	"net"
	"strconv"

	"gatebook/internal/access"
	"gatebook/internal/config"
	"gatebook/internal/credential"
	"gatebook/internal/protocol"
	"gatebook/internal/protocol/web"
	"gatebook/internal/server"
)

// newWeb makes the handler of an HTTP service.
func newWeb(g *gateway, t config.Target, u *credential.Upstream) (protocol.Handler, error) {
	h, err := web.New(web.Options{
		Target:    access.Target{Name: t.Name, Protocol: t.Protocol, Labels: t.Labels},
		Gate:      g.gate,
		Upstream:  u,
		Masks:     g.masks,
		Limits:    web.Limits{RequestBodyBytes: g.cfg.Limits.RequestBodyBytes},
		Hold:      g.cfg.Approvals.HoldOthers,
		Opaque:    t.Opaque,
		SpoolDir:  g.folder("spool"),
		DigestKey: g.keys.digest,
		Log:       g.log,
	})
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", t.Name, err)
	}
	return h, nil
}

// webUpstream adds to the far side of an HTTP service the hosts that its clients name themselves.
func webUpstream(o *credential.Options, t config.Target) error {
	o.Shared = true
	hosts, err := web.ParseHosts(t.Proxy.Hosts)
	if err != nil {
		return fmt.Errorf("proxy.hosts: %w", err)
	}
	if len(hosts) == 0 {
		return nil
	}
	o.Forward = func(scheme, address string) bool {
		host, port, err := net.SplitHostPort(address)
		return err == nil && hosts.Match(scheme, host, port)
	}
	return nil
}

// ownPorts are those of the gateway's listeners, which no target may be.
func ownPorts(cfg *config.Config) []uint16 {
	var out []uint16
	for _, l := range []string{cfg.Listen, cfg.Admin, cfg.ListenPostgres} {
		if _, port, err := net.SplitHostPort(l); err == nil {
			if n, err := strconv.ParseUint(port, 10, 16); err == nil {
				out = append(out, uint16(n))
			}
		}
	}
	return out
}

// proxy is what answers clients that use the gateway as an HTTP proxy; nil where no target is for that.
func (g *gateway) proxy(handlers map[string]protocol.Handler) (protocol.Handler, error) {
	o := web.ProxyOptions{HeaderBytes: g.cfg.Limits.HeaderBytes, HeaderTimeout: g.cfg.Limits.HeaderTimeout, BodyTimeout: g.cfg.Limits.BodyTimeout,
		Streams: g.cfg.Limits.Streams, Log: g.log}
	intercepts := false
	for _, t := range g.cfg.Targets {
		h, ok := handlers[t.Name].(*web.Handler)
		if !ok || len(t.Proxy.Hosts) == 0 {
			continue
		}
		hosts, err := web.ParseHosts(t.Proxy.Hosts)
		if err != nil {
			return nil, usageError{fmt.Errorf("target %s: proxy.hosts: %w", t.Name, err)}
		}
		o.Targets = append(o.Targets, web.ProxyTarget{Handler: h, Hosts: hosts, Intercept: t.Proxy.Intercept})
		intercepts = intercepts || t.Proxy.Intercept
	}
	if len(o.Targets) == 0 {
		return nil, nil
	}
	if intercepts {
		ca, err := server.OpenAuthority(g.cfg.Data)
		if err != nil {
			return nil, err
		}
		o.Certificate = ca.Certificate
	}
	return web.NewProxy(o)
}
