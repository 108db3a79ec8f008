package identity

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Names are drawn from few letters, so that prefixes and names collide often.
func drawPrefix(t *rapid.T, label string) string {
	return rapid.SampledFrom([]string{"", "", "a", "a:", "ab", "b:", "s", "sys", "system", "system:", "a:system:", "A:"}).Draw(t, label)
}

func drawName(t *rapid.T, label string) string {
	parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", ":", "a:", "b:", "system:", "ystem:", "tem:", "s", "masters", "serviceaccount:"}), 1, 4).Draw(t, label)
	return strings.Join(parts, "")
}

func drawIssuer(t *rapid.T, name string) Issuer {
	return Issuer{
		Name: name, URL: "https://" + name + ".example", Audiences: []string{"gatebook"},
		Kind: rapid.SampledFrom([]Kind{OIDC, OIDC, Kubernetes}).Draw(t, name+" kind"),
		Claims: Mapping{
			UsernamePrefix: drawPrefix(t, name+" user prefix"),
			GroupsPrefix:   drawPrefix(t, name+" group prefix"),
		},
	}
}

func drawClaims(t *rapid.T, kind Kind, label string) claims {
	if kind == OIDC {
		return claims{"sub": drawName(t, label+" sub"), "groups": []any{rapid.SampledFrom([]string{"a", "b:a", "a:a", "system:a"}).Draw(t, label+" group")}}
	}
	ns := rapid.SampledFrom([]string{"a", "b", "masters"}).Draw(t, label+" namespace")
	return claims{"sub": serviceAccountPrefix + ns + ":a", "kubernetes.io": map[string]any{
		"namespace": ns, "serviceaccount": map[string]any{"name": "a"},
	}}
}

// Whatever two issuers that New accepts put into their tokens, neither can name the other's users or groups, and only a
// Kubernetes issuer's begin with "system:".
func TestNoIssuerSpeaksForAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Issuers: []Issuer{drawIssuer(t, "x"), drawIssuer(t, "y")}}.withDefaults()
		if o.validate() != nil {
			return
		}
		names, groups := map[string]string{}, map[string]string{}
		for n := range o.Issuers {
			i := &o.Issuers[n]
			m := newMapper(i, o.Issuers)
			for k := range 3 {
				p, err := m.principal(drawClaims(t, i.Kind, i.Name+string(rune('0'+k))))
				if err != nil {
					continue
				}
				for _, name := range append([]string{p.Name}, p.Groups...) {
					if strings.HasPrefix(name, reserved) && i.Kind != Kubernetes {
						t.Fatalf("issuer %s (%s) speaks of %q", i.Name, i.Kind, name)
					}
				}
				if owner := names[p.Name]; owner != "" && owner != i.Name {
					t.Fatalf("issuers %s and %s both speak of user %q", owner, i.Name, p.Name)
				}
				names[p.Name] = i.Name
				for _, g := range p.Groups {
					if owner := groups[g]; owner != "" && owner != i.Name {
						t.Fatalf("issuers %s and %s both speak of group %q", owner, i.Name, g)
					}
					groups[g] = i.Name
				}
			}
		}
	})
}

// The property above says nothing where New refuses everything: these must be accepted.
func TestPrefixesThatAreAccepted(t *testing.T) {
	issuer := func(name string, kind Kind, prefix string) Issuer {
		return Issuer{Name: name, URL: "https://" + name + ".example", Kind: kind, Audiences: []string{"g"}, Claims: Mapping{UsernamePrefix: prefix}}
	}
	for _, issuers := range [][]Issuer{
		{issuer("a", OIDC, ""), issuer("b", Kubernetes, "")},
		{issuer("a", OIDC, ""), issuer("b", OIDC, "b:"), issuer("c", Kubernetes, ""), issuer("d", Kubernetes, "d:")},
		{issuer("a", OIDC, "a:"), issuer("b", OIDC, "b:")},
	} {
		if err := (Options{Issuers: issuers}.withDefaults()).validate(); err != nil {
			t.Error(err)
		}
	}
}

// A revoked or forgotten entry never comes back, the cache stays within its bound, and what is used stays.
func TestCacheIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 8).Draw(t, "size")
		c := newCache[int](size)
		want := map[[32]byte]int{}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			key := [32]byte{rapid.Byte().Draw(t, "key")}
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				want[key] = rapid.Int().Draw(t, "value")
				c.put(key, want[key])
				if got, ok := c.get(key); !ok || got != want[key] {
					t.Fatalf("just put: %d, %v", got, ok)
				}
			case 1:
				if got, ok := c.get(key); ok && got != want[key] {
					t.Fatalf("got %d, want %d", got, want[key])
				}
			case 2:
				delete(want, key)
				c.drop(key)
				if _, ok := c.get(key); ok {
					t.Fatal("dropped and still there")
				}
			}
			if c.len() > 2*size {
				t.Fatalf("%d entries, at most %d", c.len(), 2*size)
			}
		}
	})
}
