package credential

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
)

// Source gives the gateway's own credential for an upstream. It is read late: for each request or handshake.
type Source interface {
	// apply sets the credential on a request; a source that works in the handshake does nothing.
	apply(*http.Request) error
	// certificate answers the handshake's request for a client certificate, as in tls.Config.
	certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

// Token is a bearer token given by get, which is called for every request.
func Token(get func() (string, error)) Source { return token{get} }

// TokenFile is a bearer token in a file, read for every request, so that it can be rotated in place.
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

type token struct{ get func() (string, error) }

func (t token) apply(r *http.Request) error {
	v, err := t.get()
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+v)
	return nil
}

func (token) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return &tls.Certificate{}, nil
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
