package gate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"gatebook/internal/access"
	"gatebook/internal/recording"
)

func TestZeroPermitIsInvalid(t *testing.T) {
	if (Permit{}).Valid() {
		t.Error("the zero permit is valid")
	}
}

// A permit means that the journal has the operation, its decision and its whole request.
func TestAllowed(t *testing.T) {
	w := open(t, ruling("reads", access.Allow))
	r := request("a")
	r.Payload = strings.NewReader("body")
	p, err := w.Admit(t.Context(), r)
	if err != nil || !p.Valid() || p.Operation() != r.Operation || p.Decision().Reason != "policy reads" {
		t.Fatalf("%v %v", p, err)
	}
	got := w.one(t, r.Operation)
	if got.payload != "body" || got.ends != 0 || got.opening.Decision.Policy != p.Decision().Policy || !got.opening.Change {
		t.Errorf("recorded %+v", got)
	}
	end(t, p)
	end(t, p) // does nothing
	if p.Valid() || w.one(t, r.Operation).ends != 1 || w.revocations.Live() != 0 {
		t.Error("an ended permit is still good")
	}
	if err := p.Record(recording.Body, recording.ToClient, []byte("x")); err == nil {
		t.Error("bytes were recorded after the end")
	}
}

func TestDenied(t *testing.T) {
	w := open(t, ruling("none", access.Deny))
	r := request("a")
	_, err := w.Admit(t.Context(), r)
	why := w.refused(t, r.Operation, err, access.CodeDenied)
	if why.Message != "policy none" || why.Advice != "as none says" || w.revocations.Live() != 0 {
		t.Errorf("%+v, %d live", why, w.revocations.Live())
	}
}

func TestDraining(t *testing.T) {
	w := open(t, ruling("reads", access.Allow))
	before, err := w.Admit(t.Context(), request("a"))
	if err != nil {
		t.Fatal(err)
	}
	w.Drain()
	r := request("b")
	_, err = w.Admit(t.Context(), r)
	w.refused(t, r.Operation, err, access.CodeDraining)
	if !before.Valid() {
		t.Error("a permit that was given before is not good any more")
	}
	end(t, before)
}

// A journal that cannot take an operation refuses it, and so does a request that cannot be recorded whole.
func TestNotRecordedDoesNotRun(t *testing.T) {
	t.Run("payload", func(t *testing.T) {
		w := open(t, ruling("reads", access.Allow))
		r := request("a")
		r.Payload = iotest.ErrReader(errDisk)
		if p, err := w.Admit(t.Context(), r); err == nil || p.Valid() {
			t.Error("it runs without its request on record")
		}
	})
	t.Run("journal", func(t *testing.T) {
		w := open(t, ruling("reads", access.Allow))
		w.mu.Lock()
		w.fail = errDisk
		w.mu.Unlock()
		for range 2 { // the first failure is final
			p, err := w.Admit(t.Context(), request("a"))
			var why *access.Refusal
			if !errors.As(err, &why) || why.Code != access.CodeNotRecorded || p.Valid() || w.revocations.Live() != 0 {
				t.Errorf("%v %v", p, err)
			}
			w.mu.Lock()
			w.fail = nil
			w.mu.Unlock()
		}
	})
	t.Run("approved", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := open(t, ruling("one", access.Approve))
			ch := w.admit(t.Context(), request("a"))
			synctest.Wait()
			w.mu.Lock()
			w.fail = errDisk
			w.mu.Unlock()
			w.answer(t, w.held(t).ID, ada, true)
			if r := <-ch; r.err == nil || r.p.Valid() {
				t.Error("an approved operation runs without a record")
			}
		})
	})
}

// A field that cannot be fetched is unknown to policy, and the record says why.
func TestUnfetched(t *testing.T) {
	for name, complete := range map[string]func(context.Context, []string) error{
		"none":  nil,
		"fails": func(context.Context, []string) error { return errors.New("it is away") },
		"not":   func(context.Context, []string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, func(op *access.Operation) (access.Decision, []string) {
				if len(op.Uninspectable) > 0 {
					return ruling("x", access.Deny)(op)
				}
				d, _ := ruling("x", access.Allow)(op)
				return d, []string{"kubernetes.stored"}
			})
			r := request("a")
			r.Complete = complete
			_, err := w.Admit(t.Context(), r)
			w.refused(t, r.Operation, err, access.CodeDenied)
			if u := w.one(t, r.Operation).opening.Operation.Uninspectable; len(u) != 1 || u[0].Why == "" {
				t.Errorf("%v", u)
			}
		})
	}
}

func TestRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, ruling("one", access.Approve))
		r := request("a")
		ch := w.admit(t.Context(), r)
		synctest.Wait()
		id := w.held(t).ID
		w.revocations.Add(access.Revocation{ID: "1", Session: session})
		w.refused(t, r.Operation, (<-ch).err, access.CodeRevoked)
		w.answer(t, id, ada, true)
		r = request("a")
		_, err := w.Admit(t.Context(), r)
		w.refused(t, r.Operation, err, access.CodeRevoked)
		look := operation("look")
		_, err = w.Lookup(t.Context(), r.Operation, look)
		w.refused(t, look, err, access.CodeRevoked)
		w.revocations.Remove("1")

		p, err := w.Admit(t.Context(), request("a"))
		if err != nil {
			t.Fatal(err)
		}
		w.revocations.Add(access.Revocation{ID: "2", Subject: agent.Key()})
		<-p.Context().Done()
		var why *access.Refusal
		if !errors.As(context.Cause(p.Context()), &why) || why.Code != access.CodeRevoked || p.Valid() {
			t.Errorf("cut with %v", context.Cause(p.Context()))
		}
		end(t, p)
	})
}

// What is cut at once has one cause; each refusal is its own all the same.
func TestCutAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, ruling("one", access.Approve))
		ctx, cut := context.WithCancelCause(t.Context())
		a, b := request("a"), request("b")
		ch1, ch2 := w.admit(ctx, a), w.admit(ctx, b)
		synctest.Wait()
		shared := access.Refuse(access.CodeDraining, nil, "the gateway is shutting down")
		cut(shared)
		w.refused(t, a.Operation, (<-ch1).err, access.CodeDraining)
		if why := w.refused(t, b.Operation, (<-ch2).err, access.CodeDraining); why.Approval == "" {
			t.Error("it does not say which approval it was held for")
		}
		if shared.Operation != "" || shared.Approval != "" {
			t.Error("the shared cause was changed")
		}
	})
}

// A lookup is the principal's, recorded, and counted like anything else that runs.
func TestLookup(t *testing.T) {
	w := open(t, ruling("reads", access.Allow))
	reg := prometheus.NewRegistry()
	w.o.Metrics = NewMetrics(reg)
	r := request("a")
	p, err := w.Admit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	op := operation("look")
	op.Principal, op.Session, op.Target = ada, "another", access.Target{Name: "elsewhere"}
	look, err := w.Lookup(t.Context(), r.Operation, op)
	if err != nil || !look.Valid() {
		t.Fatal(err)
	}
	if n := testutil.ToFloat64(w.o.Metrics.Open); n != 2 {
		t.Errorf("%v operations are open, want 2", n)
	}
	end(t, look)
	end(t, p)
	if n := testutil.ToFloat64(w.o.Metrics.Open); n != 0 {
		t.Errorf("%v operations are open, want 0", n)
	}
	got := w.one(t, op).opening
	if got.Operation.Parent != r.Operation.ID || got.Operation.Principal.Key() != agent.Key() || got.Operation.Session != session || got.Operation.Target.Name != "prod" || len(got.Decision.Masks) != 2 {
		t.Errorf("recorded %+v", got)
	}
}

// What cannot be decoded is refused and on record.
func TestReject(t *testing.T) {
	w := open(t, ruling("reads", access.Allow))
	op := operation("?")
	why := access.Refuse(access.CodeMalformed, nil, "the path is ambiguous")
	w.Reject(op, why)
	w.refused(t, op, why, access.CodeMalformed)
}

// What is part of a permitted operation ends with it, and only what is the same principal's and session's is part of it.
func TestWithin(t *testing.T) {
	w := open(t, ruling("p", access.Allow))
	link, err := w.Admit(t.Context(), request("connection"))
	if err != nil {
		t.Fatal(err)
	}
	part, other := request("statement"), request("another's")
	part.Within, other.Within = link, link
	other.Operation.Session = "another"
	p, err1 := w.Admit(context.Background(), part)
	o, err2 := w.Admit(t.Context(), other)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if err := p.EndWith(recording.Body, recording.ToClient, []byte("a row"), access.Outcome{}); err != nil {
		t.Fatal(err)
	}
	if err := p.EndWith(recording.Body, recording.ToClient, []byte("a row"), access.Outcome{}); err == nil || p.Valid() || !link.Valid() {
		t.Errorf("after its end: %v, valid: %v, what it is part of: %v", err, p.Valid(), link.Valid())
	}
	again := request("statement")
	again.Within = link
	p, err = w.Admit(context.Background(), again)
	if err != nil {
		t.Fatal(err)
	}
	end(t, link)
	if p.Valid() || !o.Valid() {
		t.Errorf("what it was part of has ended: its part is valid: %v, the other's: %v", p.Valid(), o.Valid())
	}
	end(t, p)
	end(t, o)
}
