package gate

import (
	"crypto/sha256"
	"encoding/base32"
	"sync"
	"time"

	"gatebook/internal/access"
)

// Sessions tells which run of an agent a principal is in: a pod is one run, whatever it reaches and whichever
// replica it meets; of anybody else, each conversation with a model is one, however long it pauses, and what they do
// besides belongs to the latest, until they have been idle for a while. It is safe for concurrent use.
type Sessions struct {
	// Idle is after how long what a principal does, that is not a pod, belongs to no earlier session, unless it is of an
	// earlier conversation.
	Idle time.Duration
	// Now is the clock.
	Now func() time.Time
	// Recall gives the session of a principal's conversation that was before this process, or long ago; empty: there is
	// none. Nil: nothing is recalled.
	Recall func(p access.Principal, conversation string) access.SessionID

	mu   sync.Mutex
	open map[string]*openSession
	next time.Time // when to look for lapsed ones
}

// maxOpen bounds what is remembered. Conversations' names are the clients' choice; beyond it a new one is no session of its own.
const maxOpen = 100_000

type openSession struct {
	id   access.SessionID
	last time.Time
	// conversing says that it is a conversation's.
	conversing bool
}

var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// Of gives the session that p is in now. conversation is the client's name for it, and separates p's own sessions only;
// empty: it does not say.
func (s *Sessions) Of(p access.Principal, conversation string) access.SessionID {
	if uid := p.Workload.PodUID; uid != "" {
		// Derived, not stored: every replica, and the same one after a restart, gives the same name.
		sum := sha256.Sum256([]byte("gatebook session\x00" + p.Issuer + "\x00" + uid))
		return access.SessionID(crockford.EncodeToString(sum[:])[:26])
	}
	recalled := s.recall(p, conversation)
	now := s.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	o := s.find(p.Key(), now)
	if conversation != "" {
		o = s.converse(p.Key(), conversation, recalled, o, now)
	}
	if o == nil {
		o = s.begin(p.Key(), "", now)
	}
	o.last = now
	return o.id
}

// recall asks for the session of a conversation that is not remembered.
func (s *Sessions) recall(p access.Principal, conversation string) access.SessionID {
	if conversation == "" || s.Recall == nil {
		return ""
	}
	s.mu.Lock()
	_, known := s.open[p.Key()+"\x00"+conversation]
	s.mu.Unlock()
	if known {
		return ""
	}
	return s.Recall(p, conversation)
}

// Restore tells of the session that a principal was in when an earlier process ended, and when it was used last.
func (s *Sessions) Restore(principal string, id access.SessionID, last time.Time, conversing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.begin(principal, id, last)
	o.last, o.conversing = last, conversing
}

// find gives the open session of that name; nil where there is none, or it has been idle for too long.
func (s *Sessions) find(key string, now time.Time) *openSession {
	if o := s.open[key]; o != nil && now.Sub(o.last) <= s.Idle {
		return o
	}
	return nil
}

// begin opens a session of that name; a new one where id is empty.
func (s *Sessions) begin(key string, id access.SessionID, now time.Time) *openSession {
	if s.open == nil {
		s.open = map[string]*openSession{}
	}
	if id == "" {
		id = access.SessionID(access.NewID(now))
	}
	o := &openSession{id: id}
	s.open[key] = o
	return o
}

// converse gives the conversation's session, and makes it the one that the principal is in. What they did just before a
// conversation that is new, outside of any, belongs to it.
func (s *Sessions) converse(key, conversation string, recalled access.SessionID, latest *openSession, now time.Time) *openSession {
	name := key + "\x00" + conversation
	o := s.open[name]
	switch {
	case o != nil:
	case recalled != "" && latest != nil && latest.id == recalled: // as it was before a restart
		o = latest
	case recalled != "" && len(s.open) < maxOpen:
		o = s.begin(name, recalled, now)
	case latest != nil && (!latest.conversing || len(s.open) >= maxOpen):
		o = latest
	default:
		o = s.begin(name, "", now)
	}
	o.conversing = true
	s.open[name], s.open[key] = o, o
	return o
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
