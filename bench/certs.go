package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// makeCertificate writes one self-signed P-256 certificate for localhost, which everything here serves with and trusts.
func makeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})
	for name, b := range map[string][]byte{"tls.crt": cert, "ca.crt": cert, "tls.key": secret, "haproxy.pem": append(slices.Clone(cert), secret...)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func certPool(dir string) (*x509.CertPool, error) {
	b, err := readFile(certPoolFile(dir))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, errors.New("the certificate that bench made is none")
	}
	return pool, nil
}

const issuer = "https://issuer.bench"

// makeIssuer writes the public key of an issuer, and gives a function that makes tokens of it.
func makeIssuer(file string) (func(subject string, groups ...string) (string, error), error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		return nil, err
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, nil)
	if err != nil {
		return nil, err
	}
	return func(subject string, groups ...string) (string, error) {
		now := time.Now()
		claims, err := json.Marshal(map[string]any{"iss": issuer, "aud": "gatebook", "sub": subject, "groups": groups,
			"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(3 * time.Hour).Unix(), "jti": fmt.Sprintf("%s-%d", subject, now.UnixNano())})
		if err != nil {
			return "", err
		}
		signed, err := s.Sign(claims)
		if err != nil {
			return "", err
		}
		return signed.CompactSerialize()
	}, nil
}
