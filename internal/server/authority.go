package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Authority gives certificates for any host, signed by the CA that SelfMade keeps in the same folder, which is made where it
// is not there. It is safe for concurrent use.
type Authority struct {
	ca  *tls.Certificate
	key *ecdsa.PrivateKey // of all its certificates; it never leaves the process

	mu   sync.Mutex
	kept map[string]*tls.Certificate
}

const (
	leafLife = 24 * time.Hour
	maxKept  = 1000
)

// OpenAuthority makes an Authority of the CA in folder.
func OpenAuthority(folder string) (*Authority, error) {
	ca, err := loadPair(folder, "ca")
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(folder, "ca.crt")); err == nil {
			return nil, fmt.Errorf("the key of the CA in %s is gone; remove ca.crt too to have a new one made", folder)
		}
		ca, err = makePair(folder, "ca", nil, nil)
	}
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return &Authority{ca: ca, key: key, kept: map[string]*tls.Certificate{}}, nil
}

// Certificate gives a host's certificate, and keeps it for as long as it is good for a while.
func (a *Authority) Certificate(host string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.kept[host]; c != nil && time.Until(c.Leaf.NotAfter) > leafLife/4 {
		return c, nil
	}
	t, err := template(a.ca, []string{host})
	if err != nil {
		return nil, err
	}
	t.NotAfter = time.Now().Add(leafLife)
	der, err := sign(t, a.ca, a.key)
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
	if c.Leaf, err = parse(der); err != nil {
		return nil, err
	}
	if len(a.kept) >= maxKept {
		clear(a.kept)
	}
	a.kept[host] = c
	return c, nil
}
