package identity

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"gatebook/internal/access"
)

// Revocations holds what was taken back and every live operation, and brings them together: a revocation that is added, and
// the end of a token, cancel the operations that they cover at once, without polling. It is safe for concurrent use.
type Revocations struct {
	now func() time.Time

	mu        sync.Mutex
	bySubject map[string][]access.Revocation
	bySession map[access.SessionID][]access.Revocation
	byToken   map[string][]access.Revocation
	live      liveSet
}

// NewRevocations returns the set of those given, such as the store's at start. now is the clock; nil means time.Now.
func NewRevocations(now func() time.Time, known ...access.Revocation) *Revocations {
	if now == nil {
		now = time.Now
	}
	r := &Revocations{
		now:       now,
		bySubject: map[string][]access.Revocation{},
		bySession: map[access.SessionID][]access.Revocation{},
		byToken:   map[string][]access.Revocation{},
		live:      newLiveSet(),
	}
	for _, rev := range known {
		r.Add(rev)
	}
	return r
}

// Add takes access back: it cancels every live operation that rev covers before it returns. Adding the same ID again
// replaces the earlier one. A revocation that has lapsed or names nothing has no effect.
func (r *Revocations) Add(rev access.Revocation) {
	for _, l := range r.add(rev) {
		l.cancel(revoked(rev))
	}
}

func (r *Revocations) add(rev access.Revocation) []*live {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if lapsed(rev, now) {
		return nil
	}
	switch {
	case rev.Subject != "":
		put(r.bySubject, rev.Subject, rev, now)
		return r.live.takeSubject(rev.Subject)
	case rev.Session != "":
		put(r.bySession, rev.Session, rev, now)
		return r.live.takeSession(rev.Session)
	case rev.TokenID != "":
		put(r.byToken, rev.TokenID, rev, now)
		return r.live.takeToken(rev.TokenID)
	}
	return nil
}

// Remove forgets a revocation, by its ID. What it cancelled stays cancelled.
func (r *Revocations) Remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	remove(r.bySubject, id)
	remove(r.bySession, id)
	remove(r.byToken, id)
}

// Check refuses a principal, or a session, that was revoked, and a principal whose credential has ended. An empty session is not
// checked. The error is an *access.Refusal.
func (r *Revocations) Check(p access.Principal, session access.SessionID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if refusal := r.check(p, session, r.now()); refusal != nil {
		return refusal
	}
	return nil
}

// check is Check; r.mu is held.
func (r *Revocations) check(p access.Principal, session access.SessionID, now time.Time) *access.Refusal {
	if len(r.bySubject) > 0 {
		if rev, ok := covering(r.bySubject[p.Key()], p, session, now); ok {
			return revoked(rev)
		}
	}
	if rev, ok := covering(r.bySession[session], p, session, now); ok && session != "" {
		return revoked(rev)
	}
	if rev, ok := covering(r.byToken[p.TokenID], p, session, now); ok {
		return revoked(rev)
	}
	if !p.Expires.IsZero() && !now.Before(p.Expires) {
		return expired(p.Expires)
	}
	return nil
}

// Register tells of an operation that is about to run under p in session. cancel is called at most once, with an
// *access.Refusal, when either is revoked or p's credential ends; where that is so already, before Register returns. It must not block,
// and may be called from another goroutine. unregister must be called when the operation ends, and may be called again.
func (r *Revocations) Register(p access.Principal, session access.SessionID, cancel func(error)) (unregister func()) {
	l := &live{subject: p.Key(), session: session, token: p.TokenID, expires: p.Expires, cancel: cancel}
	r.mu.Lock()
	now := r.now()
	refusal := r.check(p, session, now)
	if refusal == nil {
		r.live.add(l)
		r.arm(l.expires, now)
	}
	r.mu.Unlock()
	if refusal != nil {
		cancel(refusal)
		return func() {}
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.live.remove(l)
	}
}

// Live is the number of registered operations.
func (r *Revocations) Live() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.live.all)
}

// arm starts the timer of one expiry, unless it runs: there is one per distinct expiry. r.mu is held.
func (r *Revocations) arm(at, now time.Time) {
	if e := r.live.byExpiry[at.UnixNano()]; !at.IsZero() && e.timer == nil {
		e.timer = time.AfterFunc(at.Sub(now), func() { r.expire(at) })
	}
}

func (r *Revocations) expire(at time.Time) {
	for _, l := range r.takeExpired(at) {
		l.cancel(expired(at))
	}
}

func (r *Revocations) takeExpired(at time.Time) []*live {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.live.byExpiry[at.UnixNano()]
	if e == nil {
		return nil
	}
	if now := r.now(); now.Before(at) { // the wall clock was set back
		e.timer = nil
		r.arm(at, now)
		return nil
	}
	return r.live.take(e.members)
}

func covering(revs []access.Revocation, p access.Principal, session access.SessionID, now time.Time) (access.Revocation, bool) {
	for _, rev := range revs {
		if rev.Covers(p, session, now) {
			return rev, true
		}
	}
	return access.Revocation{}, false
}

func put[K comparable](m map[K][]access.Revocation, key K, rev access.Revocation, now time.Time) {
	kept := slices.DeleteFunc(m[key], func(o access.Revocation) bool { return o.ID == rev.ID && rev.ID != "" || lapsed(o, now) })
	m[key] = append(kept, rev)
}

func remove[K comparable](m map[K][]access.Revocation, id string) {
	for key, revs := range m {
		revs = slices.DeleteFunc(revs, func(o access.Revocation) bool { return o.ID == id })
		if len(revs) == 0 {
			delete(m, key)
		} else {
			m[key] = revs
		}
	}
}

func lapsed(rev access.Revocation, now time.Time) bool {
	return !rev.Until.IsZero() && !now.Before(rev.Until)
}

// revoked tells the client that, and the operator's log by whom and why.
func revoked(rev access.Revocation) *access.Refusal {
	what := "your access"
	switch {
	case rev.Session != "":
		what = "this session"
	case rev.TokenID != "":
		what = "this token"
	}
	return access.Refuse(access.CodeRevoked, fmt.Errorf("revoked by %s: %s", rev.By, rev.Reason),
		"%s was revoked at %s (revocation %s)", what, rev.Time.UTC().Format(time.RFC3339), rev.ID)
}

func expired(at time.Time) *access.Refusal {
	return access.Refuse(access.CodeUnauthenticated, nil, "the token ended at %s", at.UTC().Format(time.RFC3339))
}
