package login

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// renewBefore is how long before its end a token is renewed.
const renewBefore = time.Minute

// Cache keeps one token by issuer, client and gateway, each in a file of mode 0600.
type Cache struct {
	// Dir is made with mode 0700 where it does not exist.
	Dir string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (c Cache) path(issuer, clientID, gateway string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", issuer, clientID, gateway))
	return filepath.Join(c.Dir, hex.EncodeToString(sum[:16])+".json")
}

// Token returns a token for gateway that is still valid for a minute, renewed where needed. Of several processes that ask at
// once, one renews. The error is ErrLoginRequired where a person has to log in.
func (c Cache) Token(ctx context.Context, config Config, gateway string) (Token, error) {
	path := c.path(config.Issuer, config.ClientID, gateway)
	if t, err := c.fresh(path); err == nil || !errors.Is(err, errStale) {
		return t, err
	}
	unlock, err := lock(ctx, path+".lock")
	if err != nil {
		return Token{}, fmt.Errorf("locking the token cache: %w", err)
	}
	defer unlock()
	old, err := c.fresh(path) // another process may have renewed it
	if err == nil || !errors.Is(err, errStale) {
		return old, err
	}
	t, err := Renew(ctx, config, old)
	if errors.Is(err, ErrLoginRequired) {
		return Token{}, errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return Token{}, err
	}
	if t.Refresh == "" {
		t.Refresh = old.Refresh
	}
	return t, c.write(path, t)
}

// Save keeps the token of a login.
func (c Cache) Save(config Config, gateway string, t Token) error {
	return c.write(c.path(config.Issuer, config.ClientID, gateway), t)
}

// Remove forgets a token. That there is none is no error.
func (c Cache) Remove(config Config, gateway string) error {
	if err := os.Remove(c.path(config.Issuer, config.ClientID, gateway)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a token: %w", err)
	}
	return nil
}

var errStale = errors.New("the token needs to be renewed")

// fresh reads the token of path. With errStale it returns the token all the same.
func (c Cache) fresh(path string) (Token, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Token{}, ErrLoginRequired
	}
	if err != nil {
		return Token{}, fmt.Errorf("reading the token cache: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Token{}, fmt.Errorf("reading the token cache: %s has mode %#o, so others can read it: remove it and log in again", path, info.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return Token{}, fmt.Errorf("reading the token cache: %w", err)
	}
	var t Token
	if err := json.Unmarshal(b, &t); err != nil {
		return Token{}, fmt.Errorf("reading the token cache: %s: %w", path, err)
	}
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	if t.ID == "" || !now().Add(renewBefore).Before(t.Expires) {
		return t, errStale
	}
	return t, nil
}

// write replaces the file as a whole.
func (c Cache) write(path string, t Token) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("writing the token cache: %w", err)
	}
	b, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("writing the token cache: %w", err)
	}
	f, err := os.CreateTemp(c.Dir, ".token-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing the token cache: %w", err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing the token cache: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
