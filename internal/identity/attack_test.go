package identity_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatebook/internal/identity"
	"gatebook/internal/identity/identitytest"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func payload(t testing.TB, claims map[string]any) string {
	t.Helper()
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return b64(string(b))
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestI76AlgorithmNone(t *testing.T) {
	f := identitytest.New(t)
	a := start(t, identity.Options{Issuers: []identity.Issuer{idp(f)}})
	claims := payload(t, f.Claims(time.Now(), "gatebook", nil))
	for _, alg := range []string{"none", "None", "NONE", "nOnE", ""} {
		for _, signature := range []string{"", "AA", b64("x")} {
			wantRefused(t, a, b64(fmt.Sprintf(`{"alg":%q,"kid":"key-1"}`, alg))+"."+claims+"."+signature, "")
		}
	}
	signed := strings.Split(f.Sign(f.Claims(time.Now(), "gatebook", nil)), ".")
	wantRefused(t, a, b64(`{"alg":"none"}`)+"."+signed[1]+"."+signed[2], `algorithm "none" is not accepted`)
	wantRefused(t, a, b64(`{"kid":"key-1"}`)+"."+signed[1]+"."+signed[2], `algorithm "" is not accepted`)
}

// The issuer's public key, in every form that a library could take for a secret.
func TestI76HMACWithThePublicKey(t *testing.T) {
	f := identitytest.New(t)
	a := start(t, identity.Options{Issuers: []identity.Issuer{idp(f)}})
	der, err := x509.MarshalPKIXPublicKey(f.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PublicKey(f.PublicKey().(*rsa.PublicKey))
	secrets := [][]byte{
		der, pkcs1, f.Public(), f.PublicKey().(*rsa.PublicKey).N.Bytes(),
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1}),
	}
	for _, secret := range secrets {
		for _, alg := range []string{"HS256", "HS384", "HS512"} {
			if len(secret) < 64 {
				t.Fatal("secret is too short to sign with")
			}
			token := identitytest.Sign(t, alg, secret, f.Claims(time.Now(), "gatebook", nil), map[string]any{"kid": "key-1"})
			wantRefused(t, a, token, "algorithm")
		}
	}
}

// A key set with a symmetric key would let anyone who can read it sign.
func TestI76SymmetricKeyInTheSet(t *testing.T) {
	f := identitytest.New(t)
	secret := []byte(strings.Repeat("s", 64))
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: secret, KeyID: "key-1", Algorithm: "HS256", Use: "sig"},
		{Key: f.PublicKey(), KeyID: "key-2", Algorithm: "RS256", Use: "sig"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	i := idp(f)
	i.Keys = identity.Keys{Static: set}
	a := start(t, identity.Options{Issuers: []identity.Issuer{i}})
	wantRefused(t, a, identitytest.Sign(t, "HS256", secret, f.Claims(time.Now(), "gatebook", nil), map[string]any{"kid": "key-1"}), "algorithm")
}

func TestI76WrongKeyType(t *testing.T) {
	f := identitytest.New(t)
	f.AddKey(ecKey(t, elliptic.P256()), "")
	f.AddKey(identitytest.RSAKey(t), "PS256")
	a := start(t, identity.Options{Issuers: []identity.Issuer{idp(f)}})
	claims := f.Claims(time.Now(), "gatebook", nil)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"ES256 under an RSA key id":         identitytest.Sign(t, "ES256", ecKey(t, elliptic.P256()), claims, map[string]any{"kid": "key-1"}),
		"ES384 under a P-256 key id":        identitytest.Sign(t, "ES384", ecKey(t, elliptic.P384()), claims, map[string]any{"kid": "key-2"}),
		"RS256 under an EC key id":          identitytest.Sign(t, "RS256", identitytest.RSAKey(t), claims, map[string]any{"kid": "key-2"}),
		"EdDSA under an RSA key id":         identitytest.Sign(t, "EdDSA", edwards, claims, map[string]any{"kid": "key-1"}),
		"RS256 under a key for PS256":       identitytest.Sign(t, "RS256", identitytest.RSAKey(t), claims, map[string]any{"kid": "key-3"}),
		"RS256 by a stranger":               identitytest.Sign(t, "RS256", identitytest.RSAKey(t), claims, map[string]any{"kid": "key-1"}),
		"RS256 by a stranger, no key id":    identitytest.Sign(t, "RS256", identitytest.RSAKey(t), claims, nil),
		"ES256 by a stranger, known key id": identitytest.Sign(t, "ES256", ecKey(t, elliptic.P256()), claims, map[string]any{"kid": "key-2"}),
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, a, token, "") })
	}
}

func TestI76KeysThatAreTooWeakOrNotForSignatures(t *testing.T) {
	f := identitytest.New(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	other := identitytest.RSAKey(t)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: &weak.PublicKey, KeyID: "weak"},
		{Key: &other.PublicKey, KeyID: "encryption", Use: "enc"},
		{Key: f.PublicKey(), KeyID: "good"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	i := idp(f)
	i.Keys = identity.Keys{Static: set}
	a := start(t, identity.Options{Issuers: []identity.Issuer{i}})
	claims := f.Claims(time.Now(), "gatebook", nil)
	wantRefused(t, a, identitytest.Sign(t, "RS256", weak, claims, map[string]any{"kid": "weak"}), "has no key")
	wantRefused(t, a, identitytest.Sign(t, "RS256", other, claims, map[string]any{"kid": "encryption"}), "has no key")
}

// A token must not bring its own key, nor say where it is.
func TestI77KeysInTheHeader(t *testing.T) {
	f := identitytest.New(t)
	evil := identitytest.New(t)
	var visits atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		visits.Add(1)
		w.Write(evil.Public())
	}))
	t.Cleanup(trap.Close)
	a := start(t, identity.Options{Issuers: []identity.Issuer{idp(f)}})
	own := identitytest.RSAKey(t)
	jwk := jose.JSONWebKey{Key: &own.PublicKey, KeyID: "key-1", Algorithm: "RS256"}
	certificate := base64.StdEncoding.EncodeToString([]byte("not even a certificate"))
	claims := f.Claims(time.Now(), "gatebook", nil)
	accept(t, a, f.SignWith(claims, map[string]any{"jku": trap.URL, "x5u": trap.URL})) // ignored, not fetched
	for name, header := range map[string]map[string]any{
		"jwk":       {"kid": "key-1", "jwk": jwk},
		"jwk alone": {"jwk": jwk},
		"jku":       {"kid": "key-1", "jku": trap.URL},
		"jku new":   {"kid": "mine", "jku": trap.URL},
		"x5u":       {"kid": "key-1", "x5u": trap.URL},
		"x5c":       {"kid": "key-1", "x5c": []string{certificate}},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, a, identitytest.Sign(t, "RS256", own, claims, header), "")
		})
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("a token made the gateway fetch %d times", n)
	}
}

func TestI77Malformed(t *testing.T) {
	f := identitytest.New(t)
	a := start(t, identity.Options{Issuers: []identity.Issuer{idp(f)}})
	good := f.Sign(f.Claims(time.Now(), "gatebook", nil))
	part := strings.Split(good, ".")
	claims := f.Claims(time.Now(), "gatebook", nil)
	full := fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, part[1], part[0], part[2])
	for name, token := range map[string]string{
		"nothing":            "",
		"two parts":          part[0] + "." + part[1],
		"five parts":         good + ".x.y",
		"JSON serialisation": full,
		"white space":        part[0] + "." + part[1] + "." + part[2][:8] + "\n" + part[2][8:],
		"leading space":      " " + good,
		"padding":            good + "=",
		"std alphabet":       part[0] + "." + part[1] + "." + "+/" + part[2][2:],
		"too long":           part[0] + "." + part[1] + "." + strings.Repeat("A", identity.MaxTokenBytes),
		"duplicate alg":      b64(`{"alg":"none","alg":"RS256","kid":"key-1"}`) + "." + part[1] + "." + part[2],
		"duplicate iss":      part[0] + "." + b64(`{"iss":"x","iss":"`+f.URL()+`"}`) + "." + part[2],
		"header is a list":   b64(`[]`) + "." + part[1] + "." + part[2],
		"header trailing":    b64(`{"alg":"RS256"}{}`) + "." + part[1] + "." + part[2],
		"crit":               f.SignWith(claims, map[string]any{"crit": []string{"b64"}, "b64": true}),
		"crit b64":           b64(`{"alg":"RS256","crit":["b64"],"b64":false}`) + "." + part[1] + "." + part[2],
		"crit null":          b64(`{"alg":"RS256","crit":null}`) + "." + part[1] + "." + part[2],
		"logout token":       f.SignWith(claims, map[string]any{"typ": "logout+jwt"}),
		"changed payload":    part[0] + "." + payload(t, f.Claims(time.Now(), "gatebook", map[string]any{"sub": "root"})) + "." + part[2],
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, a, token, "") })
	}
	for _, typ := range []string{"JWT", "jwt", "at+jwt", "application/at+jwt"} {
		if _, err := a.Authenticate(t.Context(), f.SignWith(claims, map[string]any{"typ": typ})); err != nil {
			t.Errorf("type %s: %v", typ, err)
		}
	}
}

func TestI78WrongClaims(t *testing.T) {
	f := identitytest.New(t)
	a := start(t, identity.Options{Issuers: []identity.Issuer{idp(f)}})
	now := time.Now()
	for _, c := range []struct {
		name, message string
		extra         map[string]any
	}{
		{"issuer", "is not known here", map[string]any{"iss": "https://evil.example"}},
		{"issuer with a slash", "is not known here", map[string]any{"iss": f.URL() + "/"}},
		{"no issuer", "is not known here", map[string]any{"iss": nil}},
		{"audience", "is not in", map[string]any{"aud": "https://kubernetes.default.svc"}},
		{"audience of another case", "is not in", map[string]any{"aud": "Gatebook"}},
		{"audiences", "is not in", map[string]any{"aud": []string{"a", "b"}}},
		{"no audience", "is not in", map[string]any{"aud": nil}},
		{"empty audiences", "is not in", map[string]any{"aud": []string{}}},
		{"audience is a number", "not", map[string]any{"aud": 7}},
		{"several audiences, no azp", "azp", map[string]any{"aud": []string{"gatebook", "other"}}},
		{"several audiences, foreign azp", "azp", map[string]any{"aud": []string{"gatebook", "other"}, "azp": "other"}},
		{"foreign azp", "azp", map[string]any{"azp": "other"}},
		{"azp is a list", "azp", map[string]any{"azp": []string{"gatebook"}}},
		{"expired", "expired at", map[string]any{"exp": now.Add(-31 * time.Second).Unix()}},
		{"no expiry", "no expiry", map[string]any{"exp": nil}},
		{"expiry is text", "not", map[string]any{"exp": "2999"}},
		{"expiry is too far to write", "not a time", map[string]any{"exp": 1e18}},
		{"negative expiry", "not a time", map[string]any{"exp": -1}},
		{"not yet valid", "not valid before", map[string]any{"nbf": now.Add(40 * time.Second).Unix()}},
		{"issued in the future", "not valid before", map[string]any{"iat": now.Add(40 * time.Second).Unix()}},
		{"no subject", "subject", map[string]any{"sub": nil}},
		{"subject is a number", "", map[string]any{"sub": 0}},
		{"bidi subject", "cannot be shown", map[string]any{"sub": "ada\u202egro.elpmaxe"}},
		{"control subject", "cannot be shown", map[string]any{"sub": "ada\x1b[2J"}},
		{"reserved name", "only a Kubernetes issuer", map[string]any{"sub": "system:admin"}},
		{"reserved group", "only a Kubernetes issuer", map[string]any{"groups": []string{"system:masters"}}},
		{"groups of objects", "list of strings", map[string]any{"groups": []any{map[string]any{"x": 1}}}},
	} {
		t.Run(c.name, func(t *testing.T) { wantRefused(t, a, f.Sign(f.Claims(now, "gatebook", c.extra)), c.message) })
	}
	for name, extra := range map[string]map[string]any{
		"within the leeway":       {"exp": now.Add(-20 * time.Second).Unix()},
		"nbf within the leeway":   {"nbf": now.Add(20 * time.Second).Unix()},
		"several audiences, azp":  {"aud": []string{"gatebook", "other"}, "azp": "gatebook"},
		"a fraction of a second":  {"exp": float64(now.Unix()) + 60.5},
		"upper-case names of own": {"EXP": 1, "Iss": "x"},
	} {
		if _, err := a.Authenticate(t.Context(), f.Sign(f.Claims(now, "gatebook", extra))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestI78AuthorizedParties(t *testing.T) {
	f := identitytest.New(t)
	i := idp(f)
	i.AuthorizedParties = []string{"cli"}
	a := start(t, identity.Options{Issuers: []identity.Issuer{i}})
	if _, err := a.Authenticate(t.Context(), f.Sign(f.Claims(time.Now(), "gatebook", map[string]any{"azp": "cli"}))); err != nil {
		t.Error(err)
	}
	wantRefused(t, a, f.Sign(f.Claims(time.Now(), "gatebook", map[string]any{"azp": "gatebook"})), "azp")
	wantRefused(t, a, f.Sign(f.Claims(time.Now(), "gatebook", nil)), "azp")
}

// Another issuer's valid token, with this one's name on it.
func TestI78OtherIssuersKey(t *testing.T) {
	f, g := identitytest.New(t), identitytest.New(t)
	second := idp(g)
	second.Name, second.Claims.UsernamePrefix = "partner", "partner:"
	a := start(t, identity.Options{Issuers: []identity.Issuer{idp(f), second}})
	wantRefused(t, a, g.Sign(f.Claims(time.Now(), "gatebook", nil)), "signature")
	p, err := a.Authenticate(t.Context(), g.Sign(g.Claims(time.Now(), "gatebook", map[string]any{"groups": "admins"})))
	if err != nil || p.Name != "partner:ada" || !p.InGroup("partner:admins") || p.InGroup("admins") {
		t.Errorf("%+v, %v", p, err)
	}
	wantRefused(t, a, f.Sign(f.Claims(time.Now(), "gatebook", map[string]any{"sub": "partner:ada"})), "belongs to another issuer")
	wantRefused(t, a, f.Sign(f.Claims(time.Now(), "gatebook", map[string]any{"groups": []string{"partner:x"}})), "belongs to another issuer")
}

// ECDSA signatures can be changed into other valid ones: the token's identity must not change with them.
func TestRevocationSurvivesMalleableSignatures(t *testing.T) {
	f := identitytest.New(t)
	key := ecKey(t, elliptic.P256())
	f.AddKey(key, "ES256")
	a := start(t, identity.Options{Issuers: []identity.Issuer{idp(f)}})
	token := f.Sign(f.Claims(time.Now(), "gatebook", nil))
	part := strings.Split(token, ".")
	sig, err := base64.RawURLEncoding.DecodeString(part[2])
	if err != nil {
		t.Fatal(err)
	}
	s := key.Params().N
	n := new(big.Int).SetBytes(sig[32:])
	n.Sub(s, n)
	n.FillBytes(sig[32:])
	other := part[0] + "." + part[1] + "." + base64.RawURLEncoding.EncodeToString(sig)
	first, err := a.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	second, err := a.Authenticate(t.Context(), other)
	if err != nil || other == token || first.TokenID != second.TokenID {
		t.Errorf("ids %q and %q, %v", first.TokenID, second.TokenID, err)
	}
}
