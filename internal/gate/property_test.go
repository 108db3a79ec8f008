package gate

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"gatebook/internal/access"
)

// event is one thing that happens; what its number means depends on kind.
type event struct {
	kind string
	n    int
	yes  bool
}

var events = rapid.Custom(func(t *rapid.T) event {
	return event{
		kind: rapid.SampledFrom([]string{"send", "send", "send", "leave", "answer", "answer", "answer", "policy", "revoke", "pardon", "sleep"}).Draw(t, "kind"),
		n:    rapid.IntRange(0, 4).Draw(t, "n"), yes: rapid.IntRange(0, 4).Draw(t, "yes") > 0,
	}
})

// sent is a client with its request. It acts when it has a permit, as package credential would: at once, if that is
// valid.
type sent struct {
	op     *access.Operation
	leave  func()
	gone   bool
	done   bool
	ran    bool
	err    error
	permit access.Decision
}

// play is a world in which things happen, one after the other, and what it has seen.
type play struct {
	*world
	inForce string // the name of the policy
	revoked bool
	clients []*sent
	wrong   error
}

func policies() map[string]access.Effect {
	return map[string]access.Effect{"ask1": access.Approve, "ask2": access.Approve, "none": access.Deny, "all": access.Allow}
}

// Whatever happens in whatever order: nothing runs that is not on record, that the policy in force at that moment does
// not let run, that was revoked, or whose client has gone; an approval for once lets one thing run, the one it was
// given for; and what does not run is on record as refused.
func TestNothingRunsThatMayNot(t *testing.T) {
	dir, n, ran := t.TempDir(), 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		todo := rapid.SliceOfN(events, 1, 30).Draw(rt, "events")
		var err error
		synctest.Test(t, func(t *testing.T) {
			w, e := newWorld(filepath.Join(dir, fmt.Sprint(n)), ruling("ask1", access.Approve))
			if e != nil {
				t.Fatal(e)
			}
			p := &play{world: w, inForce: "ask1"}
			for _, x := range todo {
				p.happen(t.Context(), x)
				synctest.Wait()
			}
			err = errors.Join(p.finish(), p.close())
			for _, c := range p.clients {
				if c.ran {
					ran++
				}
			}
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
	if ran == 0 {
		t.Error("nothing ran at all")
	}
}

func (p *play) happen(ctx context.Context, x event) {
	names := []string{"ask1", "ask1", "ask2", "none", "all"}
	switch x.kind {
	case "send":
		p.send(ctx, string(rune('a'+x.n%3)))
	case "leave":
		if len(p.clients) > 0 {
			c := p.clients[len(p.clients)-1-x.n%len(p.clients)]
			c.gone = true
			c.leave()
		}
	case "answer":
		as, err := p.desk.List(ctx, access.ApprovalFilter{States: []access.ApprovalState{access.ApprovalPending}})
		as = slices.DeleteFunc(as, func(a access.Approval) bool { return a.State != access.ApprovalPending }) // has lapsed
		if err == nil && len(as) > 0 {
			_, err = p.desk.Answer(ctx, as[x.n%len(as)].ID, access.Answer{Approver: ada, Yes: x.yes})
		}
		p.wrong = errors.Join(p.wrong, err)
	case "policy":
		p.inForce = names[x.n]
		p.enact(ruling(p.inForce, policies()[p.inForce]))
	case "revoke":
		p.revoked = true
		p.revocations.Add(access.Revocation{ID: "r", Subject: agent.Key()})
	case "pardon":
		p.revoked = false
		p.revocations.Remove("r")
	case "sleep":
		time.Sleep([]time.Duration{time.Second, time.Minute, 4 * time.Minute, 11 * time.Minute, 2 * time.Hour}[x.n])
	}
}

func (p *play) send(ctx context.Context, name string) {
	ctx, leave := context.WithCancel(ctx)
	r := request(name)
	c := &sent{op: r.Operation, leave: leave}
	p.clients = append(p.clients, c)
	go func() {
		permit, err := p.Admit(ctx, r)
		if err == nil && permit.Valid() {
			c.ran, c.permit = true, permit.Decision()
			if wrong := p.mayRun(c); wrong != nil {
				p.mu.Lock()
				p.wrong = errors.Join(p.wrong, wrong)
				p.mu.Unlock()
			}
		}
		if err == nil {
			err = permit.End(access.Outcome{Code: 200})
		}
		c.err, c.done = err, true
	}()
}

// mayRun is asked in the moment in which c acts.
func (p *play) mayRun(c *sent) error {
	all, err := p.recorded()
	if err != nil {
		return err
	}
	want := ruling(p.inForce, policies()[p.inForce])
	d, _ := want(nil)
	switch r := all[c.op.ID]; {
	case r == nil || r.opening.Refused != nil || r.ends > 0:
		return fmt.Errorf("operation %s runs, and is recorded as %+v", c.op.ID, r)
	case c.gone:
		return fmt.Errorf("operation %s runs, and its client has gone", c.op.ID)
	case p.revoked:
		return fmt.Errorf("operation %s runs, and its principal is revoked", c.op.ID)
	case c.permit.Policy != d.Policy || d.Effect == access.Deny || r.opening.Decision.Policy != d.Policy:
		return fmt.Errorf("operation %s runs by another policy than %s", c.op.ID, p.inForce)
	case (d.Effect == access.Approve) != (r.opening.Approval != nil):
		return fmt.Errorf("operation %s: policy says %s, and its approval is %+v", c.op.ID, d.Effect, r.opening.Approval)
	}
	return nil
}

// finish lets everything come to its end, and checks what is left behind.
func (p *play) finish() error {
	for _, c := range p.clients {
		c.leave()
	}
	synctest.Wait()
	all, err := p.recorded()
	err = errors.Join(err, p.wrong)
	used := map[access.ApprovalID]access.OperationID{}
	for _, c := range p.clients {
		r := all[c.op.ID]
		if !c.done || r == nil || r.ends != 1 {
			err = errors.Join(err, fmt.Errorf("operation %s is left behind as %+v", c.op.ID, r))
			continue
		}
		if (r.opening.Refused == nil) != (c.err == nil) {
			err = errors.Join(err, fmt.Errorf("operation %s was told %v, and is recorded as %+v", c.op.ID, c.err, r.opening.Refused))
		}
		if a := r.opening.Approval; a != nil {
			if other, twice := used[a.ID]; twice || a.Operation.Digest != c.op.Digest {
				err = errors.Join(err, fmt.Errorf("approval %s let %s run, and %s", a.ID, other, c.op.ID))
			}
			used[a.ID] = c.op.ID
		}
	}
	if n := p.revocations.Live(); n != 0 {
		err = errors.Join(err, fmt.Errorf("%d operations are still registered as live", n))
	}
	return err
}
