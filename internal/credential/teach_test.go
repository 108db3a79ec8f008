package credential

import (
	"errors"
	"net/http"
	"testing"

	"gatebook/internal/access"
)

// A permit to read as the gateway leaves without impersonation, and is good for one pod or one Secret and nothing else.
func TestAsGateway(t *testing.T) {
	for _, c := range []struct {
		method, path string
		header       http.Header
		ok           bool
	}{
		{"GET", "/api/v1/namespaces/a/secrets/db", nil, true},
		{"GET", "/api/v1/namespaces/a/pods/web-0.x", nil, true},
		{"GET", "/api/v1/namespaces/a/secrets", nil, false},
		{"GET", "/api/v1/namespaces/a/secrets/", nil, false},
		{"GET", "/api/v1/namespaces/a/secrets/..", nil, false},
		{"GET", "/api/v1/namespaces/../secrets/db", nil, false},
		{"GET", "/api/v1/namespaces/a/secrets/a%2fb", nil, false},
		{"GET", "/api/v1/namespaces/a/secrets/db?watch=1", nil, false},
		{"GET", "/api/v1/namespaces/a/configmaps/db", nil, false},
		{"GET", "/api/v1/namespaces/a/pods/web/exec", nil, false},
		{"GET", "/api/v1/namespaces/a/pods/web", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, false},
		{"GET", "/apis/x/namespaces/a/secrets/db", nil, false},
		{"DELETE", "/api/v1/namespaces/a/secrets/db", nil, false},
		{"PUT", "/api/v1/namespaces/a/secrets/db", nil, false},
	} {
		f := newFar(t)
		u := newUpstream(t, Options{URL: f.URL, CA: f.ca()})
		r, err := http.NewRequestWithContext(t.Context(), c.method, c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.header != nil {
			r.Header = c.header
		}
		resp, err := u.RoundTrip(permitAs(t.Context(), t, agent, asGateway), r)
		got := f.take()
		if err == nil {
			resp.Body.Close()
		}
		var why *access.Refusal
		if (err == nil) != c.ok || (len(got) == 1) != c.ok || err != nil && (!errors.As(err, &why) || why.Code != access.CodeInternal) {
			t.Errorf("%s %s: %v, %d requests", c.method, c.path, err, len(got))
		}
		if len(got) == 1 && (got[0].Header.Get("Impersonate-User") != "" || got[0].Header.Get("Authorization") != "Bearer upstream-secret") {
			t.Errorf("%s %s: asked as %v", c.method, c.path, got[0].Header)
		}
	}
}
