package credential

import (
	"errors"
	"strings"
	"testing"

	"gatebook/internal/access"
)

// A service account is somebody else in every cluster: it acts as itself in its own, and as nobody's namesake elsewhere.
func TestAccountsOfOtherClusters(t *testing.T) {
	account := func(name, group string) access.Principal {
		p := agent
		p.Subject = "system:serviceaccount:agents:claude"
		p.Name, p.Groups = name+p.Subject, []string{"system:authenticated", group + "system:serviceaccounts", group + "system:serviceaccounts:agents"}
		p.Workload.Namespace, p.Workload.ServiceAccount = "agents", "claude"
		return p
	}
	const bare = "system:serviceaccount:agents:claude"
	for name, c := range map[string]struct {
		by   access.Principal
		own  bool
		user string // empty: refused
		uid  string
	}{
		"its own":                    {account("", ""), true, bare, "sa-uid"},
		"its own, by a prefix":       {account("b:", "b:"), true, bare, "sa-uid"},
		"another's":                  {account("", ""), false, "", ""},
		"another's, by a prefix":     {account("b:", "b:"), false, "b:" + bare, ""},
		"another's, groups without":  {account("b:", ""), false, "", ""},
		"a person":                   {access.Principal{Issuer: "people", Subject: "1", Name: "ada", Groups: []string{"dev"}}, false, "ada", ""},
		"a person in a system group": {access.Principal{Issuer: "people", Subject: "1", Name: "ada", Groups: []string{"system:masters"}}, false, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFar(t)
			u := newUpstream(t, Options{URL: f.URL, CA: f.ca(), Own: func(access.Principal) bool { return c.own }})
			_, err := send(t, u, permit(t, c.by), "/api", nil)
			got := f.take()
			if c.user == "" {
				var why *access.Refusal
				if !errors.As(err, &why) || why.Code != access.CodeDenied || len(got) != 0 {
					t.Fatalf("%v; upstream got %d requests", err, len(got))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			h := got[0].Header
			if h.Get("Impersonate-User") != c.user || h.Get("Impersonate-Uid") != c.uid {
				t.Errorf("upstream saw %v", h)
			}
			if groups := strings.Join(h["Impersonate-Group"], ","); c.own && !strings.Contains(groups, ",system:serviceaccounts,system:serviceaccounts:agents") {
				t.Errorf("upstream saw the groups %s", groups)
			}
			for k := range h {
				if !c.own && strings.HasPrefix(k, "Impersonate-Extra-") {
					t.Errorf("upstream saw a pod of another cluster: %s", k)
				}
			}
		})
	}
}
