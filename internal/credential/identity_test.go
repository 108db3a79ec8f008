package credential

import (
	"crypto/tls"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatebook/internal/access"
)

var agent = access.Principal{Issuer: "cluster", Subject: "system:serviceaccount:a:claude", Name: "system:serviceaccount:a:claude",
	Groups:   []string{"system:authenticated", "system:serviceaccounts"},
	Workload: access.Workload{Namespace: "a", ServiceAccount: "claude", ServiceAccountUID: "sa-uid", Pod: "web", PodUID: "pod-uid", Node: "n1", NodeUID: "node-uid"}}

// What speaks for somebody never goes upstream, in whichever case it is written; everything else does, unchanged.
func TestStripIdentity(t *testing.T) {
	names := []string{"Authorization", "Proxy-Authorization", "Cookie", "X-Forwarded-User", "X-Forwarded-Email", "Impersonate-User", "Impersonate-Group",
		"Impersonate-Uid", "Impersonate-Extra-Scopes", "Impersonate-Anything", "X-Remote-User", "X-Remote-Group", "X-Remote-Extra-Acme.com%2fproject",
		"Accept", "User-Agent", "X-Impersonate-User", "Content-Type", "If-Match", "Kubectl-Command", "Impersonator", "X-Remotely"}
	speaks := func(name string) bool {
		n := strings.ToLower(name)
		return slices.Contains([]string{"authorization", "proxy-authorization", "cookie", "x-forwarded-user", "x-forwarded-email"}, n) ||
			strings.HasPrefix(n, "impersonate-") || strings.HasPrefix(n, "x-remote-")
	}
	rapid.Check(t, func(t *rapid.T) {
		h, want := http.Header{}, http.Header{}
		for range rapid.IntRange(0, 12).Draw(t, "n") {
			name := []byte(rapid.SampledFrom(names).Draw(t, "name"))
			for i := range name { // as no parser has made it canonical
				switch rapid.IntRange(0, 5).Draw(t, "case") {
				case 0:
					name[i] = strings.ToUpper(string(name[i]))[0]
				case 1:
					name[i] = strings.ToLower(string(name[i]))[0]
				}
			}
			h[string(name)] = []string{"v", "w"}
			if !speaks(string(name)) {
				want[string(name)] = []string{"v", "w"}
			}
		}
		StripIdentity(h)
		if !maps.EqualFunc(h, want, slices.Equal) {
			t.Fatalf("got %v, want %v", h, want)
		}
	})
}

// Upstream sees the gateway's credential and the principal, whatever the client said.
func TestIdentityUpstream(t *testing.T) {
	for name, o := range map[string]struct {
		impersonate func(access.Principal) bool
		want        map[string]string // by header; empty: not there
	}{
		"impersonated": {nil, map[string]string{"Impersonate-User": agent.Name, "Impersonate-Group": "system:authenticated,system:serviceaccounts", "Impersonate-Uid": "sa-uid",
			"Impersonate-Extra-Authentication.kubernetes.io%2fpod-Name": "web", "Impersonate-Extra-Authentication.kubernetes.io%2fpod-Uid": "pod-uid",
			"Impersonate-Extra-Authentication.kubernetes.io%2fnode-Name": "n1", "Impersonate-Extra-Authentication.kubernetes.io%2fnode-Uid": "node-uid"}},
		"direct": {func(access.Principal) bool { return false }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFar(t)
			u := newUpstream(t, Options{URL: f.URL, CA: f.ca(), Impersonate: o.impersonate})
			p := permit(t, agent)
			if _, err := send(t, u, p, "/api", http.Header{"Authorization": {"Bearer stolen"}, "impersonate-user": {"admin"}, "Impersonate-Group": {"system:masters"},
				"X-Remote-User": {"root"}, "Connection": {"Impersonate-User"}, "Accept": {"application/json"}}); err != nil {
				t.Fatal(err)
			}
			got := f.take()[0]
			want := map[string]string{"Authorization": "Bearer upstream-secret", "Accept": "application/json"}
			maps.Copy(want, o.want)
			seen := map[string]string{}
			for k, v := range got.Header {
				if k == "Accept" || k == "Connection" || isIdentity(k) {
					seen[textproto.CanonicalMIMEHeaderKey(k)] = strings.Join(v, ",")
				}
			}
			if !maps.Equal(canonical(want), seen) {
				t.Errorf("upstream saw\n%v, want\n%v", seen, want)
			}
			if got.Host == "client.example" {
				t.Error("the client chose the host")
			}
		})
	}
}

func canonical(m map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[textproto.CanonicalMIMEHeaderKey(k)] = v
	}
	return out
}

// The client without a permit asks about tokens, and nothing else.
func TestForIdentity(t *testing.T) {
	f, elsewhere := newFar(t), newFar(t)
	u := newUpstream(t, Options{URL: f.URL + "/base", CA: append(f.ca(), elsewhere.ca()...)})
	for _, c := range []struct {
		method, url string
		ok          bool
	}{
		{"GET", f.URL + "/base/openid/v1/jwks", true},
		{"GET", f.URL + "/base/.well-known/openid-configuration", true},
		{"POST", f.URL + "/base/apis/authentication.k8s.io/v1/tokenreviews", true},
		{"POST", f.URL + "/base/openid/v1/jwks", false},
		{"GET", f.URL + "/base/apis/authentication.k8s.io/v1/tokenreviews", false},
		{"GET", f.URL + "/openid/v1/jwks", false},
		{"GET", f.URL + "/base/api/v1/secrets", false},
		{"GET", f.URL + "/base/openid/v1/../../api/v1/secrets", false},
		{"GET", f.URL + "/base/openid/v1/jwks/", false},
		{"GET", f.URL + "/base/openid%2Fv1/jwks", false},
		{"GET", elsewhere.URL + "/base/openid/v1/jwks", false},
		{"GET", strings.Replace(f.URL, "https:", "http:", 1) + "/base/openid/v1/jwks", false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Impersonate-User", "admin")
		resp, err := u.ForIdentity().Do(r)
		if err == nil {
			resp.Body.Close()
		}
		got := f.take()
		if (err == nil) != c.ok || (len(got) == 1) != c.ok || len(elsewhere.take()) > 0 {
			t.Errorf("%s %s: %v, %d requests", c.method, c.url, err, len(got))
		}
		if len(got) == 1 && (got[0].Header.Get("Impersonate-User") != "" || got[0].Header.Get("Authorization") != "Bearer upstream-secret") {
			t.Errorf("asked as %v", got[0].Header)
		}
	}
}

func TestSources(t *testing.T) {
	f := newFar(t)
	file := filepath.Join(t.TempDir(), "token")
	source, _ := TokenFile(file).(*token)
	now := time.Now()
	source.now = func() time.Time { return now }
	u := newUpstream(t, Options{URL: f.URL, CA: f.ca(), Secret: source})
	for _, c := range []struct {
		passed      time.Duration
		written, is string
	}{
		{0, "one", "one"}, {tokenLife - 1, "two", "one"}, {1, "two", "two"}, // rotated in place
		{tokenLife, "", ""}, {0, "", ""}, // what could not be read is asked for again, and the old one is not used
		{0, "three", "three"},
	} {
		now = now.Add(c.passed)
		if err := os.WriteFile(file, []byte(c.written+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := send(t, u, permit(t, agent), "/", nil)
		got := f.take()
		if (err == nil) != (c.is != "") || len(got) > 0 && got[0].Header.Get("Authorization") != "Bearer "+c.is || (len(got) > 0) != (c.is != "") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for name, s := range map[string]Source{
		"empty": TokenFile(os.DevNull), "missing": TokenFile(file + "x"),
		"certificate": Certificate(func() (*tls.Certificate, error) { return nil, nil }),
	} {
		f.TLS.ClientAuth = tls.NoClientCert
		if name == "certificate" {
			g := httptest.NewUnstartedServer(f)
			g.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
			g.StartTLS()
			t.Cleanup(g.Close)
			u = newUpstream(t, Options{URL: g.URL, CA: f.ca(), Secret: s})
		} else {
			u = newUpstream(t, Options{URL: f.URL, CA: f.ca(), Secret: s})
		}
		_, err := send(t, u, permit(t, agent), "/", nil)
		var why *access.Refusal
		if !errors.As(err, &why) || len(f.take()) > 0 || strings.Contains(why.Message, file) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
