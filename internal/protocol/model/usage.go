package model

import (
	"sync"
	"time"

	"gatebook/internal/access"
)

const (
	// UsageMemory is how long a session that is not used is still counted. Who starts a handler gives it that much of the past.
	UsageMemory = 30 * 24 * time.Hour
	day         = 24 * time.Hour
	// maxConversations bounds what is remembered of one principal's conversations: their names are the client's choice.
	maxConversations = 2000
	maxNameBytes     = 256
)

// usage counts what sessions and principals have used of one target, and remembers whose conversation is whose. What has
// ended is in the index, from which it is brought up at a start; what is under way counts with what it may use at most, so
// that calls which run at the same time cannot use up a budget together that each would keep alone.
type usage struct {
	mu       sync.Mutex
	now      func() time.Time
	underWay map[*reservation]bool
	sessions map[access.SessionID]*counter
	hours    map[string]map[int64]*counter // by principal and hour
	owners   map[string]owner              // by conversation
	owned    map[string]int                // how many conversations a principal has
	names    map[string]string             // the principal of each name
	swept    time.Time
}

// reservation is what a call that is under way counts for.
type reservation struct{ access.ModelUse }

type counter struct {
	tokens, cost int64
	last         time.Time
}

func (c *counter) add(u access.ModelUse) {
	c.tokens, c.cost = c.tokens+u.Tokens, c.cost+u.Cost
	if u.Time.After(c.last) {
		c.last = u.Time
	}
}

// owner is who used a conversation first, and when it was used last.
type owner struct {
	principal, pod string
	last           time.Time
}

func newUsage(now func() time.Time) *usage {
	return &usage{now: now, underWay: map[*reservation]bool{}, sessions: map[access.SessionID]*counter{}, hours: map[string]map[int64]*counter{}, owners: map[string]owner{},
		owned: map[string]int{}, names: map[string]string{}, swept: now()}
}

// add counts a call that has ended.
func (s *usage) add(u access.ModelUse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addLocked(u)
}

func (s *usage) addLocked(u access.ModelUse) {
	s.sweep()
	key := u.Principal.Key()
	at(s.sessions, u.Session).add(u)
	if s.hours[key] == nil {
		s.hours[key] = map[int64]*counter{}
	}
	at(s.hours[key], u.Time.Unix()/3600).add(u)
	s.claim(u.Principal, u.Conversation)
}

func at[K comparable](m map[K]*counter, k K) *counter {
	if m[k] == nil {
		m[k] = &counter{}
	}
	return m[k]
}

// reserve fills in what was used before a call, and counts the call from now on with what it may use itself.
func (s *usage) reserve(op *access.Operation) *reservation {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := op.Model
	r := &reservation{access.ModelUse{Session: op.Session, Principal: op.Principal, Conversation: m.Conversation, Time: op.Time, Tokens: m.ReservedTokens, Cost: m.ReservedCost}}
	s.fill(m, r)
	s.underWay[r] = true
	return r
}

// again is what was used before a call whose reservation is r, as it is now.
func (s *usage) again(m *access.Model, r *reservation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fill(m, r)
}

// fill adds up what was used besides r.
func (s *usage) fill(m *access.Model, r *reservation) {
	var session, today counter
	if c := s.sessions[r.Session]; c != nil {
		session = *c
	}
	key := r.Principal.Key()
	first := s.now().Add(-day).Unix() / 3600 // of which a part is older: rather an hour too much
	for hour, c := range s.hours[key] {
		if hour >= first {
			today.tokens, today.cost = today.tokens+c.tokens, today.cost+c.cost
		}
	}
	for o := range s.underWay {
		if o != r && o.Session == r.Session {
			session.add(o.ModelUse)
		}
		if o != r && o.Principal.Key() == key {
			today.add(o.ModelUse)
		}
	}
	m.SessionTokens, m.SessionCost, m.DayTokens, m.DayCost = session.tokens, session.cost, today.tokens, today.cost
}

// known says that a call which is under way will have used just so much: its answer is whole, and about to be delivered.
func (s *usage) known(r *reservation, tokens, cost int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Tokens, r.Cost = tokens, cost
}

// end counts what a call has used, in place of what it might have; nil: nothing. Later calls do nothing.
func (s *usage) end(r *reservation, used *access.ModelUse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.underWay[r] && used != nil {
		s.addLocked(*used)
	}
	delete(s.underWay, r)
}

// flag notes what the client says that cannot be.
func (s *usage) flag(p access.Principal, m *access.Model, user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.claim(p, m.Conversation); o.principal != p.Key() {
		m.Flags = append(m.Flags, "the conversation "+m.Conversation+" is another principal's")
	} else if o.pod != p.Workload.PodUID {
		m.Flags = append(m.Flags, "the conversation "+m.Conversation+" was begun in another pod")
	}
	if of, ok := s.names[user]; ok && user != "" && of != p.Key() {
		m.Flags = append(m.Flags, "the request names a user who is another principal")
	}
}

// claim gives whose a conversation is: the first who used it.
func (s *usage) claim(p access.Principal, conversation string) owner {
	mine := owner{p.Key(), p.Workload.PodUID, s.now()}
	s.names[p.Name], s.names[p.Subject] = mine.principal, mine.principal
	o, known := s.owners[conversation]
	switch {
	case conversation == "" || len(conversation) > maxNameBytes:
		return mine
	case known:
		o.last = mine.last
		s.owners[conversation] = o
		return o
	case s.owned[mine.principal] < maxConversations:
		s.owners[conversation] = mine
		s.owned[mine.principal]++
	}
	return mine
}

// sweep forgets, now and then, what is too old to count.
func (s *usage) sweep() {
	now := s.now()
	if now.Sub(s.swept) < time.Hour {
		return
	}
	s.swept = now
	for id, c := range s.sessions {
		if now.Sub(c.last) > UsageMemory {
			delete(s.sessions, id)
		}
	}
	for conversation, o := range s.owners {
		if now.Sub(o.last) <= UsageMemory {
			continue
		}
		delete(s.owners, conversation)
		if s.owned[o.principal]--; s.owned[o.principal] == 0 {
			delete(s.owned, o.principal)
		}
	}
	for key, hours := range s.hours {
		for hour := range hours {
			if hour < now.Add(-2*day).Unix()/3600 {
				delete(hours, hour)
			}
		}
		if len(hours) == 0 {
			delete(s.hours, key)
		}
	}
}
