package identity

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// FuzzParse: whatever arrives is refused or taken apart in a way that the signature library agrees with.
func FuzzParse(f *testing.F) {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	f.Add(part(`{"alg":"RS256","kid":"k"}`) + "." + part(`{"iss":"https://a"}`) + "." + part("s"))
	f.Add(part(`{"alg":"none","crit":[]}`) + "." + part(`{}`) + ".")
	f.Add("a.b.c")
	f.Add(`{"payload":"e30","protected":"e30","signature":"e30"}`)
	f.Fuzz(func(t *testing.T, raw string) {
		tok, err := parse(raw)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if strings.Count(raw, ".") != 2 || tok.header.Critical != nil || len(raw) > MaxTokenBytes {
			t.Fatalf("accepted %q", raw)
		}
		jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(tok.header.Algorithm)})
		if err != nil {
			return
		}
		if h := jws.Signatures[0].Header; h.Algorithm != tok.header.Algorithm || h.KeyID != tok.header.KeyID {
			t.Fatalf("the library reads %q %q, we read %q %q", h.Algorithm, h.KeyID, tok.header.Algorithm, tok.header.KeyID)
		}
	})
}

// FuzzClaims: whatever a trusted issuer signs, an accepted principal is whole, shown and its own.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"sub":"ada","aud":"gatebook","exp":1000000060,"groups":["a"],"email":"a@b","email_verified":true}`))
	f.Add([]byte(`{"sub":"system:serviceaccount:a:b","aud":["gatebook"],"exp":1000000060,"kubernetes.io":{"namespace":"a","serviceaccount":{"name":"b"}}}`))
	f.Add([]byte(`{"sub":"ada","aud":["x","gatebook"],"azp":"gatebook","exp":1e9,"nbf":1,"iat":9e99}`))
	now := time.Unix(1000000000, 0)
	o := Options{Issuers: []Issuer{
		{Name: "people", URL: "https://a", Audiences: []string{"gatebook"}},
		{Name: "partner", URL: "https://b", Audiences: []string{"gatebook"}, Claims: Mapping{UsernamePrefix: "p:"}},
		{Name: "cluster", URL: "https://c", Kind: Kubernetes, Audiences: []string{"gatebook"}},
	}}.withDefaults()
	if err := o.validate(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for n := range o.Issuers {
			i := newIssuer(&o.Issuers[n], o)
			p, err := i.principal(token{raw: "a.b.c"}, payload, now)
			if err != nil {
				continue
			}
			if p.IsZero() || p.Name == "" || p.TokenID == "" || !now.Before(p.Expires) {
				t.Fatalf("%s: %+v", i.Name, p)
			}
			for _, name := range append([]string{p.Name, p.Subject}, p.Groups...) {
				if checkName(name) != nil {
					t.Fatalf("%s: name %q", i.Name, name)
				}
			}
			if strings.HasPrefix(p.Name, reserved) != (i.Name == "cluster") || strings.HasPrefix(p.Name, "p:") != (i.Name == "partner") {
				t.Fatalf("%s: name %q", i.Name, p.Name)
			}
		}
	})
}
