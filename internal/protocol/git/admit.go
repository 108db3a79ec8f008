package git

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"sigs.k8s.io/yaml"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/guard"
)

// servePush has every ref's update admitted, and then sends the push; or refuses all of it.
func (x *exchange) servePush(w http.ResponseWriter) {
	p := x.push
	t := &teller{w: w, x: x, on: p.can(sideBand)}
	x.admit(t)
	t.stop()
	for _, u := range p.updates {
		if u.refused != nil {
			x.refusePush(w, t)
			return
		}
	}
	if u, why := x.aliases(p); why != nil {
		x.end(u.permit, access.Outcome{ExitCode: -1, Code: status(why), Message: why.Message})
		u.refused = why
		x.refusePush(w, t)
		return
	}
	x.forwardPush(w, t)
}

// admit asks the gate for all updates at once: what people are to answer, they are asked for together.
func (x *exchange) admit(t *teller) {
	p := x.push
	ctx, cancel := context.WithCancelCause(x.r.Context())
	m := newMuster(len(p.updates), cancel)
	var all sync.WaitGroup
	for i, u := range p.updates {
		all.Go(func() {
			err := guard.Call(func() (err error) {
				u.permit, err = x.h.o.Gate.Admit(ctx, x.gateRequest(i, u, m, t))
				return err
			})
			if err != nil {
				u.refused = asRefusal(err, access.CodeInternal)
				m.fail(u)
			}
		})
	}
	all.Wait()
	// The permits' contexts end with ctx: it lasts as long as they do.
	context.AfterFunc(x.r.Context(), func() { cancel(nil) })
}

func (x *exchange) gateRequest(i int, u *update, m *muster, t *teller) gate.Request {
	p := x.push
	r := gate.Request{Operation: u.op, Change: true, Budget: x.h.o.Hold.Other, Held: func(a access.Approval, _ context.CancelCauseFunc) { t.waits(u.ref, a) },
		Complete: func(ctx context.Context, fields []string) error { return x.complete(ctx, p, u, fields) },
		Card:     func(ctx context.Context) (access.Card, error) { return x.pushCard(ctx, p, u) }}
	arrived := map[gate.Stage]bool{}
	r.Together = func(ctx context.Context, s gate.Stage) error {
		if s == gate.Answered { // for the record, where nothing has asked for it before
			if late := u.op.Late(); len(late) > 0 {
				if err := x.complete(ctx, p, u, late); err != nil {
					return err
				}
			}
		}
		first := !arrived[s]
		arrived[s] = true
		return m.arrive(ctx, s, first)
	}
	if p.can(sideBand) && p.reports() {
		r.Budget = x.h.o.Hold.Push
	}
	if i == 0 { // the bytes are recorded once; the others name this operation (Git.Push)
		r.Payload = x.payload()
	}
	return r
}

// maxCardBytes is how long a card may become by what is not decided on it: a push has a card for each of its refs.
const maxCardBytes = 64 << 10

// pushCard is all that approvers decide on.
func (x *exchange) pushCard(ctx context.Context, p *push, u *update) (access.Card, error) {
	if late := u.op.Late(); len(late) > 0 {
		if err := x.complete(ctx, p, u, late); err != nil {
			return access.Card{}, err
		}
	}
	c := access.Card{Uninspectable: slices.Clone(u.op.Uninspectable)}
	if p.packAt >= 0 {
		c.Uninspectable = append(c.Uninspectable, access.Uninspectable{Field: "contents", Why: "the contents of files are not shown; the pack is in the recording"})
	}
	text, err := asYAML(u.op.Git)
	if len(p.updates) > 1 {
		text += "# in the same push; each is decided by itself, and all are let through or none:\n"
	}
	for i, o := range p.updates {
		if len(text) > maxCardBytes {
			why := fmt.Sprintf("of %d refs that the push updates the last %d are not listed here; each is an operation of its own", len(p.updates), len(p.updates)-i)
			c.Uninspectable = append(c.Uninspectable, access.Uninspectable{Field: "the push's other refs", Why: why})
			break
		}
		if o != u {
			text += "# " + oneLine(x.hidden(p.written(o))) + "\n"
		}
	}
	c.Object = text
	return c, err
}

func asYAML(v any) (string, error) {
	out, err := yaml.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("writing YAML: %w", err)
	}
	return string(out), nil
}

// muster lets operations pass a stage when all of them have come to it, and none as soon as one was refused.
type muster struct {
	want   int
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	have   [2]int
	open   [2]chan struct{}
	failed chan struct{}
	why    *access.Refusal
}

func newMuster(n int, cancel context.CancelCauseFunc) *muster {
	return &muster{want: n, cancel: cancel, open: [2]chan struct{}{make(chan struct{}), make(chan struct{})}, failed: make(chan struct{})}
}

func (m *muster) arrive(ctx context.Context, s gate.Stage, first bool) error {
	m.mu.Lock()
	if first {
		if m.have[s]++; m.have[s] == m.want {
			close(m.open[s])
		}
	}
	m.mu.Unlock()
	select {
	case <-m.failed:
		return m.refusal()
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-m.open[s]:
		return nil
	}
}

// fail refuses all others because of u. Who waits for a person's answer goes on waiting where that may still come in time.
func (m *muster) fail(u *update) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.why != nil {
		return
	}
	m.why = access.Refuse(u.refused.Code, nil, "the push was refused as a whole because of %s", u.ref)
	m.why.Advice = "Nothing of it has run. Push without " + u.ref + ", or have that let through."
	close(m.failed)
	if u.refused.Code != access.CodeApprovalPending {
		m.cancel(m.refusalLocked())
	}
}

func (m *muster) refusal() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refusalLocked()
}

// refusalLocked gives each its own: the gate adds to it.
func (m *muster) refusalLocked() error {
	own := *m.why
	return &own
}
