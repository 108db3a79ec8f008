package approval_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/approval"
)

// together runs fn n times at once, over two desks that share the index, as two replicas would.
func together(d *desk, n int, fn func(desk *approval.Desk, i int)) {
	o := d.o
	o.Store, o.Notify = d.store, nil
	desks := []*approval.Desk{d.Desk, approval.New(o)}
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			fn(desks[i%2], i)
		})
	}
	close(start)
	wg.Wait()
}

// I83: a yes that many use at once runs one.
func TestConcurrentUse(t *testing.T) {
	d := open(t, approval.Options{})
	op, dec := operation("a"), decision(nil)
	id := d.ask(op, dec).ID
	d.answer(id, yes(ada))
	var ran atomic.Int32
	together(d, 16, func(desk *approval.Desk, _ int) {
		switch err := desk.Use(context.Background(), id, again(op), dec); {
		case err == nil:
			ran.Add(1)
		case !errors.Is(err, approval.ErrUsed):
			t.Error(err)
		}
	})
	if uses, err := d.store.ApprovalUses(t.Context(), id); ran.Load() != 1 || len(uses) != 1 || err != nil {
		t.Errorf("ran %d times, %d on record (%v)", ran.Load(), len(uses), err)
	}
}

// I83: a double click counts once; who answers last does not overrule.
func TestConcurrentAnswer(t *testing.T) {
	d := open(t, approval.Options{})
	id := d.ask(operation("a"), decision(func(a *access.ApprovalTerms) { a.Count = 2 })).ID
	var counted atomic.Int32
	together(d, 16, func(desk *approval.Desk, i int) {
		_, err := desk.Answer(context.Background(), id, yes(person(fmt.Sprint("approver", i/4)))) // four people click four times
		switch {
		case err == nil:
			counted.Add(1)
		case !errors.Is(err, approval.ErrTwice) && !errors.Is(err, approval.ErrAnswered):
			t.Error(err)
		}
	})
	a, err := d.Get(t.Context(), id)
	if err != nil || counted.Load() != 2 || len(a.Answers) != 2 || a.State != access.ApprovalGranted || a.Answers[0].Approver.SamePerson(a.Answers[1].Approver) {
		t.Errorf("%d answers counted, %+v (%v)", counted.Load(), a.Answers, err)
	}
}

// The same request sent by many at once is one question, with one card.
func TestConcurrentAsk(t *testing.T) {
	d := open(t, approval.Options{})
	op, dec := operation("a"), decision(nil)
	var mu sync.Mutex
	ids, cards := map[access.ApprovalID]bool{}, map[*approval.Desk]int{}
	together(d, 16, func(desk *approval.Desk, _ int) {
		a, err := desk.Ask(context.Background(), again(op), dec, func(context.Context) (access.Card, error) {
			mu.Lock()
			defer mu.Unlock()
			cards[desk]++
			return access.Card{}, nil
		})
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		ids[a.ID] = true
	})
	if len(ids) != 1 || cards[d.Desk] > 1 {
		t.Errorf("%d questions, cards %v", len(ids), cards)
	}
}

// Many questions at the limit at once: no more are open than there may be.
func TestConcurrentAskAtTheLimit(t *testing.T) {
	d := open(t, approval.Options{MaxOpen: 3})
	var asked, refused atomic.Int32
	together(d, 16, func(desk *approval.Desk, i int) {
		slow := func(context.Context) (access.Card, error) {
			time.Sleep(50 * time.Millisecond) // fetching what is stored
			return access.Card{}, nil
		}
		switch _, err := desk.Ask(context.Background(), operation(fmt.Sprint("n", i)), decision(nil), slow); {
		case err == nil:
			asked.Add(1)
		case errors.Is(err, approval.ErrTooMany):
			refused.Add(1)
		default:
			t.Error(err)
		}
	})
	open, err := d.List(t.Context(), access.ApprovalFilter{})
	if err != nil || len(open) != 3 || asked.Load() != 3 || refused.Load() != 13 {
		t.Errorf("%d are open (%v), %d asked, %d refused", len(open), err, asked.Load(), refused.Load())
	}
}
