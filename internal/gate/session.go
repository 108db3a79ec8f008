package gate

import (
	"crypto/sha256"
	"encoding/base32"
	"sync"
	"time"

	"gatebook/internal/access"
)

// Sessions tells which run of an agent a principal is in: a pod is one run, whatever it reaches and whichever
// replica it meets; anybody else's run ends when they have been idle for a while. It is safe for concurrent use.
type Sessions struct {
	// Idle ends the session of a principal that is not a pod.
	Idle time.Duration
	// Now is the clock.
	Now func() time.Time

	mu   sync.Mutex
	open map[string]*openSession
	next time.Time // when to look for lapsed ones
}

type openSession struct {
	id   access.SessionID
	last time.Time
}

var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// Of gives the session that p is in now.
func (s *Sessions) Of(p access.Principal) access.SessionID {
	if uid := p.Workload.PodUID; uid != "" {
		// Derived, not stored: every replica, and the same one after a restart, gives the same name.
		sum := sha256.Sum256([]byte("gatebook session\x00" + p.Issuer + "\x00" + uid))
		return access.SessionID(crockford.EncodeToString(sum[:])[:26])
	}
	now := s.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	o := s.open[p.Key()]
	if o == nil || now.Sub(o.last) > s.Idle {
		o = &openSession{id: access.SessionID(access.NewID(now))}
		if s.open == nil {
			s.open = map[string]*openSession{}
		}
		s.open[p.Key()] = o
	}
	o.last = now
	return o.id
}

func (s *Sessions) forget(now time.Time) {
	if now.Before(s.next) {
		return
	}
	s.next = now.Add(s.Idle)
	for k, o := range s.open {
		if now.Sub(o.last) > s.Idle {
			delete(s.open, k)
		}
	}
}
