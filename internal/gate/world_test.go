package gate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"gatebook/internal/access"
	"gatebook/internal/approval"
	"gatebook/internal/archive"
	"gatebook/internal/identity"
	"gatebook/internal/journal"
	"gatebook/internal/ledger"
	"gatebook/internal/recording"
	"gatebook/internal/store"
)

const session = access.SessionID("0123456789abcdefghjkmnpqrs")

var (
	agent = access.Principal{Issuer: "cluster", Subject: "sa:claude", Name: "sa:claude", TokenID: "t1"}
	ada   = access.Principal{Issuer: "idp", Subject: "ada", Name: "ada"}
	bob   = access.Principal{Issuer: "idp", Subject: "bob", Name: "bob"}
)

// rules are a policy for tests: what they decide is a function of the operation.
type rules func(op *access.Operation) (access.Decision, []string)

func (r rules) Decide(op *access.Operation) (access.Decision, []string) { return r(op) }

// ruling is a policy of one answer.
func ruling(name string, e access.Effect) rules {
	d := access.Decision{Effect: e, Reason: "policy " + name, Advice: "as " + name + " says", Policy: sha256.Sum256([]byte(name))}
	if e == access.Approve {
		d.Approval = &access.ApprovalTerms{Count: 1, Expires: time.Hour, Valid: 10 * time.Minute, MaxGrant: time.Hour}
	}
	return func(*access.Operation) (access.Decision, []string) { return d, nil }
}

// world is a gate before the real recorder, desk, index and revocations. Only policy and upstream are the test's.
type world struct {
	*Gate
	rec         *recording.Recorder
	journal     *journal.Journal
	desk        *approval.Desk
	revocations *identity.Revocations
	close       func() error

	mu     sync.Mutex
	policy rules
	fail   error // of the journal's next write
}

func newWorld(dir string, policy rules) (_ *world, err error) {
	w := &world{policy: policy, revocations: identity.NewRevocations(nil)}
	var closers []func() error
	w.close = func() error {
		var errs []error
		for _, c := range slices.Backward(closers) {
			errs = append(errs, c())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	for _, d := range []string{"archive", "ledger", "journal"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	w.journal, err = journal.Open(filepath.Join(dir, "journal"), journal.Options{Fail: w.failpoint})
	if err != nil {
		return nil, err
	}
	closers = append(closers, w.journal.Close)
	key, _, err := note.GenerateKey(nil, "test")
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(key)
	if err != nil {
		return nil, err
	}
	l, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Options{Signer: signer})
	if err != nil {
		return nil, err
	}
	closers = append(closers, l.Close)
	a, err := archive.OpenFolder(filepath.Join(dir, "archive"))
	if err != nil {
		return nil, err
	}
	closers = append(closers, a.Close)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	w.rec, err = recording.Open(recording.Options{Journal: w.journal, Ledger: l, Archive: a, Dir: filepath.Join(dir, "sealing"),
		Recipients: []age.Recipient{id.Recipient()}, Durability: recording.Crash, SealAge: -1})
	if err != nil {
		return nil, err
	}
	s, err := store.Open(context.Background(), filepath.Join(dir, "index.db"), store.Options{})
	if err != nil {
		return nil, err
	}
	closers = append(closers, s.Close)
	w.desk = approval.New(approval.Options{Store: s, MayApprove: func(access.Principal, access.Approval) bool { return true }})
	w.Gate, err = New(Options{Policy: func() Policy { return w.inForce() }, Approvals: w.desk, Revocations: w.revocations, Recorder: w.rec})
	return w, err
}

// open is newWorld for a test.
func open(t *testing.T, policy rules) *world {
	t.Helper()
	w, err := newWorld(t.TempDir(), policy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(); err != nil && !errors.Is(err, errDisk) {
			t.Error(err)
		}
	})
	return w
}

var errDisk = errors.New("input/output error")

func (w *world) failpoint(point string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if point == journal.FailWrite {
		return w.fail
	}
	return nil
}

func (w *world) inForce() rules {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.policy
}

func (w *world) enact(p rules) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.policy = p
}

// operation is a request that agents send; equal names are equal requests.
func operation(name string) *access.Operation {
	return &access.Operation{ID: access.OperationID(access.NewID(time.Now())), Session: session, Time: time.Now(), Principal: agent,
		Target: access.Target{Name: "prod", Protocol: "kubernetes"}, Verb: "delete", Command: "kubectl delete namespace " + name,
		Digest: sha256.Sum256([]byte(name))}
}

func request(name string) Request {
	return Request{Operation: operation(name), Change: true, Budget: 5 * time.Minute}
}

// recorded is what the journal has of each operation.
type recorded struct {
	opening recording.Opening
	payload string
	ends    int
}

func (w *world) recorded() (map[access.OperationID]*recorded, error) {
	var b bytes.Buffer
	if err := w.rec.Frames(context.Background(), &b, "", false); err != nil {
		return nil, err
	}
	out := map[access.OperationID]*recorded{}
	return out, recording.ReadFrames(&b, func(e recording.Event) error {
		switch e.Kind {
		case recording.KindBegin:
			if out[e.Operation] != nil {
				return fmt.Errorf("operation %s begins twice", e.Operation)
			}
			out[e.Operation] = &recorded{}
			return json.Unmarshal(e.Data, &out[e.Operation].opening)
		case recording.KindPayload:
			out[e.Operation].payload += string(e.Data)
		case recording.KindEnd:
			out[e.Operation].ends++
		}
		return nil
	})
}

// one gives what the journal has of op.
func (w *world) one(t *testing.T, op *access.Operation) *recorded {
	t.Helper()
	all, err := w.recorded()
	if err != nil {
		t.Fatal(err)
	}
	if all[op.ID] == nil {
		t.Fatalf("the journal has no operation %s", op.ID)
	}
	return all[op.ID]
}

// refused wants a refusal with code, on record.
func (w *world) refused(t *testing.T, op *access.Operation, err error, code access.Code) *access.Refusal {
	t.Helper()
	var why *access.Refusal
	if !errors.As(err, &why) || why.Code != code {
		t.Fatalf("got %v, want a refusal %s", err, code)
	}
	r := w.one(t, op)
	if r.opening.Refused == nil || r.opening.Refused.Code != code || r.ends != 1 {
		t.Errorf("recorded as %+v, %d ends", r.opening.Refused, r.ends)
	}
	if why.Operation != op.ID || why.Session != op.Session {
		t.Errorf("the refusal is about operation %s of session %s", why.Operation, why.Session)
	}
	return why
}

// held gives the one question that is open.
func (w *world) held(t *testing.T) access.Approval {
	t.Helper()
	as, err := w.desk.List(t.Context(), access.ApprovalFilter{States: []access.ApprovalState{access.ApprovalPending}})
	if err != nil || len(as) != 1 {
		t.Fatalf("%d questions are open (%v)", len(as), err)
	}
	return as[0]
}

func (w *world) answer(t *testing.T, id access.ApprovalID, by access.Principal, yes bool) {
	t.Helper()
	if _, err := w.desk.Answer(t.Context(), id, access.Answer{Approver: by, Yes: yes, Reason: "since"}); err != nil {
		t.Fatal(err)
	}
}

type result struct {
	p   Permit
	err error
}

func (w *world) admit(ctx context.Context, r Request) <-chan result {
	ch := make(chan result, 1)
	go func() { p, err := w.Admit(ctx, r); ch <- result{p, err} }()
	return ch
}

func end(t *testing.T, p Permit) {
	t.Helper()
	if err := p.End(access.Outcome{Code: 200, ExitCode: -1}); err != nil {
		t.Error(err)
	}
}
