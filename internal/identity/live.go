package identity

import (
	"time"

	"gatebook/internal/access"
)

// live is one operation that can be cancelled. It is in a liveSet until it is removed or taken, whichever comes first, so
// that cancel is called once at most.
type live struct {
	subject string
	session access.SessionID
	token   string
	expires time.Time
	cancel  func(error)
}

type members map[*live]struct{}

// expiry is all that ends at one instant, and the timer that ends it.
type expiry struct {
	timer   *time.Timer
	members members
}

// liveSet indexes live operations by all that can end them. It is guarded by its owner's lock.
type liveSet struct {
	all       members
	bySubject map[string]members
	bySession map[access.SessionID]members
	byToken   map[string]members
	byExpiry  map[int64]*expiry // by Unix nanoseconds
}

func newLiveSet() liveSet {
	return liveSet{
		all:       members{},
		bySubject: map[string]members{},
		bySession: map[access.SessionID]members{},
		byToken:   map[string]members{},
		byExpiry:  map[int64]*expiry{},
	}
}

func (s *liveSet) add(l *live) {
	s.all[l] = struct{}{}
	join(s.bySubject, l.subject, l)
	join(s.bySession, l.session, l)
	join(s.byToken, l.token, l)
	if l.expires.IsZero() {
		return
	}
	at := l.expires.UnixNano()
	if s.byExpiry[at] == nil {
		s.byExpiry[at] = &expiry{members: members{}}
	}
	s.byExpiry[at].members[l] = struct{}{}
}

// remove reports whether l was still there.
func (s *liveSet) remove(l *live) bool {
	if _, ok := s.all[l]; !ok {
		return false
	}
	delete(s.all, l)
	leave(s.bySubject, l.subject, l)
	leave(s.bySession, l.session, l)
	leave(s.byToken, l.token, l)
	if l.expires.IsZero() {
		return true
	}
	at := l.expires.UnixNano()
	e := s.byExpiry[at]
	delete(e.members, l)
	if len(e.members) == 0 {
		if e.timer != nil {
			e.timer.Stop()
		}
		delete(s.byExpiry, at)
	}
	return true
}

func (s *liveSet) takeSubject(k string) []*live           { return s.take(s.bySubject[k]) }
func (s *liveSet) takeSession(k access.SessionID) []*live { return s.take(s.bySession[k]) }
func (s *liveSet) takeToken(k string) []*live             { return s.take(s.byToken[k]) }

// take removes and returns all of m.
func (s *liveSet) take(m members) []*live {
	out := make([]*live, 0, len(m))
	for l := range m {
		out = append(out, l)
	}
	for _, l := range out {
		s.remove(l)
	}
	return out
}

func join[K comparable](m map[K]members, key K, l *live) {
	if m[key] == nil {
		m[key] = members{}
	}
	m[key][l] = struct{}{}
}

func leave[K comparable](m map[K]members, key K, l *live) {
	delete(m[key], l)
	if len(m[key]) == 0 {
		delete(m, key)
	}
}
