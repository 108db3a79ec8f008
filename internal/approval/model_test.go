package approval_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"gatebook/internal/access"
	"gatebook/internal/approval"
	"gatebook/internal/store"
)

// action is one thing that happens; what its numbers mean depends on kind.
type action struct {
	kind       string
	op         int // which request
	nth        int // which of the approvals asked so far
	who, scope int
	yes, glass bool
	dur        time.Duration
}

func (a action) String() string {
	return fmt.Sprintf("%s op%d nth%d who%d scope%d yes=%v glass=%v %v", a.kind, a.op, a.nth, a.who, a.scope, a.yes, a.glass, a.dur)
}

var actions = rapid.Custom(func(t *rapid.T) action {
	return action{
		kind: rapid.SampledFrom([]string{"ask", "ask", "answer", "answer", "answer", "use", "use", "use", "sleep", "restart", "hold", "leave", "sweep"}).Draw(t, "kind"),
		op:   rapid.IntRange(0, len(requests)-1).Draw(t, "op"), nth: rapid.IntRange(0, 5).Draw(t, "nth"),
		who: rapid.IntRange(0, len(people)-1).Draw(t, "who"), scope: rapid.IntRange(0, 2).Draw(t, "scope"),
		yes: rapid.IntRange(0, 4).Draw(t, "yes") > 0, glass: rapid.IntRange(0, 7).Draw(t, "glass") == 0,
		dur: rapid.SampledFrom([]time.Duration{1, 30 * time.Second, time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour}).Draw(t, "dur"),
	}
})

// request is one that agents send. Some differ in one part of what an answer is bound to, some in the session alone,
// and the last in the terms alone.
type request struct {
	digest, agent, target, policy, session string
	count                                  int
}

var requests = []request{
	{"d1", "a1", "t1", "p1", "s1", 1}, {"d1", "a1", "t1", "p1", "s2", 1}, {"d2", "a1", "t1", "p1", "s1", 1},
	{"d1", "a2", "t1", "p1", "s1", 1}, {"d1", "a1", "t2", "p1", "s1", 1}, {"d1", "a1", "t1", "p2", "s1", 1}, {"d1", "a1", "t1", "p1", "s1", 2},
}

// key is what an answer is good for.
func (r request) key() request { r.session = ""; return r }

// people who answer. The second and third are one person; the fourth is agent a1's owner; the last has no role.
var people = []access.Principal{
	person("ada"), person("bob"), {Issuer: "other", Subject: "9", Name: "robert", Aliases: []string{"BOB@example.com"}}, person("owner-a1"), person("mallory"),
}

func same(i, j int) bool { return i == j || i+j == 3 && i*j == 2 }

// modelled is an approval as the rules say it should be.
type modelled struct {
	request
	id                     access.ApprovalID
	state                  access.ApprovalState
	scope                  access.Scope
	expires, until, denied time.Time
	yes                    []int
	scopes                 []access.Scope
	hold                   time.Duration
	runs                   int
	glass                  bool
	held                   int
}

// world runs actions on a desk and on the model, and says where they differ.
type world struct {
	path  string
	store *store.Store
	desk  *approval.Desk
	all   []*modelled
	leave map[*modelled][]func()
}

const (
	expires, valid, longest = time.Hour, 10 * time.Minute, 45 * time.Minute
	denial                  = time.Minute
	hasRole, mayBreak       = 4, 1 // people before hasRole may approve; people from mayBreak on may break the glass
)

func (w *world) restart(ctx context.Context) (err error) {
	for m, leave := range w.leave {
		for _, l := range leave {
			l()
		}
		m.held = 0
	}
	clear(w.leave)
	synctest.Wait()
	if w.store != nil {
		err = w.store.Close()
	}
	if err != nil {
		return err
	}
	if w.store, err = store.Open(ctx, w.path, store.Options{}); err != nil {
		return err
	}
	w.desk = approval.New(approval.Options{Store: w.store,
		MayApprove:    func(p access.Principal, _ access.Approval) bool { return index(p) < hasRole },
		MayBreakGlass: func(p access.Principal, _ access.Approval) bool { return index(p) >= mayBreak },
	})
	return nil
}

func index(p access.Principal) int {
	return slices.IndexFunc(people, func(q access.Principal) bool { return p.Key() == q.Key() })
}

func (r request) make() (*access.Operation, access.Decision) {
	op := operation(r.digest)
	op.Session, op.Target.Name = access.SessionID(r.session), r.target
	op.Principal = access.Principal{Issuer: "k8s", Subject: r.agent, Name: "agent-" + r.agent, Aliases: []string{"owner-" + r.agent + "@example.com"}}
	dec := decision(func(t *access.ApprovalTerms) {
		*t = access.ApprovalTerms{Count: r.count, Expires: expires, Valid: valid, MaxGrant: longest}
	})
	dec.Policy = sha256.Sum256([]byte(r.policy))
	return op, dec
}

// lapse moves the model to now.
func (w *world) lapse() {
	now := time.Now()
	for _, m := range w.all {
		if m.state == access.ApprovalPending && !now.Before(m.expires) || m.state == access.ApprovalGranted && !now.Before(m.until) {
			m.state = access.ApprovalExpired
		}
	}
}

func (w *world) do(ctx context.Context, a action) error {
	w.lapse()
	r := requests[a.op]
	var m *modelled
	if len(w.all) > 0 {
		m = w.all[max(0, len(w.all)-1-a.nth)]
	}
	switch {
	case a.kind == "ask":
		return w.ask(ctx, r)
	case a.kind == "sleep":
		time.Sleep(a.dur)
	case a.kind == "restart":
		return w.restart(ctx)
	case a.kind == "sweep":
		return w.desk.Sweep(ctx)
	case m == nil:
	case a.kind == "answer":
		return w.answer(ctx, m, a)
	case a.kind == "use":
		return w.use(ctx, m, r)
	case a.kind == "hold" && m.state == access.ApprovalPending:
		held, leave := context.WithCancel(ctx)
		go func() { _, _ = w.desk.Wait(held, m.id) }()
		w.leave[m] = append(w.leave[m], leave)
		m.held++
	case a.kind == "leave" && m.held > 0:
		w.leave[m][0]()
		w.leave[m] = w.leave[m][1:]
		m.held--
	}
	return nil
}

func (w *world) ask(ctx context.Context, r request) error {
	op, dec := r.make()
	got, err := w.desk.Ask(ctx, op, dec, nil)
	if err != nil {
		return err
	}
	var granted, pending, denied *modelled
	for _, m := range w.all {
		if m.key() == r.key() {
			switch {
			case m.state == access.ApprovalGranted && (m.scope != access.ScopeSession || m.session == r.session):
				granted = m
			case m.state == access.ApprovalPending:
				pending = m
			}
		}
		sameBinding := m.key()
		sameBinding.count = r.count
		if sameBinding == r.key() && m.state == access.ApprovalDenied {
			denied = nil
			if m.count == r.count && time.Since(m.denied) < denial {
				denied = m
			}
		}
	}
	for _, m := range []*modelled{granted, pending, denied} {
		if m != nil {
			if got.ID != m.id || got.State != m.state {
				return fmt.Errorf("ask: got %v (%v), want %v (%v)", got.ID, got.State, m.id, m.state)
			}
			return nil
		}
	}
	if got.State != access.ApprovalPending || slices.ContainsFunc(w.all, func(m *modelled) bool { return m.id == got.ID }) {
		return fmt.Errorf("ask: got %v (%v), want a new question", got.ID, got.State)
	}
	w.all = append(w.all, &modelled{request: r, id: got.ID, state: access.ApprovalPending, expires: time.Now().Add(expires)})
	return nil
}

func (w *world) answer(ctx context.Context, m *modelled, a action) error {
	scope := []access.Scope{access.ScopeOnce, access.ScopeSession, access.ScopeTime}[a.scope]
	_, err := w.desk.Answer(ctx, m.id, access.Answer{Approver: people[a.who], Yes: a.yes, Reason: "because", Scope: scope, For: a.dur, BreakGlass: a.glass})
	legal := m.state == access.ApprovalPending && !(a.who == 3 && m.agent == "a1") &&
		!slices.ContainsFunc(m.yes, func(i int) bool { return same(i, a.who) })
	if a.glass {
		legal = legal && a.who >= mayBreak && a.yes && scope == access.ScopeOnce
	} else {
		legal = legal && a.who < hasRole && !(a.yes && scope == access.ScopeTime && a.dur > longest)
	}
	if legal != (err == nil) {
		return fmt.Errorf("answer: got error %v, want legal=%v (model %+v)", err, legal, m)
	}
	switch {
	case err != nil:
		return nil
	case !a.yes:
		m.state, m.denied = access.ApprovalDenied, time.Now()
		return nil
	}
	m.yes, m.scopes, m.glass = append(m.yes, a.who), append(m.scopes, scope), m.glass || a.glass
	if m.hold == 0 {
		m.hold = longest
	}
	if scope == access.ScopeTime {
		m.hold = min(m.hold, a.dur)
	}
	if len(m.yes) < m.count && !a.glass {
		return nil
	}
	m.state, m.scope = access.ApprovalGranted, m.scopes[0]
	if len(slices.Compact(slices.Sorted(slices.Values(m.scopes)))) > 1 {
		m.scope = access.ScopeOnce
	}
	if m.scope == access.ScopeOnce {
		m.hold = valid
	}
	m.until = time.Now().Add(m.hold)
	return nil
}

func (w *world) use(ctx context.Context, m *modelled, r request) error {
	op, dec := r.make()
	err := w.desk.Use(ctx, m.id, op, dec)
	legal := m.state == access.ApprovalGranted && m.key() == r.key() && (m.scope != access.ScopeSession || m.session == r.session)
	if legal != (err == nil) {
		return fmt.Errorf("use: got error %v, want legal=%v (model %+v)", err, legal, m)
	}
	if err != nil {
		return nil
	}
	// The invariants, said once more apart from the model's moves.
	m.runs++
	switch {
	case m.scope == access.ScopeOnce && m.runs > 1:
		return errors.New("ran twice")
	case len(m.yes) < m.count && !m.glass:
		return errors.New("ran on too few answers")
	case !time.Now().Before(m.until):
		return errors.New("ran after its time")
	}
	if m.scope == access.ScopeOnce {
		m.state = access.ApprovalUsed
	}
	return nil
}

// check compares what the desk shows with the model.
func (w *world) check(ctx context.Context) error {
	synctest.Wait()
	w.lapse()
	for _, m := range w.all {
		got, err := w.desk.Get(ctx, m.id)
		if err != nil {
			return err
		}
		if m.state != access.ApprovalPending {
			m.held = 0 // they were told
			for _, l := range w.leave[m] {
				l()
			}
			delete(w.leave, m)
		}
		answers := len(m.yes)
		if m.state == access.ApprovalDenied {
			answers++
		}
		if got.State != m.state || len(got.Answers) != answers || got.Waiting != (m.held > 0) {
			return fmt.Errorf("shown: %v, %d answers, waiting %v; model %+v", got.State, len(got.Answers), got.Waiting, m)
		}
		uses, err := w.store.ApprovalUses(ctx, m.id)
		if err != nil || len(uses) != m.runs {
			return fmt.Errorf("%d uses on record (%v), %d ran", len(uses), err, m.runs)
		}
	}
	return nil
}

// TestModel (I81, I82, I83, I101, I104, I105): whatever order things happen in, and wherever the gateway restarts, the
// desk does what a much simpler model says.
func TestModel(t *testing.T) {
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		path := fmt.Sprintf("%s/%d.db", dir, n)
		todo := rapid.SliceOfN(actions, 1, 40).Draw(rt, "actions")
		var err error
		synctest.Test(t, func(t *testing.T) { err = play(t.Context(), path, todo) })
		if rmErr := os.Remove(path); rmErr != nil {
			rt.Error(rmErr)
		}
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func play(ctx context.Context, path string, todo []action) (err error) {
	w := &world{path: path, leave: map[*modelled][]func(){}}
	if err := w.restart(ctx); err != nil {
		return err
	}
	defer func() {
		if rerr := w.restart(ctx); rerr == nil { // lets go of who is held
			err = errors.Join(err, w.store.Close())
		}
	}()
	for i, a := range todo {
		if err := w.do(ctx, a); err != nil {
			return fmt.Errorf("action %d, %v: %w", i, a, err)
		}
		if err := w.check(ctx); err != nil {
			return fmt.Errorf("after action %d, %v: %w", i, a, err)
		}
	}
	return nil
}
