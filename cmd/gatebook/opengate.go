package main

import (
	"context"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/attribution"
	"gatebook/internal/gate"
	"gatebook/internal/recording"
)

// openSessions goes on with the sessions that there were.
func (g *gateway) openSessions(ctx context.Context) error {
	g.sessions = &gate.Sessions{Idle: g.cfg.Sessions.Idle, Now: time.Now, Recall: func(p access.Principal, conversation string) access.SessionID {
		id, err := g.store.Conversation(ctx, p.Key(), conversation)
		if err != nil { // then it is a session of its own
			g.log.Error("a conversation's session cannot be looked up", "error", err)
		}
		return id
	}}
	rows, err := g.store.OpenSessions(ctx, time.Now().Add(-g.cfg.Sessions.Idle))
	for _, r := range rows {
		g.sessions.Restore(r.Principal, r.ID, r.Last, r.Conversing)
	}
	return err
}

// openGate joins what decides: policy, approvals, revocations, the recorder, and what links operations to tool calls.
func (g *gateway) openGate(ctx context.Context) (err error) {
	o := gate.Options{
		Policy: func() gate.Policy { return g.policy.current() }, Approvals: g.desk, Revocations: g.revocations,
		Recorder: g.recorder, Metrics: gate.NewMetrics(g.metrics), Log: g.log,
	}
	if err := g.openAttribution(ctx); err != nil {
		return err
	}
	if err := g.openSessions(ctx); err != nil {
		return err
	}
	if g.attribution != nil {
		o.Attribution = g.attribution
	}
	g.gate, err = gate.New(o)
	return err
}

// openAttribution links operations to tool calls, where calls of a model come by here at all. It remembers those that
// were open when an earlier process ended.
func (g *gateway) openAttribution(ctx context.Context) error {
	var models []string
	for _, t := range g.cfg.Targets {
		if t.Protocol == "model" {
			models = append(models, t.Name)
		}
	}
	if len(models) == 0 {
		return nil
	}
	g.attribution = attribution.New(attribution.Options{Now: time.Now, Log: g.log, Record: func(s access.SessionID, c access.Cause) error {
		return g.recorder.Note(string(s), recording.NoteCause, c)
	}})
	if err := g.awaitIndex(ctx); err != nil {
		return err
	}
	turns, err := g.store.RecentTurns(ctx, time.Now().Add(-attribution.CallLife), models)
	g.attribution.Remember(turns)
	return err
}
