package identity_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
	"gatebook/internal/identity"
	"gatebook/internal/identity/identitytest"
)

// idp is the configuration of an OIDC issuer that the fake serves.
func idp(f *identitytest.Issuer) identity.Issuer {
	return identity.Issuer{Name: "idp", URL: f.URL(), Audiences: []string{"gatebook"}, Keys: identity.Keys{Client: f.Client()}}
}

func start(t testing.TB, o identity.Options) *identity.Authenticator {
	t.Helper()
	a, err := identity.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// refused returns the refusal that token gets, and fails if it leaks any long part of the token.
func refused(t testing.TB, a *identity.Authenticator, token string) *access.Refusal {
	t.Helper()
	p, err := a.Authenticate(t.Context(), token)
	var r *access.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("accepted as %+v, err %v", p, err)
	}
	if !p.IsZero() {
		t.Errorf("a refusal came with principal %+v", p)
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 40 && strings.Contains(r.Error(), part) {
			t.Errorf("the refusal repeats part of the token: %s", r.Error())
		}
	}
	return r
}

func wantRefused(t testing.TB, a *identity.Authenticator, token, message string) {
	t.Helper()
	if r := refused(t, a, token); r.Code != access.CodeUnauthenticated || !strings.Contains(r.Message, message) {
		t.Errorf("refused with %s %q, want %q", r.Code, r.Message, message)
	}
}

func TestPersonByDiscovery(t *testing.T) {
	f := identitytest.New(t)
	a := start(t, identity.Options{Issuers: []identity.Issuer{idp(f)}})
	now := time.Now()
	got, err := a.Authenticate(t.Context(), f.Sign(f.Claims(now, "gatebook", map[string]any{
		"groups": []string{"dev", "admins", "dev"}, "jti": "t-1",
		"email": "ada@example.com", "email_verified": true, "preferred_username": "ada.l",
	})))
	if err != nil {
		t.Fatal(err)
	}
	want := access.Principal{
		Issuer: "idp", Subject: "ada", Name: "ada", Groups: []string{"admins", "dev"},
		Aliases: []string{"ada@example.com", "ada.l"}, TokenID: "t-1",
		Expires: time.Unix(now.Add(10*time.Minute+30*time.Second).Unix(), 0).UTC(),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestUnverifiedEmailIsNoAlias(t *testing.T) {
	f := identitytest.New(t)
	a := start(t, identity.Options{Issuers: []identity.Issuer{idp(f)}})
	for _, verified := range []any{nil, false, "true", 1} {
		p, err := a.Authenticate(t.Context(), f.Sign(f.Claims(time.Now(), "gatebook", map[string]any{"email": "root@example.com", "email_verified": verified})))
		if err != nil || len(p.Aliases) != 0 {
			t.Errorf("email_verified %v: aliases %q, %v", verified, p.Aliases, err)
		}
	}
	byEmail := idp(f)
	byEmail.Claims.Username = "email"
	b := start(t, identity.Options{Issuers: []identity.Issuer{byEmail}})
	wantRefused(t, b, f.Sign(f.Claims(time.Now(), "gatebook", map[string]any{"email": "root@example.com"})), "not verified")
}

func TestWorkloadByAPIServer(t *testing.T) {
	f := identitytest.New(t)
	claims := f.Claims(time.Now(), "gatebook", identitytest.Workload("agents", "claude", "claude-0"))
	claims["iss"], claims["jti"] = "https://kubernetes.default.svc", "t-2"
	a := start(t, identity.Options{Issuers: []identity.Issuer{{
		Name: "cluster", URL: "https://kubernetes.default.svc", Kind: identity.Kubernetes, Audiences: []string{"gatebook"},
		Keys: identity.Keys{APIServer: f.URL(), Client: f.Client()},
	}}})
	got, err := a.Authenticate(t.Context(), f.Sign(claims))
	if err != nil {
		t.Fatal(err)
	}
	want := access.Principal{
		Issuer: "cluster", Subject: "system:serviceaccount:agents:claude", Name: "system:serviceaccount:agents:claude",
		Groups: []string{"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:agents"},
		Workload: access.Workload{
			Namespace: "agents", ServiceAccount: "claude", ServiceAccountUID: "uid-of-claude",
			Pod: "claude-0", PodUID: "uid-of-claude-0", Node: "node-1", NodeUID: "uid-of-node-1",
		},
		TokenID: "t-2", Expires: got.Expires,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	claims["sub"] = "system:serviceaccount:kube-system:admin"
	wantRefused(t, a, f.Sign(claims), "not the service account")
	delete(claims, "kubernetes.io")
	wantRefused(t, a, f.Sign(claims), "not a bound service-account token")
}

// Two clusters often have the same issuer URL; their keys tell them apart.
func TestClustersThatShareAURL(t *testing.T) {
	east, west := identitytest.New(t), identitytest.New(t)
	cluster := func(name, prefix string, f *identitytest.Issuer) identity.Issuer {
		return identity.Issuer{
			Name: name, URL: "https://kubernetes.default.svc", Kind: identity.Kubernetes, Audiences: []string{"gatebook"},
			Keys: identity.Keys{Static: f.Public()}, Claims: identity.Mapping{UsernamePrefix: prefix},
		}
	}
	a := start(t, identity.Options{Issuers: []identity.Issuer{cluster("east", "", east), cluster("west", "west:", west)}})
	sign := func(f *identitytest.Issuer, extra map[string]any) string {
		c := f.Claims(time.Now(), "gatebook", identitytest.Workload("agents", "claude", "claude-0"))
		c["iss"] = "https://kubernetes.default.svc"
		for k, v := range extra {
			c[k] = v
		}
		return f.Sign(c)
	}
	for f, want := range map[*identitytest.Issuer]string{east: "system:serviceaccount:agents:claude", west: "west:system:serviceaccount:agents:claude"} {
		p, err := a.Authenticate(t.Context(), sign(f, nil))
		if err != nil || p.Name != want {
			t.Errorf("name %q, %v; want %q", p.Name, err, want)
		}
	}
	wantRefused(t, a, sign(west, map[string]any{"exp": 1}), "expired at 1970-01-01T00:00:01Z")
}

func TestRequiredClaims(t *testing.T) {
	f := identitytest.New(t)
	i := idp(f)
	i.Required = map[string]string{"hd": "example.com", "mfa": "true"}
	a := start(t, identity.Options{Issuers: []identity.Issuer{i}})
	ok := map[string]any{"hd": []string{"x", "example.com"}, "mfa": true}
	if _, err := a.Authenticate(t.Context(), f.Sign(f.Claims(time.Now(), "gatebook", ok))); err != nil {
		t.Error(err)
	}
	wantRefused(t, a, f.Sign(f.Claims(time.Now(), "gatebook", map[string]any{"hd": "example.com"})), `claim "mfa"`)
}

func TestNewRefusesUnsafeConfiguration(t *testing.T) {
	ok := identity.Issuer{Name: "a", URL: "https://a.example", Audiences: []string{"gatebook"}}
	other := func(m identity.Mapping) identity.Issuer {
		return identity.Issuer{Name: "b", URL: "https://b.example", Audiences: []string{"gatebook"}, Claims: m}
	}
	with := func(change func(*identity.Issuer)) []identity.Issuer {
		i := ok
		change(&i)
		return []identity.Issuer{i}
	}
	for want, issuers := range map[string][]identity.Issuer{
		"no issuer":             nil,
		"issuer name":           with(func(i *identity.Issuer) { i.Name = "a|b" }),
		"configured twice":      {ok, ok},
		"url is missing":        with(func(i *identity.Issuer) { i.URL = "" }),
		"kind":                  with(func(i *identity.Issuer) { i.Kind = "saml" }),
		"audiences":             with(func(i *identity.Issuer) { i.Audiences = nil }),
		"audiences: at":         with(func(i *identity.Issuer) { i.Audiences = []string{""} }),
		`algorithm "HS256"`:     with(func(i *identity.Issuer) { i.Algorithms = []string{"HS256"} }),
		`algorithm "none"`:      with(func(i *identity.Issuer) { i.Algorithms = []string{"none"} }),
		"skew":                  with(func(i *identity.Issuer) { i.Skew = time.Hour }),
		"https only":            with(func(i *identity.Issuer) { i.URL = "http://a.example" }),
		"only one of":           with(func(i *identity.Issuer) { i.Keys.File, i.Keys.URL = "x", "https://x" }),
		"at least 10s":          with(func(i *identity.Issuer) { i.Keys.Refresh = time.Second }),
		"shorter than":          with(func(i *identity.Issuer) { i.Keys.MaxStale = time.Minute }),
		"none of 1 is a public": with(func(i *identity.Issuer) { i.Keys.Static = []byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`) }),
		`begin with "system:"`:  with(func(i *identity.Issuer) { i.Claims.UsernamePrefix = "system:x" }),
		`names that begin with`: with(func(i *identity.Issuer) { i.Claims.GroupsPrefix = "sys" }),
		"none of 1 is a publ":   with(func(i *identity.Issuer) { i.Keys.Static = privateSet(t) }),
		`prefixes "" and ""`:    {ok, other(identity.Mapping{})},
		`prefixes "x" and "xy"`: {with(func(i *identity.Issuer) { i.Claims.UsernamePrefix = "x" })[0], other(identity.Mapping{UsernamePrefix: "xy"})},
		`group prefixes "g:" an`: {
			with(func(i *identity.Issuer) { i.Claims.GroupsPrefix = "g:" })[0],
			other(identity.Mapping{UsernamePrefix: "b:", GroupsPrefix: "g:"}),
		},
	} {
		a, err := identity.New(t.Context(), identity.Options{Issuers: issuers})
		if err == nil {
			a.Close()
			t.Errorf("accepted, want an error with %q", want)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want %q", err, want)
		}
	}
}

// privateSet is a key set that should never have been handed out.
func privateSet(t *testing.T) []byte {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: identitytest.RSAKey(t), KeyID: "private"}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRevokedTokenIsRefused(t *testing.T) {
	f := identitytest.New(t)
	revocations := identity.NewRevocations(nil)
	a := start(t, identity.Options{Issuers: []identity.Issuer{idp(f)}, Revocations: revocations})
	token := f.Sign(f.Claims(time.Now(), "gatebook", nil))
	p, err := a.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	revocations.Add(access.Revocation{ID: "r1", TokenID: p.TokenID, Reason: "internal matter", By: "idp|bob"})
	r := refused(t, a, token)
	if r.Code != access.CodeRevoked || strings.Contains(r.Message, "internal matter") || !strings.Contains(r.Error(), "internal matter") {
		t.Errorf("refused with %v", r)
	}
}

func BenchmarkAuthenticateKnownToken(b *testing.B) {
	f := identitytest.New(b)
	a := start(b, identity.Options{Issuers: []identity.Issuer{idp(f)}, Revocations: identity.NewRevocations(nil)})
	ctx := context.Background()
	token := f.Sign(f.Claims(time.Now(), "gatebook", nil))
	b.SetBytes(int64(len(token)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(ctx, token); err != nil {
			b.Fatal(err)
		}
	}
}
