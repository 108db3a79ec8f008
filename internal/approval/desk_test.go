package approval_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
	"gatebook/internal/approval"
	"gatebook/internal/store"
)

var (
	agent = access.Principal{Issuer: "k8s", Subject: "sa:claude", Name: "system:serviceaccount:agents:claude",
		Aliases: []string{"owner@example.com"}, Workload: access.Workload{Namespace: "agents", ServiceAccount: "claude", Pod: "p"}}
	ada = person("ada")
	bob = person("bob")
)

func person(name string, groups ...string) access.Principal {
	return access.Principal{Issuer: "idp", Subject: "sub-" + name, Name: name + "@example.com", Groups: groups}
}

func operation(name string) *access.Operation {
	return &access.Operation{
		ID: access.OperationID(access.NewID(time.Now())), Session: "s1", Time: time.Now().UTC(), Principal: agent,
		Target: access.Target{Name: "prod", Protocol: "kubernetes"}, Verb: "delete", Command: "kubectl delete namespace " + name,
		Digest: sha256.Sum256([]byte(name)),
	}
}

func decision(change func(*access.ApprovalTerms)) access.Decision {
	t := &access.ApprovalTerms{Count: 1, Expires: time.Hour, Valid: 10 * time.Minute, MaxGrant: 8 * time.Hour}
	if change != nil {
		change(t)
	}
	return access.Decision{Effect: access.Approve, Risk: access.RiskHigh, Reason: "namespaces hold everything", Approval: t, Policy: sha256.Sum256([]byte("policy 1"))}
}

func yes(who access.Principal) access.Answer { return access.Answer{Approver: who, Yes: true} }

// desk is a desk over a real index, in a bubble of its own time.
type desk struct {
	*approval.Desk
	t      *testing.T
	store  *store.Store
	path   string
	o      approval.Options
	events []approval.Event
}

func open(t *testing.T, o approval.Options) *desk {
	t.Helper()
	d := &desk{t: t, path: filepath.Join(t.TempDir(), "index.db"), o: o}
	if d.o.MayApprove == nil {
		d.o.MayApprove = func(access.Principal, access.Approval) bool { return true }
	}
	d.o.Notify = func(e approval.Event) { d.events = append(d.events, e) }
	d.restart()
	t.Cleanup(func() {
		if err := d.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *desk) restart() {
	d.t.Helper()
	if d.store != nil {
		if err := d.store.Close(); err != nil {
			d.t.Fatal(err)
		}
	}
	var err error
	if d.store, err = store.Open(context.Background(), d.path, store.Options{}); err != nil {
		d.t.Fatal(err)
	}
	o := d.o
	o.Store = d.store
	d.Desk = approval.New(o)
}

func (d *desk) ask(op *access.Operation, dec access.Decision) access.Approval {
	d.t.Helper()
	a, err := d.Ask(context.Background(), op, dec, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	return a
}

func (d *desk) answer(id access.ApprovalID, ans access.Answer) access.Approval {
	d.t.Helper()
	a, err := d.Answer(context.Background(), id, ans)
	if err != nil {
		d.t.Fatal(err)
	}
	return a
}

func (d *desk) use(id access.ApprovalID, op *access.Operation, dec access.Decision) error {
	return d.Use(context.Background(), id, op, dec)
}

func (d *desk) kinds() []approval.Kind {
	var out []approval.Kind
	for _, e := range d.events {
		out = append(out, e.Kind)
	}
	return out
}

// again is the same request, sent again.
func again(op *access.Operation) *access.Operation {
	o := *op
	o.ID = access.OperationID(access.NewID(time.Now()))
	return &o
}

func want(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func TestOnceRunsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, approval.Options{})
		op, dec := operation("a"), decision(nil)
		cards := 0
		card := func(context.Context) (access.Card, error) {
			cards++
			return access.Card{Object: "kind: Namespace"}, nil
		}
		a, err := d.Ask(t.Context(), op, dec, card)
		if err != nil || a.State != access.ApprovalPending {
			t.Fatal(a.State, err)
		}
		want(t, "use before the answer", d.use(a.ID, op, dec), approval.ErrPending)
		if b, err := d.Ask(t.Context(), again(op), dec, card); err != nil || b.ID != a.ID || cards != 1 || b.Card.Object == "" {
			t.Errorf("the same request does not join: %v %v, %d cards", b.ID, err, cards)
		}
		granted := d.answer(a.ID, yes(ada))
		if got, want := granted.ValidUntil, time.Now().UTC().Add(10*time.Minute); !got.Equal(want) {
			t.Errorf("valid until %v, want %v", got, want)
		}
		d.restart()
		if b := d.ask(again(op), dec); b.ID != a.ID || b.State != access.ApprovalGranted {
			t.Errorf("the same request does not find its yes: %v %v", b.ID, b.State)
		}
		run := again(op)
		if err := d.use(a.ID, run, dec); err != nil {
			t.Fatal(err)
		}
		want(t, "second use", d.use(a.ID, again(op), dec), approval.ErrUsed)
		want(t, "second use by the same operation", d.use(a.ID, run, dec), approval.ErrUsed)
		d.restart()
		want(t, "second use after a restart", d.use(a.ID, again(op), dec), approval.ErrUsed)
		want(t, "answer after use", second(d.Answer(t.Context(), a.ID, yes(bob))), approval.ErrAnswered)
		got, err := d.Get(t.Context(), a.ID)
		if err != nil || got.State != access.ApprovalUsed || got.UsedBy != run.ID {
			t.Errorf("got %v used by %v (%v), want it used by %v", got.State, got.UsedBy, err, run.ID)
		}
		if diff := cmp.Diff([]approval.Kind{approval.Asked, approval.Answered, approval.Used}, d.kinds()); diff != "" {
			t.Error(diff)
		}
		if b := d.ask(again(op), dec); b.ID == a.ID || b.State != access.ApprovalPending {
			t.Error("after its use, the same request must ask anew")
		}
	})
}

func second[T any](_ T, err error) error { return err }

// I82, I102, I105: whatever differs needs an answer of its own.
func TestUseIsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, approval.Options{})
		op, dec := operation("a"), decision(nil)
		id := d.ask(op, dec).ID
		d.answer(id, yes(ada))
		for name, change := range map[string]func(*access.Operation, *access.Decision){
			"digest":    func(o *access.Operation, _ *access.Decision) { o.Digest[31] ^= 1 },
			"principal": func(o *access.Operation, _ *access.Decision) { o.Principal.Subject = "sa:other" },
			"issuer":    func(o *access.Operation, _ *access.Decision) { o.Principal.Issuer = "other" },
			"target":    func(o *access.Operation, _ *access.Decision) { o.Target.Name = "staging" },
			"policy":    func(_ *access.Operation, d *access.Decision) { d.Policy[0] ^= 1 },
			"no id":     func(o *access.Operation, _ *access.Decision) { o.ID = "" },
		} {
			o, e := again(op), dec
			change(o, &e)
			want(t, name, d.use(id, o, e), approval.ErrBinding)
			var r *access.Refusal
			if !errors.As(d.use(id, o, e), &r) || r.Approval != id {
				t.Errorf("%s: not a refusal that names the approval", name)
			}
			if name != "no id" && d.ask(o, e).ID == id {
				t.Errorf("%s: joined", name)
			}
		}
		want(t, "decision no longer asks", d.use(id, op, access.Decision{Policy: dec.Policy}), approval.ErrTerms)
		stricter := decision(func(a *access.ApprovalTerms) { a.Count = 2 })
		want(t, "stricter terms", d.use(id, op, stricter), approval.ErrTerms)
		if d.ask(op, stricter).ID == id {
			t.Error("stricter terms joined the laxer yes")
		}
		if err := d.use(id, op, dec); err != nil {
			t.Error(err)
		}
	})
}

// I81, I104: who may not answer.
func TestWhoAnswers(t *testing.T) {
	both := func(p access.Principal, _ access.Approval) bool { return p.Name != "nobody@example.com" }
	for name, c := range map[string]struct {
		terms func(*access.ApprovalTerms)
		ans   access.Answer
		want  error
	}{
		"approver":                  {ans: yes(ada)},
		"without the role":          {ans: yes(person("nobody")), want: approval.ErrNotAllowed},
		"anonymous":                 {ans: yes(access.Principal{Name: "ada@example.com"}), want: approval.ErrNotAllowed},
		"a workload":                {ans: yes(access.Principal{Issuer: "k8s", Subject: "x", Name: "x", Workload: access.Workload{Pod: "y"}}), want: approval.ErrNotAllowed},
		"requester":                 {ans: yes(agent), want: approval.ErrRequester},
		"requester by alias":        {ans: yes(person("OWNER")), want: approval.ErrRequester},
		"requester by own alias":    {ans: yes(access.Principal{Issuer: "idp", Subject: "1", Name: "n", Aliases: []string{" SYSTEM:serviceaccount:agents:claude "}}), want: approval.ErrRequester},
		"requester denies":          {ans: access.Answer{Approver: person("owner")}, want: approval.ErrRequester},
		"requester breaks glass":    {ans: access.Answer{Approver: person("owner"), Yes: true, BreakGlass: true, Reason: "fire"}, want: approval.ErrRequester},
		"in group":                  {terms: groups("sre"), ans: yes(person("cy", "dev", "sre"))},
		"not in group, with role":   {terms: groups("sre"), ans: yes(ada), want: approval.ErrNotAllowed},
		"named":                     {terms: users("ada@example.com"), ans: yes(ada)},
		"named by key":              {terms: users("idp|sub-ada"), ans: yes(ada)},
		"named by alias only":       {terms: users("ada"), ans: yes(access.Principal{Issuer: "idp", Subject: "1", Name: "n", Aliases: []string{"ada"}}), want: approval.ErrNotAllowed},
		"breaks glass":              {terms: groups("sre"), ans: access.Answer{Approver: bob, Yes: true, BreakGlass: true, Reason: "fire"}},
		"breaks glass, no reason":   {ans: access.Answer{Approver: bob, Yes: true, BreakGlass: true, Reason: " \n"}, want: approval.ErrInvalid},
		"breaks glass for long":     {ans: access.Answer{Approver: bob, Yes: true, BreakGlass: true, Reason: "fire", Scope: access.ScopeSession}, want: approval.ErrInvalid},
		"breaks glass, unpermitted": {ans: access.Answer{Approver: ada, Yes: true, BreakGlass: true, Reason: "fire"}, want: approval.ErrNotAllowed},
		"longer than policy lets":   {ans: access.Answer{Approver: ada, Yes: true, Scope: access.ScopeTime, For: 9 * time.Hour}, want: approval.ErrInvalid},
		"for no time":               {ans: access.Answer{Approver: ada, Yes: true, Scope: access.ScopeTime}, want: approval.ErrInvalid},
		"of an unknown scope":       {ans: access.Answer{Approver: ada, Yes: true, Scope: "forever"}, want: approval.ErrInvalid},
		"session, once only":        {terms: func(a *access.ApprovalTerms) { a.MaxGrant = 0 }, ans: access.Answer{Approver: ada, Yes: true, Scope: access.ScopeSession}, want: approval.ErrInvalid},
		"time, once only":           {terms: func(a *access.ApprovalTerms) { a.MaxGrant = 0 }, ans: access.Answer{Approver: ada, Yes: true, Scope: access.ScopeTime, For: 1}, want: approval.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, approval.Options{MayApprove: both, MayBreakGlass: func(p access.Principal, _ access.Approval) bool {
				return p.Name == bob.Name || p.Name == "owner@example.com"
			}})
			op, dec := operation("a"), decision(c.terms)
			id := d.ask(op, dec).ID
			a, err := d.Answer(t.Context(), id, c.ans)
			if c.want != nil {
				want(t, "answer", err, c.want)
				if now, err := d.Get(t.Context(), id); err != nil || now.State != access.ApprovalPending || len(now.Answers) != 0 {
					t.Errorf("it left %v with %d answers (%v)", now.State, len(now.Answers), err)
				}
				return
			}
			if err != nil || a.State != access.ApprovalGranted {
				t.Fatal(a.State, err)
			}
			if got := slices.Contains(d.kinds(), approval.BreakGlass); got != c.ans.BreakGlass {
				t.Errorf("alert: %v", got)
			}
			if err := d.use(id, op, dec); err != nil {
				t.Error(err)
			}
		})
	}
}

func groups(g ...string) func(*access.ApprovalTerms) {
	return func(a *access.ApprovalTerms) { a.Groups = g }
}

func users(u ...string) func(*access.ApprovalTerms) {
	return func(a *access.ApprovalTerms) { a.Users = u }
}

func TestDistinctApprovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, approval.Options{})
		op, dec := operation("a"), decision(func(a *access.ApprovalTerms) { a.Count = 3 })
		id := d.ask(op, dec).ID
		d.answer(id, access.Answer{Approver: ada, Yes: true, Scope: access.ScopeTime, For: 2 * time.Hour})
		want(t, "again", second(d.Answer(t.Context(), id, yes(ada))), approval.ErrTwice)
		alias := access.Principal{Issuer: "github", Subject: "77", Name: "adalove", Aliases: []string{"Ada@Example.com"}}
		want(t, "by another name", second(d.Answer(t.Context(), id, yes(alias))), approval.ErrTwice)
		want(t, "use after one of three", d.use(id, op, dec), approval.ErrPending)
		d.restart()
		d.answer(id, access.Answer{Approver: bob, Yes: true, Scope: access.ScopeTime, For: time.Hour})
		want(t, "use after two of three", d.use(id, op, dec), approval.ErrPending)
		a := d.answer(id, access.Answer{Approver: person("cy"), Yes: true, Scope: access.ScopeTime, For: 3 * time.Hour})
		if a.State != access.ApprovalGranted || a.Scope != access.ScopeTime || !a.ValidUntil.Equal(time.Now().Add(time.Hour)) || len(a.Answers) != 3 {
			t.Errorf("got %v for %v until %v by %d", a.State, a.Scope, a.ValidUntil, len(a.Answers))
		}
		other := d.ask(operation("b"), dec).ID
		d.answer(other, access.Answer{Approver: ada, Yes: true, Scope: access.ScopeTime, For: time.Hour})
		d.answer(other, access.Answer{Approver: bob, Yes: true, Scope: access.ScopeSession})
		if a := d.answer(other, yes(person("cy"))); a.Scope != access.ScopeOnce || !a.ValidUntil.Equal(time.Now().Add(10*time.Minute)) {
			t.Errorf("answers that differ give %v until %v, want once", a.Scope, a.ValidUntil)
		}
		third := d.ask(operation("c"), dec).ID
		d.answer(third, yes(ada))
		if a := d.answer(third, access.Answer{Approver: bob, Reason: "no!"}); a.State != access.ApprovalDenied {
			t.Error("one no does not deny")
		}
	})
}

// Principals may gain names: a yes does not serve somebody who turns out to have given it.
func TestApproverTurnsOutToBeTheRequester(t *testing.T) {
	d := open(t, approval.Options{})
	op, dec := operation("a"), decision(nil)
	id := d.ask(op, dec).ID
	d.answer(id, yes(ada))
	op.Principal.Aliases = append(slices.Clone(op.Principal.Aliases), "ada@example.com")
	want(t, "use", d.use(id, op, dec), approval.ErrRequester)
}

func TestDenialStandsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, approval.Options{})
		op, dec := operation("a"), decision(nil)
		id := d.ask(op, dec).ID
		d.answer(id, access.Answer{Approver: ada, Reason: "use the staging cluster"})
		want(t, "use", d.use(id, op, dec), approval.ErrDenied)
		time.Sleep(time.Minute - 1)
		a := d.ask(again(op), dec)
		if a.ID != id || a.State != access.ApprovalDenied || a.Answers[0].Reason != "use the staging cluster" {
			t.Errorf("within a minute: %+v", a)
		}
		time.Sleep(time.Nanosecond)
		if b := d.ask(again(op), dec); b.ID == id || b.State != access.ApprovalPending {
			t.Errorf("after a minute: %v %v", b.ID == id, b.State)
		}
	})
}

func TestScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, approval.Options{})
		op, dec := operation("a"), decision(nil)
		id := d.ask(op, dec).ID
		d.answer(id, access.Answer{Approver: ada, Yes: true, Scope: access.ScopeSession})
		other := again(op)
		other.Session = "s2"
		want(t, "another session", d.use(id, other, dec), approval.ErrBinding)
		theirs := d.ask(other, dec)
		if theirs.ID == id || theirs.State != access.ApprovalPending {
			t.Error("another session joined a grant for this session")
		}
		for range 3 {
			if a := d.ask(again(op), dec); a.ID != id {
				t.Fatalf("this session's request joined %v (%v)", a.ID, a.State)
			}
			run := again(op)
			if err := d.use(id, run, dec); err != nil {
				t.Fatal(err)
			}
			want(t, "the same operation twice", d.use(id, run, dec), approval.ErrUsed)
			d.restart()
		}
		if uses, err := d.store.ApprovalUses(t.Context(), id); err != nil || len(uses) != 3 {
			t.Errorf("%d uses on record (%v), want 3", len(uses), err)
		}
		d.answer(theirs.ID, access.Answer{Approver: ada, Yes: true, Scope: access.ScopeTime, For: time.Hour})
		time.Sleep(time.Hour - 1)
		if err := d.use(theirs.ID, again(op), dec); err != nil {
			t.Error("a time grant is good in any session:", err)
		}
		time.Sleep(time.Nanosecond)
		want(t, "after its time", d.use(theirs.ID, again(other), dec), approval.ErrExpired)
		time.Sleep(8 * time.Hour)
		want(t, "session grant after the longest grant", d.use(id, again(op), dec), approval.ErrExpired)
	})
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, approval.Options{})
		op, dec := operation("a"), decision(nil)
		id := d.ask(op, dec).ID
		time.Sleep(time.Hour)
		want(t, "late answer", second(d.Answer(t.Context(), id, yes(ada))), approval.ErrExpired)
		want(t, "later answer", second(d.Answer(t.Context(), id, yes(ada))), approval.ErrExpired)
		want(t, "use", d.use(id, op, dec), approval.ErrExpired)
		next := d.ask(op, dec).ID
		if next == id {
			t.Fatal("joined an expired question")
		}
		d.answer(next, yes(ada))
		time.Sleep(10 * time.Minute)
		want(t, "late use", d.use(next, op, dec), approval.ErrExpired)
		unswept := d.ask(operation("b"), dec).ID
		time.Sleep(2 * time.Hour)
		if a, err := d.Get(t.Context(), unswept); err != nil || a.State != access.ApprovalExpired {
			t.Errorf("before the sweep: %v %v", a.State, err)
		}
		if err := d.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []approval.Kind{approval.Asked, approval.Expired, approval.Asked, approval.Answered, approval.Expired, approval.Asked, approval.Expired}
		if diff := cmp.Diff(want, d.kinds()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAskRefuses(t *testing.T) {
	d := open(t, approval.Options{MaxOpen: 2})
	for name, change := range map[string]func(*access.Operation, *access.Decision){
		"allowed":   func(_ *access.Operation, d *access.Decision) { d.Effect = access.Allow },
		"denied":    func(_ *access.Operation, d *access.Decision) { d.Effect = access.Deny },
		"no terms":  func(_ *access.Operation, d *access.Decision) { d.Approval = nil },
		"no digest": func(o *access.Operation, _ *access.Decision) { o.Digest = access.Digest{} },
		"nobody":    func(o *access.Operation, _ *access.Decision) { o.Principal = access.Principal{Name: "x"} },
		"no policy": func(_ *access.Operation, d *access.Decision) { d.Policy = access.Digest{} },
		"inexact":   func(o *access.Operation, _ *access.Decision) { o.Command = "kubectl exec p -- echo \xff" },
		"inexact exec": func(o *access.Operation, _ *access.Decision) {
			o.Kubernetes = &access.Kubernetes{Exec: &access.Exec{Command: []string{"a", "\xc0"}}}
		},
	} {
		op, dec := operation(name), decision(nil)
		change(op, &dec)
		var r *access.Refusal
		if a, err := d.Ask(t.Context(), op, dec, nil); !errors.As(err, &r) || a.ID != "" {
			t.Errorf("%s: asked %v (%v)", name, a.ID, err)
		}
	}
	bad := errors.New("no diff")
	if _, err := d.Ask(t.Context(), operation("x"), decision(nil), func(context.Context) (access.Card, error) { return access.Card{}, bad }); !errors.Is(err, bad) {
		t.Errorf("a card that fails: %v", err)
	}
	d.ask(operation("a"), decision(nil))
	d.ask(operation("b"), decision(nil))
	_, err := d.Ask(t.Context(), operation("c"), decision(nil), nil)
	want(t, "a third question", err, approval.ErrTooMany)
	d.ask(operation("b"), decision(nil)) // joins
	if as, err := d.List(t.Context(), access.ApprovalFilter{}); err != nil || len(as) != 2 || len(d.events) != 2 {
		t.Errorf("%d approvals, %d events (%v), want 2", len(as), len(d.events), err)
	}
}

// I86, I103: what agents say is kept exactly and whole.
func TestTextIsKept(t *testing.T) {
	d := open(t, approval.Options{})
	nasty := "\x1b[2J<script>alert(1)</script>\u202e\u0000\r\n" + string(make([]byte, 1<<20)) + "end"
	op := operation("a")
	op.Command, op.Client.Reason = nasty, nasty
	op.Kubernetes = &access.Kubernetes{Name: nasty, Object: map[string]any{"big": "object"}}
	a, err := d.Ask(t.Context(), op, decision(nil), func(context.Context) (access.Card, error) { return access.Card{Object: nasty, Diff: nasty}, nil })
	if err != nil {
		t.Fatal(err)
	}
	d.restart()
	got, err := d.Get(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, got); diff != "" {
		t.Error(diff)
	}
	for i, s := range []string{got.Operation.Command, got.Operation.Client.Reason, got.Operation.Kubernetes.Name, got.Card.Object, got.Card.Diff} {
		if s != nasty {
			t.Errorf("text %d is not what the agent said", i)
		}
	}
}
