package identity

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/guard"
)

const (
	// reviewLife is how long a reviewer's answer is used, counted from when it was asked.
	reviewLife    = 10 * time.Second
	reviewTimeout = 5 * time.Second
	// reviewRetry is how long a reviewer that could not be asked is left alone, for one token.
	reviewRetry = time.Second
)

// review asks one issuer's reviewer, and remembers its answers for reviewLife.
type review struct {
	issuer string
	ask    Reviewer
	now    func() time.Time

	answers *cache[verdict]
	mu      sync.Mutex
	open    map[[sha256.Size]byte]*question
}

type verdict struct {
	refusal *access.Refusal // nil: the token stands
	until   time.Time
}

type question struct {
	done chan struct{}
	verdict
}

func newReview(i Issuer, now func() time.Time, size int) *review {
	if i.Review == nil {
		return nil
	}
	return &review{issuer: i.Name, ask: i.Review, now: now, answers: newCache[verdict](size), open: map[[sha256.Size]byte]*question{}}
}

// check refuses a token that its issuer no longer honours, or about which it cannot be asked.
func (r *review) check(ctx context.Context, key [sha256.Size]byte, token string, p access.Principal) error {
	if v, ok := r.answers.get(key); ok && r.now().Before(v.until) {
		return v.err()
	}
	r.mu.Lock()
	q := r.open[key]
	if q == nil {
		q = &question{done: make(chan struct{})}
		r.open[key] = q
		go r.answer(context.WithoutCancel(ctx), q, key, token, p)
	}
	r.mu.Unlock()
	select {
	case <-q.done:
		return q.err()
	case <-ctx.Done():
		return r.unreachable(ctx.Err())
	}
}

func (v verdict) err() error {
	if v.refusal == nil {
		return nil
	}
	refusal := *v.refusal // the caller may fill in its session
	return &refusal
}

func (r *review) answer(ctx context.Context, q *question, key [sha256.Size]byte, token string, p access.Principal) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	asked := r.now()
	var stands bool
	var username, uid string
	var extra map[string][]string
	err := guard.Call(func() (err error) {
		stands, username, uid, extra, err = r.ask(ctx, token)
		return err
	})
	q.until = asked.Add(reviewLife)
	switch {
	case err != nil:
		q.refusal, q.until = r.unreachable(err), r.now().Add(reviewRetry)
	case !stands:
		q.refusal = access.Refuse(access.CodeRevoked, nil,
			"issuer %s no longer honours this token: its pod or service account is gone, or it was withdrawn", r.issuer)
	default:
		q.refusal = r.compare(p, username, uid, extra)
	}
	r.answers.put(key, q.verdict)
	r.mu.Lock()
	delete(r.open, key)
	r.mu.Unlock()
	close(q.done)
}

func (r *review) unreachable(cause error) *access.Refusal {
	refusal := access.Refuse(access.CodeUnauthenticated, fmt.Errorf("asking the issuer about a token: %w", cause),
		"issuer %s could not be asked whether this token still stands", r.issuer)
	refusal.RetryAfter = reviewRetry
	return refusal
}

const podUIDExtra = "authentication.kubernetes.io/pod-uid"

// compare refuses an answer about someone else.
func (r *review) compare(p access.Principal, username, uid string, extra map[string][]string) *access.Refusal {
	pod := extra[podUIDExtra]
	if username != p.Subject && username != p.Name ||
		uid != "" && p.Workload.ServiceAccountUID != "" && uid != p.Workload.ServiceAccountUID ||
		len(pod) > 0 && p.Workload.PodUID != "" && pod[0] != p.Workload.PodUID {
		return access.Refuse(access.CodeUnauthenticated, nil, "issuer %s says that this token is another's than its claims say", r.issuer)
	}
	return nil
}
