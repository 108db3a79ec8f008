package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatebook/internal/guard"
)

const (
	// fetchCooldown is the least time between two fetches of one issuer's keys, whatever arrives.
	fetchCooldown = 10 * time.Second
	fetchTimeout  = 10 * time.Second
	retryInterval = 15 * time.Second
	minRSABits    = 2048
)

// keySet is one issuer's public keys. Known keys answer without a fetch; an unknown key id leads to one, if the last
// was at least fetchCooldown ago, which all that wait for it share.
type keySet struct {
	issuer   string
	load     func(context.Context) ([]jose.JSONWebKey, error)
	refresh  time.Duration
	maxStale time.Duration
	now      func() time.Time
	log      *slog.Logger

	mu       sync.Mutex
	keys     []jose.JSONWebKey // replaced, never changed
	loaded   time.Time         // when the last fetch that succeeded began
	tried    time.Time         // when the last fetch began
	err      error             // why the last fetch failed
	inflight chan struct{}     // closed when the fetch under way ends
}

// keyError says why a signature could not be verified. Its text is safe for clients.
type keyError struct {
	message    string
	retryAfter time.Duration
	cause      error
	// signed says that the right key was there, and the signature did not fit it.
	signed bool
}

func (e *keyError) Error() string { return e.message }
func (e *keyError) Unwrap() error { return e.cause }

// run keeps the keys fresh until ctx ends.
func (k *keySet) run(ctx context.Context) {
	for {
		next := k.refresh
		if err := k.fetch(ctx); err != nil && ctx.Err() == nil {
			next = min(retryInterval, k.refresh)
			k.log.Warn("fetching an issuer's keys failed", "issuer", k.issuer, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
	}
}

// fetch replaces the keys, unless a fetch began less than fetchCooldown ago. One that is under way is joined.
func (k *keySet) fetch(ctx context.Context) error {
	k.mu.Lock()
	if k.inflight == nil {
		if wait := k.cooldown(); wait > 0 {
			defer k.mu.Unlock()
			return &keyError{message: "its keys were fetched just now", retryAfter: wait, cause: k.err}
		}
		k.tried = k.now()
		k.inflight = make(chan struct{})
		go k.fetchNow(context.WithoutCancel(ctx), k.tried, k.inflight)
	}
	done := k.inflight
	k.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// cooldown is how long no fetch may begin. k.mu is held.
func (k *keySet) cooldown() time.Duration {
	if k.tried.IsZero() {
		return 0
	}
	return k.tried.Add(fetchCooldown).Sub(k.now())
}

func (k *keySet) fetchNow(ctx context.Context, began time.Time, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	var keys []jose.JSONWebKey
	err := guard.Call(func() (err error) {
		keys, err = k.load(ctx)
		return err
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	k.inflight, k.err = nil, err
	if err == nil {
		k.keys, k.loaded = keys, began
	}
	close(done)
}

// ready reports why no token of this issuer can be verified now.
func (k *keySet) ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, err := k.usable()
	return err
}

// usable returns the keys, unless there are none or they are too old. k.mu is held.
func (k *keySet) usable() ([]jose.JSONWebKey, error) {
	if k.loaded.IsZero() {
		return nil, &keyError{message: fmt.Sprintf("the keys of issuer %s could not be fetched yet", k.issuer), retryAfter: max(k.cooldown(), time.Second), cause: k.err}
	}
	if age := k.now().Sub(k.loaded); age > k.maxStale {
		return nil, &keyError{message: fmt.Sprintf("the keys of issuer %s are %s old, and it cannot be reached", k.issuer, age.Round(time.Minute)),
			retryAfter: max(k.cooldown(), time.Second), cause: k.err}
	}
	return k.keys, nil
}

// snapshot returns the keys that may be used, after a fetch where there are none.
func (k *keySet) snapshot(ctx context.Context) ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	keys, err := k.usable()
	k.mu.Unlock()
	if err == nil {
		return keys, nil
	}
	if ferr := k.fetch(ctx); ferr != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.usable()
}

// verify returns the payload of a compact JWS that one of the keys signed, under one of the algorithms. The error is a *keyError.
func (k *keySet) verify(ctx context.Context, raw string, algorithms []jose.SignatureAlgorithm) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		return nil, &keyError{message: "the token is not a valid JSON Web Token", cause: err}
	}
	keys, err := k.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	h := jws.Signatures[0].Header
	payload, err := verifyWith(jws, candidates(keys, h.KeyID, h.Algorithm))
	if !errors.Is(err, errNoKey) {
		return payload, err
	}
	ferr := k.fetch(ctx)
	if ferr == nil {
		if keys, err = k.snapshot(ctx); err != nil {
			return nil, err
		}
		payload, err = verifyWith(jws, candidates(keys, h.KeyID, h.Algorithm))
	}
	if errors.Is(err, errNoKey) {
		return nil, &keyError{message: fmt.Sprintf("issuer %s has no key %s for algorithm %s", k.issuer, clip(h.KeyID), clip(h.Algorithm)),
			retryAfter: retryOf(ferr), cause: ferr}
	}
	return payload, err
}

func retryOf(err error) time.Duration {
	var ke *keyError
	if errors.As(err, &ke) {
		return ke.retryAfter
	}
	return 0
}

var errNoKey = errors.New("no such key")

func verifyWith(jws *jose.JSONWebSignature, keys []jose.JSONWebKey) ([]byte, error) {
	for n := range keys {
		if payload, err := jws.Verify(&keys[n]); err == nil {
			return payload, nil
		}
	}
	if len(keys) == 0 {
		return nil, errNoKey
	}
	return nil, &keyError{message: "the token's signature is not valid", signed: true}
}

// candidates are the keys that could have signed under alg, with the key id where the token names one.
func candidates(keys []jose.JSONWebKey, kid, alg string) []jose.JSONWebKey {
	var out []jose.JSONWebKey
	for _, key := range keys {
		if kid != "" && key.KeyID != kid || key.Algorithm != "" && key.Algorithm != alg || !fits(key.Key, jose.SignatureAlgorithm(alg)) {
			continue
		}
		out = append(out, key)
	}
	return out
}

// fits reports whether key is of the type that alg needs. A symmetric key fits nothing.
func fits(key any, alg jose.SignatureAlgorithm) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		switch alg {
		case jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512:
			return key.N.BitLen() >= minRSABits
		}
	case *ecdsa.PublicKey:
		switch alg {
		case jose.ES256:
			return key.Params().BitSize == 256
		case jose.ES384:
			return key.Params().BitSize == 384
		case jose.ES512:
			return key.Params().BitSize == 521
		}
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}
