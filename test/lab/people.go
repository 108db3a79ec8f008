package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// peopleIssuer is the iss claim of the issuer that is made for a test: a company's identity provider, as far as the
// gateway can see.
const peopleIssuer = "https://people.test"

// people signs tokens for persons.
type people struct{ signer jose.Signer }

// newPeople makes an issuer, and writes its public keys into a file.
func newPeople(jwks string) (*people, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		return nil, err
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, nil)
	if err != nil {
		return nil, err
	}
	return &people{s}, os.WriteFile(jwks, b, 0o644)
}

func (p *people) token(name string, groups []string, life time.Duration) (string, error) {
	now := time.Now()
	return p.sign(map[string]any{"iss": peopleIssuer, "aud": "gatebook", "sub": name, "groups": groups,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(life).Unix(), "jti": fmt.Sprintf("%s-%d", name, now.UnixNano())})
}

func (p *people) sign(claims map[string]any) (string, error) {
	b, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	s, err := p.signer.Sign(b)
	if err != nil {
		return "", err
	}
	return s.CompactSerialize()
}

// Sign gives a token of the people's issuer with exactly these claims: one that a broken or foreign issuer could make.
func (g *Gateway) Sign(claims map[string]any) string {
	g.t.Helper()
	s, err := g.people.sign(claims)
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}
