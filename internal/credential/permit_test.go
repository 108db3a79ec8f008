package credential

import (
	"context"
	"errors"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"gatebook/internal/access"
	"gatebook/internal/archive"
	"gatebook/internal/gate"
	"gatebook/internal/journal"
	"gatebook/internal/ledger"
	"gatebook/internal/recording"
)

// always allows; nobody is asked and nobody is revoked.
type always struct{}

func (always) Decide(*access.Operation) (access.Decision, []string) {
	return access.Decision{Effect: access.Allow}, nil
}

var errAsked = errors.New("nobody is to be asked here")

func desk(as string) gate.Approvals {
	if as == asApproved {
		return asking{}
	}
	return always{}
}

// asking has everything approved; who is asked says yes.
type asking struct{}

func (asking) Decide(*access.Operation) (access.Decision, []string) {
	return access.Decision{Effect: access.Approve, Approval: &access.ApprovalTerms{Count: 1}}, nil
}

func (asking) Ask(context.Context, *access.Operation, access.Decision, func(context.Context) (access.Card, error)) (access.Approval, error) {
	return access.Approval{ID: "yes", State: access.ApprovalGranted}, nil
}
func (asking) Wait(context.Context, access.ApprovalID) (access.Approval, error) {
	return access.Approval{ID: "yes", State: access.ApprovalGranted}, nil
}
func (asking) Use(context.Context, access.ApprovalID, *access.Operation, access.Decision) error {
	return nil
}

func (always) Ask(context.Context, *access.Operation, access.Decision, func(context.Context) (access.Card, error)) (access.Approval, error) {
	return access.Approval{}, errAsked
}
func (always) Wait(context.Context, access.ApprovalID) (access.Approval, error) {
	return access.Approval{}, errAsked
}
func (always) Use(context.Context, access.ApprovalID, *access.Operation, access.Decision) error {
	return errAsked
}
func (always) Register(access.Principal, access.SessionID, func(error)) func() { return func() {} }
func (always) Check(access.Principal, access.SessionID) error                  { return nil }

// permit is one of a real gate: there is no other way to get one.
func permit(t *testing.T, by access.Principal) gate.Permit {
	t.Helper()
	return permitIn(t.Context(), t, by)
}

func permitIn(ctx context.Context, t *testing.T, by access.Principal) gate.Permit {
	t.Helper()
	return permitAs(ctx, t, by, asPrincipal)
}

// Whose rights a permit is for.
const (
	asPrincipal = "principal"
	asGateway   = "gateway"
	asApproved  = "approved"
)

func permitAs(ctx context.Context, t *testing.T, by access.Principal, as string) gate.Permit {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	j, err := journal.Open(t.TempDir(), journal.Options{})
	must(err)
	t.Cleanup(func() { j.Close() })
	key, _, err := note.GenerateKey(nil, "test")
	must(err)
	signer, err := note.NewSigner(key)
	must(err)
	l, err := ledger.Open(t.TempDir(), ledger.Options{Signer: signer})
	must(err)
	t.Cleanup(func() { l.Close() })
	a, err := archive.OpenFolder(t.TempDir())
	must(err)
	t.Cleanup(func() { a.Close() })
	id, err := age.GenerateX25519Identity()
	must(err)
	rec, err := recording.Open(recording.Options{Journal: j, Ledger: l, Archive: a, Dir: t.TempDir(), Recipients: []age.Recipient{id.Recipient()},
		Durability: recording.Crash, SealAge: -1})
	must(err)
	g, err := gate.New(gate.Options{Policy: func() gate.Policy {
		if as == asApproved {
			return asking{}
		}
		return always{}
	}, Approvals: desk(as), Revocations: always{}, Recorder: rec})
	must(err)
	now := time.Now()
	if as == asGateway {
		op := func() *access.Operation {
			return &access.Operation{ID: access.OperationID(access.NewID(now)), Session: access.SessionID(access.NewID(now)), Time: now, Principal: by}
		}
		p, err := g.LookupAsGateway(ctx, op(), op())
		must(err)
		return p
	}
	p, err := g.Admit(ctx, gate.Request{Operation: &access.Operation{ID: access.OperationID(access.NewID(now)), Session: access.SessionID(access.NewID(now)),
		Time: now, Principal: by, Target: access.Target{Name: "prod"}}})
	must(err)
	return p
}
