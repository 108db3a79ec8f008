// Package protocoltest is what stands behind a protocol in its tests: the real gate with the real recorder, so that nothing is
// permitted that is not recorded. What policy says, and what people answer, is the test's.
package protocoltest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"gatebook/internal/access"
	"gatebook/internal/archive"
	"gatebook/internal/gate"
	"gatebook/internal/journal"
	"gatebook/internal/ledger"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
	"gatebook/internal/recording"
)

// World is safe for concurrent use, but for its functions, which are set before anything is asked.
type World struct {
	Gate  *gate.Gate
	Masks *mask.Engine
	// Decide is the policy: it gives a decision, and the late fields that it needs first. Everything is allowed, unless set.
	Decide func(op *access.Operation) (access.Decision, []string)

	t       testing.TB
	journal string
	rec     *recording.Recorder

	mu    sync.Mutex
	cut   []func(error)
	rows  map[access.OperationID]access.Record
	cards []access.Card
}

// Caller is who asks.
var Caller = protocol.Caller{Principal: access.Principal{Issuer: "i", Subject: "agent", Name: "agent"}, Session: "0123456789abcdefghjkmnpqrs", Address: "192.0.2.1:1"}

// New makes one that ends with the test.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{t: t, rows: map[access.OperationID]access.Record{}, journal: t.TempDir(), Decide: func(*access.Operation) (access.Decision, []string) {
		return access.Decision{Effect: access.Allow, Masks: []access.Mask{{Name: access.MaskSecrets}, {Name: access.MaskKnown}}}, nil
	}}
	var err error
	if w.rec, err = w.record(); err != nil {
		t.Fatal(err)
	}
	if w.Masks, err = mask.New(mask.Options{Key: bytes.Repeat([]byte{7}, 32)}); err != nil {
		t.Fatal(err)
	}
	if w.Gate, err = gate.New(gate.Options{Policy: func() gate.Policy { return policy{w} }, Approvals: w, Revocations: w, Recorder: w.rec}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *World) record() (*recording.Recorder, error) {
	j, err := journal.Open(w.journal, journal.Options{})
	if err != nil {
		return nil, err
	}
	key, _, err := note.GenerateKey(nil, "test")
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(key)
	if err != nil {
		return nil, err
	}
	l, err := ledger.Open(w.t.TempDir(), ledger.Options{Signer: signer})
	if err != nil {
		return nil, err
	}
	a, err := archive.OpenFolder(w.t.TempDir())
	if err != nil {
		return nil, err
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	return recording.Open(recording.Options{Journal: j, Ledger: l, Archive: a, Dir: w.t.TempDir(), Recipients: []age.Recipient{id.Recipient()},
		Index: w, Durability: recording.Crash, SealAge: -1, SealIdle: time.Hour})
}

type policy struct{ *World }

func (p policy) Decide(op *access.Operation) (access.Decision, []string) { return p.World.Decide(op) }

// Register keeps how to cut what runs.
func (w *World) Register(_ access.Principal, _ access.SessionID, cancel func(error)) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = append(w.cut, cancel)
	return func() {}
}

// Check revokes nobody.
func (*World) Check(access.Principal, access.SessionID) error { return nil }

// Revoke cuts what runs.
func (w *World) Revoke() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.cut {
		c(access.Refuse(access.CodeRevoked, nil, "taken back"))
	}
}

// Ask keeps the card; the question stays open.
func (w *World) Ask(ctx context.Context, op *access.Operation, _ access.Decision, card func(context.Context) (access.Card, error)) (access.Approval, error) {
	c, err := card(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cards = append(w.cards, c)
	return access.Approval{ID: "approval-1", State: access.ApprovalPending, Operation: *op, Card: c}, err
}

// Wait waits until the client has gone.
func (*World) Wait(ctx context.Context, _ access.ApprovalID) (access.Approval, error) {
	<-ctx.Done()
	return access.Approval{}, ctx.Err()
}

// Use is never reached.
func (*World) Use(context.Context, access.ApprovalID, *access.Operation, access.Decision) error {
	return errors.New("nobody has said yes")
}

// Cards are what approvers were shown.
func (w *World) Cards() []access.Card {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.cards)
}

// PutBatch keeps what the recorder tells its index.
func (w *World) PutBatch(entries []access.IndexEntry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range entries {
		switch {
		case e.Record != nil:
			w.rows[e.Record.Operation.ID] = *e.Record
		case e.End != nil:
			r := w.rows[e.End.ID]
			r.Outcome = &e.End.Outcome
			w.rows[e.End.ID] = r
		}
	}
	return nil
}

// Records are the operations that the book has, oldest first, once everything has ended. Nothing can be asked afterwards.
func (w *World) Records() []access.Record {
	w.t.Helper()
	if err := w.rec.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []access.Record
	for _, r := range w.rows {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b access.Record) int { return strings.Compare(string(a.Operation.ID), string(b.Operation.ID)) })
	return out
}

// Recorded is everything that the journal has.
func (w *World) Recorded() []byte {
	w.t.Helper()
	var all []byte
	err := filepath.WalkDir(w.journal, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}
