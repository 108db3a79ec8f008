package recording

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"gatebook/internal/access"
)

var errKilled = errors.New("killed")

// killer lets so many steps pass, and none after.
func killer(steps int64) func(string) error {
	var n atomic.Int64
	return func(step string) error {
		if n.Add(1) > steps {
			return fmt.Errorf("%s: %w", step, errKilled)
		}
		return nil
	}
}

// script is what agents did, as far as they were told that it was recorded.
type script struct {
	b    *book
	told map[access.SessionID]map[access.OperationID]*told
	open map[access.OperationID]*Operation
}

func (s *script) of(o *Operation) *told {
	l := &o.tally.leaf
	if s.told[l.Session] == nil {
		s.told[l.Session] = map[access.OperationID]*told{}
	}
	if s.told[l.Session][l.Operation] == nil {
		s.told[l.Session][l.Operation] = &told{id: l.Operation, streams: map[Stream]string{}}
	}
	return s.told[l.Session][l.Operation]
}

// step does one thing at random. An error is only ever the kill.
func (s *script) step(rt *rapid.T, i int) error {
	ids := sortedKeys(s.open)
	choice := rapid.IntRange(0, 5).Draw(rt, "what")
	if len(ids) == 0 && choice < 3 {
		choice = 3
	}
	switch choice {
	case 0, 1:
		o := s.open[rapid.SampledFrom(ids).Draw(rt, "operation")]
		data := fmt.Sprintf("<%d>", i)
		if err := o.Write(Stdout, ToClient, []byte(data)); err != nil {
			return err
		}
		s.of(o).streams[Stdout] += data
	case 2:
		o := s.open[rapid.SampledFrom(ids).Draw(rt, "operation")]
		if i%2 == 0 {
			data := fmt.Sprintf("<last %d>", i)
			if err := o.EndWith(Stdout, ToClient, []byte(data), access.Outcome{Code: 200}); err != nil {
				return err
			}
			s.of(o).streams[Stdout] += data
		} else if err := o.End(access.Outcome{Code: 200}); err != nil {
			return err
		}
		s.of(o).ended = true
		delete(s.open, o.tally.leaf.Operation)
	case 3, 4:
		session := rapid.SampledFrom([]string{"s1", "s2", "s3"}).Draw(rt, "session")
		o := begin(s.b.t, s.b, session, fmt.Sprintf("command %d", i), fmt.Sprint(i))
		s.of(o).payload = fmt.Sprint(i)
		s.open[o.tally.leaf.Operation] = o
	case 5:
		return s.b.Seal()
	}
	return nil
}

// B94: a process that dies at any step of sealing or recovery, again and again, loses nothing that it acknowledged and
// writes nothing twice; what was open ends as truncated; and the whole verifies.
func TestKilledAtAnyStep(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBook(t)
		defer func() {
			if b.Recorder != nil {
				b.kill()
			}
		}()
		s := &script{b: b, told: map[access.SessionID]map[access.OperationID]*told{}, open: map[access.OperationID]*Operation{}}
		for life := range rapid.IntRange(1, 4).Draw(rt, "lives") {
			steps := rapid.Int64Range(0, 40).Draw(rt, "steps until killed")
			if err := b.start(func(o *Options) { o.Fail = killer(steps) }); err != nil {
				if !errors.Is(err, errKilled) {
					rt.Fatal(err)
				}
				continue
			}
			for i := range rapid.IntRange(0, 12).Draw(rt, "things done") {
				if err := s.step(rt, life*100+i); errors.Is(err, errKilled) {
					break
				} else if err != nil {
					rt.Fatal(err)
				}
			}
			b.kill()
			clear(s.open)
		}
		b.mustStart(nil)
		if err := b.Seal(); err != nil {
			rt.Fatal(err)
		}
		s.check(rt)
	})
}

func (s *script) check(rt *rapid.T) {
	for session, want := range s.told {
		got := s.b.sealed(session)
		if len(got) != len(want) {
			rt.Fatalf("session %s has %d operations, want %d", session, len(got), len(want))
		}
		for id, w := range want {
			g := got[id]
			switch {
			case g == nil:
				rt.Fatalf("operation %s is missing", id)
			case g.payload != w.payload || g.streams[Stdout] != w.streams[Stdout]:
				rt.Fatalf("operation %s: %+v, want %+v", id, g, w)
			case !g.ended || (g.truncated == "") != w.ended:
				rt.Fatalf("operation %s: ended %v, truncated %q; it was ended by its client: %v", id, g.ended, g.truncated, w.ended)
			}
		}
	}
	names := map[string]int{}
	operations := 0
	for _, l := range s.b.leaves() {
		names[string(l.Operation)+l.Name]++
		if l.Type == LeafOperation {
			operations++
		}
	}
	for name, n := range names {
		if n != 1 {
			rt.Fatalf("%d leaves for %s", n, name)
		}
	}
	total := 0
	for _, want := range s.told {
		total += len(want)
	}
	if operations != total {
		rt.Fatalf("%d operations have leaves, want %d", operations, total)
	}
	s.b.awaitIndex()
	for _, want := range s.told {
		for id, w := range want {
			if r, ok := s.b.index.get(id); !ok || r.Outcome == nil || (r.Outcome.Truncated == "") != w.ended {
				rt.Fatalf("the index has %+v of operation %s", r, id)
			}
		}
	}
	s.b.mustVerify(rt)
}
