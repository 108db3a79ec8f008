package main

import (
	"fmt"

	"gatebook/internal/access"
	"gatebook/internal/config"
	"gatebook/internal/credential"
	"gatebook/internal/protocol"
	"gatebook/internal/protocol/git"
)

func newGit(g *gateway, t config.Target, u *credential.Upstream) (protocol.Handler, error) {
	l := g.cfg.Limits
	h, err := git.New(git.Options{
		Target:    access.Target{Name: t.Name, Protocol: t.Protocol, Labels: t.Labels},
		Gate:      g.gate,
		Upstream:  u,
		Masks:     g.masks,
		Base:      u.Base(),
		Limits:    git.Limits{RequestBodyBytes: l.RequestBodyBytes, PushBytes: l.GitPushBytes, BodyTimeout: l.BodyTimeout},
		Hold:      git.Hold{Push: g.cfg.Approvals.Hold, Other: g.cfg.Approvals.HoldOthers},
		SpoolDir:  g.folder("spool"),
		DigestKey: g.keys.digest,
		Log:       g.log,
	})
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", t.Name, err)
	}
	return h, nil
}
