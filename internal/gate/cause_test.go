package gate

import (
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"gatebook/internal/access"
)

// asked keeps what attribution is told, and answers with the calls that are open then.
type asked struct {
	results []string
	open    []access.CallRef
}

func (a *asked) Attribute(op *access.Operation) *access.Cause {
	if op.Model != nil {
		return nil
	}
	return &access.Cause{Operation: op.ID, Rung: access.Matched, Calls: a.open}
}
func (a *asked) Asked(op *access.Operation)                     { a.results = append(a.results, op.Model.Results...) }
func (a *asked) Emitted(_ *access.Operation, _ access.ToolCall) {}

// A request to a model brings results when it arrives: whether policy then refuses it, whether it could be decoded, or how
// long a person thinks about it, the calls are over.
func TestResultsArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, ruling("no", access.Deny))
		a := &asked{}
		w.o.Attribution = a
		model := func(id string) Request {
			r := request(id)
			r.Operation.Kubernetes, r.Operation.Model = nil, &access.Model{API: "messages", Results: []string{id}}
			return r
		}
		if _, err := w.Admit(t.Context(), model("a")); err == nil {
			t.Fatal("admitted")
		}
		w.Reject(model("b").Operation, access.Refuse(access.CodeMalformed, nil, "no"))
		w.mu.Lock()
		w.policy = ruling("ask", access.Approve)
		w.mu.Unlock()
		ch := w.admit(t.Context(), model("c"))
		synctest.Wait()
		if len(a.results) != 3 {
			t.Errorf("told of %v", a.results)
		}
		w.answer(t, w.held(t).ID, ada, true)
		end(t, (<-ch).p)
	})
}

// What was known when an operation arrived stays its cause, though its client gave up on the call in the meantime; the
// same command in a new call joins the approval, and is of the new call.
func TestCauseOfAHeldOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, ruling("ask", access.Approve))
		a := &asked{open: []access.CallRef{{Call: "first", Turn: "t1"}}}
		w.o.Attribution = a
		r := request("a")
		ch := w.admit(t.Context(), r)
		synctest.Wait()
		id := w.held(t).ID
		a.open = []access.CallRef{{Call: "second", Turn: "t2"}}
		if why := w.refused(t, r.Operation, (<-ch).err, access.CodeApprovalPending); why.Approval != id {
			t.Fatalf("%+v", why)
		}
		again := request("a")
		ch = w.admit(t.Context(), again)
		synctest.Wait()
		w.answer(t, id, ada, true)
		got := <-ch
		if got.err != nil {
			t.Fatal(got.err)
		}
		end(t, got.p)
		rec := w.one(t, again.Operation).opening
		if rec.Approval == nil || rec.Approval.ID != id || rec.Operation.Cause.Calls[0].Call != "second" {
			t.Errorf("%+v", rec)
		}
	})
}

// Operations are counted by how well it is known what is behind them; calls of models have nothing behind them.
func TestAttributionIsCounted(t *testing.T) {
	w := open(t, ruling("yes", access.Allow))
	w.o.Attribution = &asked{open: []access.CallRef{{Call: "c"}}}
	p, err := w.Admit(t.Context(), request("a"))
	if err != nil {
		t.Fatal(err)
	}
	end(t, p)
	w.Reject(request("b").Operation, access.Refuse(access.CodeMalformed, nil, "no"))
	w.o.Attribution = flagging{&asked{}}
	w.Reject(request("c").Operation, access.Refuse(access.CodeMalformed, nil, "no"))
	m := request("d")
	m.Operation.Kubernetes, m.Operation.Model = nil, &access.Model{API: "messages"}
	w.Reject(m.Operation, access.Refuse(access.CodeMalformed, nil, "no"))
	for labels, want := range map[[2]string]float64{{"matched", "false"}: 2, {"unattributed", "true"}: 1} {
		if got := testutil.ToFloat64(w.o.Metrics.attributed.WithLabelValues(request("a").Operation.Target.Name, labels[0], labels[1])); got != want {
			t.Errorf("%v: counted %v, want %v", labels, got, want)
		}
	}
	if n := testutil.CollectAndCount(w.o.Metrics.attributed); n != 2 {
		t.Errorf("%d kinds are counted", n)
	}
}

// flagging finds that a claim contradicts what was seen.
type flagging struct{ *asked }

func (flagging) Attribute(op *access.Operation) *access.Cause {
	return &access.Cause{Operation: op.ID, Flags: []string{"its trace belongs to another session"}}
}
func (flagging) Asked(*access.Operation) {}
