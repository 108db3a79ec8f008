package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// keys are the signing keys: the first signs, and the others are published as long as tokens that they signed may live.
type keys struct {
	path string
	life time.Duration // how long a key signs
	keep time.Duration // how long it is published after that
	now  func() time.Time

	mu   sync.Mutex
	ring []storedKey
}

type storedKey struct {
	Created time.Time       `json:"created"`
	Key     jose.JSONWebKey `json:"key"` // private, ES256
}

// openKeys reads the keys of path, or makes them. A file that others may read is refused.
func openKeys(path string, life, keep time.Duration, now func() time.Time) (*keys, error) {
	k := &keys{path: path, life: life, keep: keep, now: now}
	b, err := readPrivate(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading signing keys: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(b, &k.ring); err != nil {
			return nil, fmt.Errorf("reading signing keys of %s: %w", path, err)
		}
		for _, s := range k.ring {
			if _, ok := s.Key.Key.(*ecdsa.PrivateKey); !ok || s.Key.KeyID == "" {
				return nil, fmt.Errorf("reading signing keys of %s: one is not a named private ECDSA key", path)
			}
		}
	}
	if _, err := k.signing(); err != nil {
		return nil, err
	}
	return k, nil
}

func readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %#o: others can read it; chmod 600 it, or remove it to make new keys", path, info.Mode().Perm())
	}
	return os.ReadFile(path)
}

// signing returns the key that signs now, after a rotation where it is due.
func (k *keys) signing() (jose.JSONWebKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.ring) == 0 || k.now().Sub(k.ring[0].Created) >= k.life {
		if err := k.rotate(); err != nil {
			return jose.JSONWebKey{}, err
		}
	}
	return k.ring[0].Key, nil
}

// rotate puts a new key first and forgets those that no token can need. k.mu is held.
func (k *keys) rotate() error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making a signing key: %w", err)
	}
	now := k.now()
	ring := []storedKey{{Created: now, Key: jose.JSONWebKey{Key: private, KeyID: rand.Text(), Algorithm: string(jose.ES256), Use: "sig"}}}
	retired := now // when the key before stopped signing
	for _, s := range k.ring {
		if now.Sub(retired) < k.keep {
			ring = append(ring, s)
		}
		retired = s.Created
	}
	b, err := json.Marshal(ring)
	if err != nil {
		return fmt.Errorf("writing signing keys: %w", err)
	}
	if err := writePrivate(k.path, b); err != nil {
		return fmt.Errorf("writing signing keys: %w", err)
	}
	k.ring = ring
	return nil
}

// writePrivate replaces path by a file of mode 0600, wholly or not at all.
func writePrivate(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".keys-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// published are the public keys.
func (k *keys) published() ([]op.Key, error) {
	if _, err := k.signing(); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]op.Key, 0, len(k.ring))
	for _, s := range k.ring {
		out = append(out, publicKey{s.Key.Public()})
	}
	return out, nil
}

// Rotate makes a new signing key at once. Tokens that the one before signed stay valid until they expire.
func (i *Issuer) Rotate() error {
	i.keys.mu.Lock()
	defer i.keys.mu.Unlock()
	return i.keys.rotate()
}

type signingKey struct{ jwk jose.JSONWebKey }

func (s signingKey) SignatureAlgorithm() jose.SignatureAlgorithm {
	return jose.SignatureAlgorithm(s.jwk.Algorithm)
}
func (s signingKey) Key() any   { return s.jwk.Key }
func (s signingKey) ID() string { return s.jwk.KeyID }

type publicKey struct{ jwk jose.JSONWebKey }

func (p publicKey) ID() string { return p.jwk.KeyID }
func (p publicKey) Algorithm() jose.SignatureAlgorithm {
	return jose.SignatureAlgorithm(p.jwk.Algorithm)
}
func (p publicKey) Use() string { return p.jwk.Use }
func (p publicKey) Key() any    { return p.jwk.Key }
