package main

import (
	"context"
	"fmt"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api"
	"gatebook/internal/api/client"
	"gatebook/internal/approval"
	"gatebook/internal/approval/webhook"
	"gatebook/internal/config"
	"gatebook/internal/identity"
)

// openDesk goes on with revocations, and with approvals, which it has sent to the webhook.
func (g *gateway) openDesk(ctx context.Context) error {
	rows, err := g.store.Revocations(ctx, time.Now())
	if err != nil {
		return err
	}
	g.revocations = identity.NewRevocations(time.Now, rows...)
	o := approval.Options{
		Store: g.store, Log: g.log, Record: g.note, Notify: g.alert,
		MayEnd:        func(p access.Principal, _ access.Approval) bool { return g.may(p, api.Approver) },
		MayApprove:    func(p access.Principal, _ access.Approval) bool { return g.may(p, api.Approver) },
		MayBreakGlass: func(p access.Principal, _ access.Approval) bool { return g.may(p, api.BreakGlass) },
	}
	if w := g.cfg.Approvals.Webhook; w.URL != "" {
		secret, err := w.Secret.Read()
		if err != nil {
			return usageError{fmt.Errorf("approvals.webhook.secret: %w", err)}
		}
		wo := webhook.Options{URL: w.URL, Secret: secret, Outbox: g.store, Log: g.log}
		if w.CAFile != "" {
			c, err := clientWithCA(w.CAFile)
			if err != nil {
				return usageError{fmt.Errorf("approvals.webhook: %w", err)}
			}
			wo.Transport = c.Transport
		}
		s, err := webhook.New(wo)
		if err != nil {
			return usageError{fmt.Errorf("approvals.webhook: %w", err)}
		}
		o.Message = webhook.Message(g.cfg.URL + client.Prefix + "approvals")
		g.run(ctx, s.Run)
	}
	g.desk = approval.New(o)
	g.run(ctx, g.desk.Run)
	g.run(ctx, g.keepHouse)
	return nil
}

// note records what is about to happen to an approval.
func (g *gateway) note(e approval.Event) error {
	return g.recorder.Note(string(e.Approval.Operation.Session), "approval."+string(e.Kind), e)
}

// alert tells the log of what operators should see at once.
func (g *gateway) alert(e approval.Event) {
	if e.Kind == approval.BreakGlass {
		g.log.Warn("break glass", "approval", e.Approval.ID, "by", e.Answer.Approver.Name, "reason", e.Answer.Reason)
	}
}

// may says who has which role.
func (g *gateway) may(p access.Principal, r api.Role) bool {
	m := map[api.Role]config.Members{api.Approver: g.cfg.Roles.Approvers, api.Auditor: g.cfg.Roles.Auditors,
		api.Admin: g.cfg.Roles.Admins, api.BreakGlass: g.cfg.Roles.BreakGlass, api.Restorer: g.cfg.Roles.Restorers}[r]
	return m.Has(p.Name, p.Groups)
}

// revoke keeps a revocation, and then puts it in force.
func (g *gateway) revoke(ctx context.Context, r access.Revocation) error {
	if err := g.store.PutRevocation(ctx, r); err != nil {
		return err
	}
	g.revocations.Add(r)
	return nil
}

// restore forgets a revocation, and then takes it out of force.
func (g *gateway) restore(ctx context.Context, id string) error {
	if _, err := g.store.DeleteRevocation(ctx, id); err != nil {
		return err
	}
	g.revocations.Remove(id)
	return nil
}
