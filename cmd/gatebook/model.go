package main

import (
	"context"
	"fmt"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/config"
	"gatebook/internal/credential"
	"gatebook/internal/protocol"
	"gatebook/internal/protocol/model"
)

// newModel makes the handler of a language model's API. Its budgets go on where the index says that they were.
func newModel(g *gateway, t config.Target, u *credential.Upstream) (protocol.Handler, error) {
	past, err := g.store.ModelUse(context.Background(), t.Name, time.Now().Add(-model.UsageMemory))
	if err != nil {
		return nil, err
	}
	o := model.Options{
		Target:    access.Target{Name: t.Name, Protocol: t.Protocol, Labels: t.Labels},
		Gate:      g.gate,
		Upstream:  u,
		Masks:     g.masks,
		MaskKey:   g.keys.mask,
		Limits:    model.Limits{RequestBodyBytes: g.cfg.Limits.RequestBodyBytes},
		Hold:      g.cfg.Approvals.HoldOthers,
		Past:      past,
		DigestKey: g.keys.digest,
		Log:       g.log,
	}
	for _, p := range t.Prices {
		o.Prices = append(o.Prices, model.Price(p))
	}
	h, err := model.New(o)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", t.Name, err)
	}
	return h, nil
}
