package main

import (
	"fmt"

	"gatebook/internal/access"
	"gatebook/internal/config"
	"gatebook/internal/credential"
	"gatebook/internal/protocol"
	"gatebook/internal/protocol/kubernetes"
)

// protocols are those linked in, by the name that a target's protocol key gives.
func protocols() map[string]func(*gateway, config.Target, *credential.Upstream) (protocol.Handler, error) {
	return map[string]func(*gateway, config.Target, *credential.Upstream) (protocol.Handler, error){
		"git":        newGit,
		"kubernetes": newKubernetes,
		"model":      newModel,
		"web":        newWeb,
	}
}

func newKubernetes(g *gateway, t config.Target, u *credential.Upstream) (protocol.Handler, error) {
	h, err := kubernetes.New(kubernetes.Options{
		Target:    access.Target{Name: t.Name, Protocol: t.Protocol, Labels: t.Labels},
		Gate:      g.gate,
		Upstream:  u,
		Masks:     g.masks,
		Limits:    kubernetes.Limits{RequestBodyBytes: g.cfg.Limits.RequestBodyBytes},
		Hold:      kubernetes.Hold{Kubectl: g.cfg.Approvals.Hold, Other: g.cfg.Approvals.HoldOthers},
		SpoolDir:  g.folder("spool"),
		DigestKey: g.keys.digest,
		Log:       g.log,
	})
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", t.Name, err)
	}
	return h, nil
}

// vocabulary are the words that the protocols linked in are written in, and that are never taken for a secret.
func vocabulary() ([]string, error) { return kubernetes.Vocabulary() }
