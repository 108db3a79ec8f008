package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"gatebook/internal/access"
)

// verifiedLife is how long a verified token is believed without verifying its signature again.
const verifiedLife = time.Minute

// Authenticator turns tokens into principals. It is safe for concurrent use.
type Authenticator struct {
	issuers     []*issuer
	byURL       map[string][]*issuer
	verified    *cache[verified]
	revocations *Revocations
	now         func() time.Time
	stop        context.CancelFunc
	running     sync.WaitGroup
}

type issuer struct {
	Issuer
	keys       *keySet
	mapper     mapper
	review     *review
	algorithms []jose.SignatureAlgorithm
}

type verified struct {
	principal access.Principal
	issuer    *issuer
	until     time.Time
}

// New starts an Authenticator, which fetches its issuers' keys in the background until ctx ends or Close is called. It does
// not wait for them: see Ready. An error is one of configuration, and names the issuer.
func New(ctx context.Context, o Options) (*Authenticator, error) {
	if err := Check(o); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	a := &Authenticator{
		byURL:       map[string][]*issuer{},
		verified:    newCache[verified](o.CacheEntries),
		revocations: o.Revocations,
		now:         o.Now,
	}
	ctx, a.stop = context.WithCancel(ctx)
	for n := range o.Issuers {
		i := newIssuer(&o.Issuers[n], o)
		a.issuers = append(a.issuers, i)
		a.byURL[i.URL] = append(a.byURL[i.URL], i)
		a.running.Go(func() { i.keys.run(ctx) })
	}
	return a, nil
}

// Check reports what is wrong with options, without asking any issuer.
func Check(o Options) error {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return fmt.Errorf("configuring identity: %w", err)
	}
	for n := range o.Issuers {
		if err := checkStatic(o.Issuers[n]); err != nil {
			return fmt.Errorf("configuring identity: issuer %s: %w", o.Issuers[n].Name, err)
		}
	}
	return nil
}

// checkStatic reads keys that are configured as such at once, so that a broken set is an error of configuration.
func checkStatic(i Issuer) error {
	if len(i.Keys.Static) == 0 {
		return nil
	}
	_, err := decodeKeys(i.Keys.Static)
	return err
}

func newIssuer(i *Issuer, o Options) *issuer {
	out := &issuer{
		Issuer: *i,
		mapper: newMapper(i, o.Issuers),
		review: newReview(*i, o.Now, o.CacheEntries),
		keys: &keySet{
			issuer: i.Name, load: loader(*i), refresh: i.Keys.Refresh, maxStale: i.Keys.MaxStale, now: o.Now, log: o.Log,
		},
	}
	for _, a := range i.Algorithms {
		out.algorithms = append(out.algorithms, jose.SignatureAlgorithm(a))
	}
	return out
}

// Close stops fetching keys, and waits until that has ended. Tokens are still verified with the keys that are known.
func (a *Authenticator) Close() {
	a.stop()
	a.running.Wait()
}

// Ready reports, by issuer, why its tokens cannot be verified now; nil where all can.
func (a *Authenticator) Ready() error {
	var errs []error
	for _, i := range a.issuers {
		if err := i.keys.ready(); err != nil {
			var ke *keyError
			if errors.As(err, &ke) && ke.cause != nil {
				err = fmt.Errorf("%w: %w", err, ke.cause)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Authenticate verifies a bearer token. The error is always an *access.Refusal, with code Unauthenticated or Revoked.
// Principal.Expires is the token's exp and the issuer's leeway: the instant from which this gateway no longer honours it.
// The principal's slices are shared with later answers and must not be changed.
func (a *Authenticator) Authenticate(ctx context.Context, raw string) (access.Principal, error) {
	if raw == "" {
		return access.Principal{}, access.Refuse(access.CodeUnauthenticated, nil, "no token was sent")
	}
	if len(raw) > MaxTokenBytes {
		return access.Principal{}, access.Refuse(access.CodeUnauthenticated, nil, "the token is longer than %d bytes", MaxTokenBytes)
	}
	key := sha256.Sum256([]byte(raw))
	v, ok := a.verified.get(key)
	if !ok || !a.now().Before(v.until) {
		var err error
		if v, err = a.verify(ctx, raw); err != nil {
			a.verified.drop(key)
			return access.Principal{}, err
		}
		a.verified.put(key, v)
	}
	if v.issuer.review != nil {
		if err := v.issuer.review.check(ctx, key, raw, v.principal); err != nil {
			return access.Principal{}, err
		}
	}
	if a.revocations != nil {
		if err := a.revocations.Check(v.principal, ""); err != nil {
			return access.Principal{}, err
		}
	}
	return v.principal, nil
}

// verify tries each issuer that has the token's iss. The refusal told is that of the one whose key fits, if any.
func (a *Authenticator) verify(ctx context.Context, raw string) (verified, error) {
	t, err := parse(raw)
	if err != nil {
		return verified{}, access.Refuse(access.CodeUnauthenticated, nil, "the token cannot be read: %v", err)
	}
	issuers := a.byURL[t.issuer]
	if len(issuers) == 0 {
		return verified{}, access.Refuse(access.CodeUnauthenticated, nil, "the token's issuer %s is not known here", clip(t.issuer))
	}
	var refusal *access.Refusal
	for _, i := range issuers {
		v, err := i.verify(ctx, t, a.now())
		if err == nil {
			return v, nil
		}
		if refusal == nil || err.verified {
			refusal = err.refusal()
		}
		if err.verified {
			break
		}
	}
	return verified{}, refusal
}

// notVerified is why one issuer did not accept a token; verified says that its key signed it all the same.
type notVerified struct {
	err      error
	verified bool
}

func (n *notVerified) refusal() *access.Refusal {
	var ke *keyError
	if !errors.As(n.err, &ke) {
		return access.Refuse(access.CodeUnauthenticated, nil, "%v", n.err)
	}
	r := access.Refuse(access.CodeUnauthenticated, ke.cause, "%s", ke.message)
	r.RetryAfter = ke.retryAfter
	return r
}

func (i *issuer) verify(ctx context.Context, t token, now time.Time) (verified, *notVerified) {
	if !slices.Contains(i.Algorithms, t.header.Algorithm) {
		return verified{}, &notVerified{err: fmt.Errorf("the token's algorithm %s is not accepted by issuer %s", clip(t.header.Algorithm), i.Name)}
	}
	set := &attempt{keys: i.keys, algorithms: i.algorithms}
	config := &oidc.Config{SupportedSigningAlgs: i.Algorithms, SkipClientIDCheck: true, SkipExpiryCheck: true} // both are checked below, strictly
	if _, err := oidc.NewVerifier(i.URL, set, config).Verify(ctx, t.raw); err != nil {
		if set.err == nil {
			set.err = errors.New("the token's claims are not valid")
		}
		return verified{}, &notVerified{err: set.err, verified: set.payload != nil}
	}
	p, err := i.principal(t, set.payload, now)
	if err != nil {
		return verified{}, &notVerified{err: err, verified: true}
	}
	until := now.Add(verifiedLife)
	if p.Expires.Before(until) {
		until = p.Expires
	}
	return verified{principal: p, issuer: i, until: until}, nil
}

// attempt is the oidc.KeySet of one verification. It keeps its own error, since the verifier flattens it to text.
type attempt struct {
	keys       *keySet
	algorithms []jose.SignatureAlgorithm
	payload    []byte
	err        error
}

// VerifySignature implements oidc.KeySet.
func (a *attempt) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	a.payload, a.err = a.keys.verify(ctx, raw, a.algorithms)
	return a.payload, a.err
}

// principal checks a verified token's claims and maps them.
func (i *issuer) principal(t token, payload []byte, now time.Time) (access.Principal, error) {
	c, err := decodeClaims(payload)
	if err != nil {
		return access.Principal{}, err
	}
	end, err := c.checkTimes(now, i.Skew)
	if err != nil {
		return access.Principal{}, err
	}
	if err := c.checkAudience(&i.Issuer); err != nil {
		return access.Principal{}, err
	}
	if err := c.checkRequired(i.Required); err != nil {
		return access.Principal{}, err
	}
	p, err := i.mapper.principal(c)
	if err != nil {
		return access.Principal{}, err
	}
	p.Expires = end
	if p.TokenID = c.str("jti"); checkName(p.TokenID) != nil {
		p.TokenID = t.id()
	}
	return p, nil
}
