package recording

import (
	"cmp"
	"maps"
	"slices"
	"sync"
)

// openSet is the operations that have a frame in the journal and no end.
type openSet struct {
	mu        sync.Mutex
	running   map[uint64]*Operation
	abandoned map[uint64]*abandoned
}

// abandoned is an operation whose end the journal had no room for.
type abandoned struct {
	number  uint64
	tally   *tally
	closing *Closing
}

func (s *openSet) add(o *Operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[o.number] = o
}

func (s *openSet) remove(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, number)
	delete(s.abandoned, number)
}

// abandon takes over an operation; one that never had a frame in the journal is forgotten.
func (s *openSet) abandon(o *Operation, c *Closing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.running[o.number]; !ok {
		return
	}
	delete(s.running, o.number)
	s.abandoned[o.number] = &abandoned{number: o.number, tally: o.tally, closing: c}
}

// carry gives each open operation's tally, in the order of the numbers.
func (s *openSet) carry() []*abandoned {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Collect(maps.Values(s.abandoned))
	for _, o := range s.running {
		all = append(all, &abandoned{number: o.number, tally: o.tally})
	}
	slices.SortFunc(all, func(a, b *abandoned) int { return cmp.Compare(a.number, b.number) })
	return all
}

// waiting gives those whose end is still to be written.
func (s *openSet) waiting() []*abandoned {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.abandoned))
}

// live gives the operations that are running.
func (s *openSet) live() []*Operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.running))
}

func (s *openSet) has(number uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[number] != nil
}

func (s *openSet) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running) + len(s.abandoned)
}
