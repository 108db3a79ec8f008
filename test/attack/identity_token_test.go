package attack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatebook/test/lab"
)

// tokenClaims are good ones of the people's issuer, changed by kv.
func tokenClaims(kv map[string]any) map[string]any {
	now := time.Now()
	c := map[string]any{"iss": "https://people.test", "aud": "gatebook", "sub": "mallory", "groups": []string{"approvers", "auditors", "admins"},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	maps.Copy(c, kv)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// forge signs claims with a key and a header of the attacker's choice.
func forge(t *testing.T, alg jose.SignatureAlgorithm, key any, header map[string]any, c map[string]any) string {
	t.Helper()
	o := &jose.SignerOptions{}
	for k, v := range header {
		o.WithHeader(jose.HeaderKey(k), v)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	out, err := sig.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// unsigned writes a token by hand.
func unsigned(t *testing.T, header, c map[string]any, signature string) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return part(header) + "." + part(c) + "." + signature
}

// refusesToken asserts that nothing is had with a token: not the cluster, not Gatebook's own API; and that the cluster
// was never asked for whom it names.
func refusesToken(t *testing.T, g *lab.Gateway, token string) {
	t.Helper()
	for _, proto := range []string{h1, h2} {
		a := over(t, g, proto).do(request{path: "/t/lab/api/v1/namespaces", token: token})
		if s := a.status(t); a.code != http.StatusUnauthorized || s.Reason != "Unauthorized" {
			t.Errorf("the cluster over %s: %d %.200q", proto, a.code, a.body)
		}
	}
	for _, path := range []string{"whoami", "approvals", "operations"} {
		if a := over(t, g, h1).do(request{path: "/gatebook/v1/" + path, token: token}); a.code != http.StatusUnauthorized {
			t.Errorf("%s: %d %.200q", path, a.code, a.body)
		}
	}
}

// I76: a token that is not signed by the issuer's own key, by the issuer's own algorithm, is none.
func TestI76ForgedSignatures(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{})
	if a := over(t, g, h1).do(request{path: "/gatebook/v1/whoami", token: g.Sign(tokenClaims(nil))}); a.code != http.StatusOK {
		t.Fatalf("a good token: %d %s", a.code, a.body)
	}
	jwks, err := os.ReadFile(filepath.Join(g.Dir, "people.jwks"))
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(jwks, &set); err != nil {
		t.Fatal(err)
	}
	public := set.Keys[0].Key.(*ecdsa.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := g.Sign(tokenClaims(nil))
	parts := strings.Split(good, ".")
	kid := map[string]any{"kid": "1"}
	for name, token := range map[string]string{
		"none":                         unsigned(t, map[string]any{"alg": "none"}, tokenClaims(nil), ""),
		"None":                         unsigned(t, map[string]any{"alg": "None", "kid": "1"}, tokenClaims(nil), "AA"),
		"no alg":                       unsigned(t, map[string]any{"typ": "JWT", "kid": "1"}, tokenClaims(nil), parts[2]),
		"none, a real signature":       unsigned(t, map[string]any{"alg": "none", "kid": "1"}, tokenClaims(nil), parts[2]),
		"HS256 by the public key, DER": forge(t, jose.HS256, der, kid, tokenClaims(nil)),
		"HS256 by the public key, PEM": forge(t, jose.HS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), kid, tokenClaims(nil)),
		"HS256 by the key set":         forge(t, jose.HS256, jwks, kid, tokenClaims(nil)),
		"another key, its kid":         forge(t, jose.ES256, own, kid, tokenClaims(nil)),
		"another key, no kid":          forge(t, jose.ES256, own, nil, tokenClaims(nil)),
		"another type of key":          forge(t, jose.RS256, other, kid, tokenClaims(nil)),
		"an algorithm not accepted":    forge(t, jose.PS256, other, kid, tokenClaims(nil)),
		"other claims, old signature":  parts[0] + "." + strings.Split(g.Sign(tokenClaims(map[string]any{"sub": "ada"})), ".")[1] + "." + parts[2],
		"no signature":                 parts[0] + "." + parts[1] + ".",
		"two parts":                    parts[0] + "." + parts[1],
		"zero signature":               parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		"crit":                         unsigned(t, map[string]any{"alg": "ES256", "kid": "1", "crit": []string{"x"}, "x": 1}, tokenClaims(nil), parts[2]),
	} {
		t.Run(name, func(t *testing.T) { refusesToken(t, g, token) })
	}
}

// I77: a token does not bring its key, nor say where it is; and tokens with key ids that nobody knows do not make the
// gateway ask the issuer again and again.
func TestI77KeysOfTheAttacker(t *testing.T) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var fetched, lured atomic.Int64
	public := jose.JSONWebKey{Key: own.Public(), KeyID: "evil", Algorithm: "ES256", Use: "sig"}
	theirs := jose.JSONWebKey{Key: must2(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t).Public(), KeyID: "good", Algorithm: "ES256", Use: "sig"}
	serve := func(n *atomic.Int64, k jose.JSONWebKey) *httptest.Server {
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k}}); err != nil {
				t.Error(err)
			}
		}))
		t.Cleanup(s.Close)
		return s
	}
	issuer, trap := serve(&fetched, theirs), serve(&lured, public)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	g := cluster.StartGateway(t, binary, lab.Options{Issuers: fmt.Sprintf("  - {name: remote, usernamePrefix: 'remote:', groupsPrefix: 'remote:', url: 'https://remote.test', audiences: [gatebook], jwksURL: '%s/jwks', caFile: '%s'}\n", issuer.URL, ca)})
	for deadline := time.Now().Add(lab.Patience); fetched.Load() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the keys are never fetched")
		}
	}
	remote := tokenClaims(map[string]any{"iss": "https://remote.test"})
	chain := []string{base64.StdEncoding.EncodeToString(trap.Certificate().Raw)}
	for name, header := range map[string]map[string]any{
		"jwk":             {"jwk": public},
		"jwk and its kid": {"jwk": public, "kid": "evil"},
		"jwk, their kid":  {"jwk": public, "kid": "good"},
		"jku":             {"jku": trap.URL + "/jwks", "kid": "evil"},
		"x5u":             {"x5u": trap.URL + "/cert", "kid": "evil"},
		"x5c":             {"x5c": chain, "kid": "evil"},
		"kid is a path":   {"kid": "../../../../dev/null"},
		"kid is a URL":    {"kid": trap.URL + "/jwks"},
	} {
		t.Run(name, func(t *testing.T) { refusesToken(t, g, forge(t, jose.ES256, own, header, remote)) })
	}
	before, c := fetched.Load(), over(t, g, h1)
	for i := range 200 {
		a := c.do(request{path: "/t/lab/version", token: forge(t, jose.ES256, own, map[string]any{"kid": fmt.Sprint("unknown-", i)}, remote)})
		if a.code != http.StatusUnauthorized {
			t.Fatalf("kid %d: %d %s", i, a.code, a.body)
		}
	}
	if n := fetched.Load() - before; n > 2 { // one in 10 s, and the flood may last longer than that on a slow machine
		t.Errorf("200 unknown key ids made the gateway fetch the keys %d times", n)
	}
	if n := lured.Load(); n > 0 {
		t.Errorf("the attacker's server was asked %d times", n)
	}
}

// must2 gives a value that is there.
func must2[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// I78: a token that is rightly signed, and for somebody else, for another time, or of another issuer.
func TestI78WrongClaims(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{})
	now := time.Now()
	for name, kv := range map[string]map[string]any{
		"issuer":                   {"iss": "https://evil.test"},
		"issuer with a slash":      {"iss": "https://people.test/"},
		"the cluster as issuer":    {"iss": "https://issuer.gatebook", "sub": "system:serviceaccount:kube-system:admin"},
		"no issuer":                {"iss": nil},
		"audience":                 {"aud": "https://kubernetes.default.svc"},
		"audience in another case": {"aud": "Gatebook"},
		"no audience":              {"aud": nil},
		"empty audiences":          {"aud": []string{}},
		"for others too, no azp":   {"aud": []string{"gatebook", "other"}},
		"azp":                      {"azp": "other"},
		"for others, azp":          {"aud": []string{"gatebook", "other"}, "azp": "other"},
		"expired":                  {"exp": now.Add(-2 * time.Minute).Unix()},
		"no expiry":                {"exp": nil},
		"expiry as text":           {"exp": fmt.Sprint(now.Add(time.Hour).Unix())},
		"not yet valid":            {"nbf": now.Add(10 * time.Minute).Unix()},
		"issued in the future":     {"iat": now.Add(10 * time.Minute).Unix()},
		"no subject":               {"sub": nil},
		"empty subject":            {"sub": ""},
		"subject is a list":        {"sub": []string{"ada"}},
		"groups are no list":       {"groups": map[string]any{"a": "approvers"}},
		"a subject of the system":  {"sub": "system:admin"},
		"a group of the system":    {"groups": []string{"system:masters"}},
		"a subject with a newline": {"sub": "ada\nroot"},
	} {
		t.Run(name, func(t *testing.T) { refusesToken(t, g, g.Sign(tokenClaims(kv))) })
	}
}
