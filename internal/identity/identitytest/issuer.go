// Package identitytest is an OpenID Connect issuer for tests: it serves discovery and keys over TLS, counts fetches, signs
// whatever claims it is given, right or wrong, and can rotate its keys and go away. It is no login server: that is
// identity/issuer.
package identitytest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Issuer is a running issuer. It is safe for concurrent use.
type Issuer struct {
	// Server serves discovery, keys below /keys and /openid/v1/jwks, over TLS.
	Server *httptest.Server
	// Fetches counts requests for keys.
	Fetches atomic.Int64
	// Down makes every request fail.
	Down atomic.Bool

	t    testing.TB
	mu   sync.Mutex
	keys []jose.JSONWebKey // private; the last one signs
}

// New starts an issuer with one RSA key, which ends with the test.
func New(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{t: t}
	i.Server = httptest.NewTLSServer(i)
	t.Cleanup(i.Server.Close)
	i.AddKey(RSAKey(t), "RS256")
	return i
}

// RSAKey makes a key of 2048 bits.
func RSAKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// URL is the issuer's iss claim.
func (i *Issuer) URL() string { return i.Server.URL }

// Client trusts the issuer's certificate.
func (i *Issuer) Client() *http.Client { return i.Server.Client() }

// AddKey publishes a private key, which signs from now on, and returns its id.
func (i *Issuer) AddKey(private any, algorithm string) (kid string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	kid = fmt.Sprintf("key-%d", len(i.keys)+1)
	i.keys = append(i.keys, jose.JSONWebKey{Key: private, KeyID: kid, Algorithm: algorithm, Use: "sig"})
	return kid
}

// DropKeys withdraws all keys but the last.
func (i *Issuer) DropKeys() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = i.keys[len(i.keys)-1:]
}

// Public is the key set as it is served.
func (i *Issuer) Public() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, k := range i.keys {
		set.Keys = append(set.Keys, k.Public())
	}
	b, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	return b
}

// PublicKey is the public half of the key that signs.
func (i *Issuer) PublicKey() crypto.PublicKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1].Public().Key
}

// ServeHTTP implements http.Handler.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if i.Down.Load() {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.URL(), i.URL()+"/keys")
	case "/keys", "/openid/v1/jwks":
		i.Fetches.Add(1)
		w.Write(i.Public())
	default:
		http.NotFound(w, r)
	}
}

// Claims are those of a token for audience that is valid for ten minutes around now, and extra ones. A nil value removes a claim.
func (i *Issuer) Claims(now time.Time, audience string, extra map[string]any) map[string]any {
	c := map[string]any{
		"iss": i.URL(), "sub": "ada", "aud": audience,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}
	maps.Copy(c, extra)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// Workload are the claims that a bound service-account token has beside Claims.
func Workload(namespace, serviceAccount, pod string) map[string]any {
	return map[string]any{
		"sub": "system:serviceaccount:" + namespace + ":" + serviceAccount,
		"kubernetes.io": map[string]any{
			"namespace":      namespace,
			"serviceaccount": map[string]any{"name": serviceAccount, "uid": "uid-of-" + serviceAccount},
			"pod":            map[string]any{"name": pod, "uid": "uid-of-" + pod},
			"node":           map[string]any{"name": "node-1", "uid": "uid-of-node-1"},
		},
	}
}

// Sign signs claims with the newest key.
func (i *Issuer) Sign(claims map[string]any) string {
	i.t.Helper()
	return i.SignWith(claims, nil)
}

// SignWith signs claims with the newest key, under a header with more fields.
func (i *Issuer) SignWith(claims, header map[string]any) string {
	i.t.Helper()
	i.mu.Lock()
	key := i.keys[len(i.keys)-1]
	i.mu.Unlock()
	all := map[string]any{"kid": key.KeyID}
	maps.Copy(all, header)
	return Sign(i.t, key.Algorithm, key.Key, claims, all)
}

// Sign makes a token of any claims and header fields.
func Sign(t testing.TB, algorithm string, key any, claims, header map[string]any) string {
	t.Helper()
	o := &jose.SignerOptions{}
	for k, v := range header {
		o.WithHeader(jose.HeaderKey(k), v)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
