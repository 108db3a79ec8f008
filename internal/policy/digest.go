package policy

import (
	"slices"
	"strings"

	"gatebook/internal/access"
)

// canonicalPolicy is what the digest is taken over: everything that can change a decision, in an order of its own.
type canonicalPolicy struct {
	Format  string
	Observe bool
	Masking []access.Mask
	Rules   []canonicalRule
}

type canonicalRule struct {
	ID, Protocol, When     string
	Verbs, Resources       []string
	Decides, Guards        bool
	Effect                 access.Effect
	Risk                   access.Risk
	Reason, Advice         string
	Groups, Users          []string
	Count                  *int
	Expires, Valid, Grants *int64
	Masks                  []access.Mask
}

func (s *Set) canonical() canonicalPolicy {
	out := canonicalPolicy{Format: "gatebook policy 1", Observe: s.observe, Masking: s.masking}
	for _, r := range s.rules {
		c := canonicalRule{ID: r.id, Protocol: r.protocol, When: strings.TrimSpace(r.when), Verbs: sorted(r.scope.verbs),
			Decides: r.decides, Guards: r.guards, Effect: r.effect, Risk: r.risk, Reason: r.reason, Advice: r.advice,
			Groups: sorted(r.asks.groups), Users: sorted(r.asks.users), Count: r.asks.count,
			Expires: (*int64)(r.asks.expires), Valid: (*int64)(r.asks.valid), Grants: (*int64)(r.asks.maxGrant)}
		for _, p := range r.scope.resources {
			c.Resources = append(c.Resources, p.text)
		}
		c.Resources = sorted(c.Resources)
		for _, name := range r.masks {
			c.Masks = addMask(c.Masks, s.masks[name])
		}
		out.Rules = append(out.Rules, c)
	}
	slices.SortFunc(out.Rules, func(a, b canonicalRule) int { return strings.Compare(a.ID, b.ID) })
	return out
}

func sorted(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}
