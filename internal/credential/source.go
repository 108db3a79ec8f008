package credential

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// Source gives the gateway's own credential for an upstream. It is read late: while requests come, at most tokenLife
// before, or for each handshake.
type Source interface {
	// apply sets the credential on a request; a source that works in the handshake does nothing.
	apply(*http.Request) error
	// certificate answers the handshake's request for a client certificate, as in tls.Config.
	certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

// None is no credential, for an upstream that asks for none.
func None() Source { return none{} }

type none struct{}

func (none) apply(*http.Request) error { return nil }

func (none) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return &tls.Certificate{}, nil
}

// Header is a secret given by get, which is called for every request, in a header of that name, such as X-Api-Key.
func Header(name string, get func() (string, error)) Source { return header{none{}, name, get} }

type header struct {
	none
	name string
	get  func() (string, error)
}

func (h header) apply(r *http.Request) error {
	v, err := h.get()
	if err != nil {
		return err
	}
	r.Header.Set(h.name, v)
	return nil
}

// Basic is user and password (RFC 7617), the password given by get, which is called for every request.
func Basic(user string, get func() (string, error)) Source { return basic{none{}, user, get} }

type basic struct {
	none
	user string
	get  func() (string, error)
}

func (b basic) apply(r *http.Request) error {
	v, err := b.get()
	if err != nil {
		return err
	}
	r.SetBasicAuth(b.user, v)
	return nil
}

// tokenLife is how long a bearer token is used without asking for it again: reading a file costs more than masking a
// small answer. What rotates a token leaves the old one valid for longer than that.
const tokenLife = time.Second

// Token is a bearer token given by get, which is called again once what it gave is tokenLife old.
func Token(get func() (string, error)) Source { return &token{get: get, now: time.Now} }

// TokenFile is a bearer token in a file, read again as Token says, so that it can be rotated in place.
func TokenFile(path string) Source {
	return Token(func() (string, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		t := string(bytes.TrimSpace(b))
		if t == "" {
			return "", fmt.Errorf("token file %s is empty", path)
		}
		return t, nil
	})
}

type token struct {
	none
	get  func() (string, error)
	now  func() time.Time
	kept atomic.Pointer[keptToken]
}

// keptToken is never changed: the header's value is shared by requests.
type keptToken struct {
	authorization []string
	until         time.Time
}

func (t *token) apply(r *http.Request) error {
	now := t.now()
	k := t.kept.Load()
	if k == nil || !now.Before(k.until) {
		v, err := t.get()
		if err != nil {
			return err
		}
		k = &keptToken{[]string{"Bearer " + v}, now.Add(tokenLife)}
		t.kept.Store(k)
	}
	r.Header["Authorization"] = k.authorization
	return nil
}

// Certificate is a client certificate given by get, which is called for every handshake.
func Certificate(get func() (*tls.Certificate, error)) Source { return certificate{get} }

type certificate struct {
	get func() (*tls.Certificate, error)
}

func (certificate) apply(*http.Request) error { return nil }

func (c certificate) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	cert, err := c.get()
	if err != nil {
		return nil, fmt.Errorf("reading the upstream client certificate: %w", err)
	}
	if cert == nil {
		return nil, errors.New("reading the upstream client certificate: there is none")
	}
	return cert, nil
}
