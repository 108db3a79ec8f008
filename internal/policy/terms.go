package policy

import (
	"slices"
	"strings"
	"time"

	"gatebook/internal/access"
)

// What an approval is where no rule says otherwise: one approver, an hour to answer, a quarter of an hour to use the
// answer, once.
const (
	defaultCount   = 1
	defaultExpires = time.Hour
	defaultValid   = 15 * time.Minute
)

// askWhom merges what the asking rules want of an approval into the strictest: the most approvers, the shortest
// times, and only approvers whom every rule with an opinion names. Where no name is left, nobody could approve, and
// the operation is denied.
func (s *Set) askWhom(d *access.Decision, vs []verdict) {
	t := access.ApprovalTerms{Count: defaultCount, Expires: defaultExpires, Valid: defaultValid}
	var expires, valid, grant *time.Duration
	var named []string
	for i := range vs {
		v := &vs[i]
		if !v.counts() || v.rule.effect != access.Approve {
			continue
		}
		a := v.rule.asks
		if a.count != nil {
			t.Count = max(t.Count, *a.count)
		}
		expires, valid, grant = shortest(expires, a.expires), shortest(valid, a.valid), shortest(grant, a.maxGrant)
		if len(a.groups)+len(a.users) == 0 {
			continue
		}
		if named == nil {
			t.Groups, t.Users = sorted(a.groups), sorted(a.users)
		} else {
			t.Groups, t.Users = intersect(t.Groups, a.groups), intersect(t.Users, a.users)
		}
		named = append(named, v.rule.id)
	}
	if len(named) > 0 && len(t.Groups)+len(t.Users) == 0 {
		d.Effect = access.Deny
		d.Reason = "rules " + strings.Join(named, ", ") + " ask for approvers, and no group or user is named by all of them, so nobody can approve it"
		d.Advice = "Tell whoever keeps the gateway's policy: these rules need an approver in common."
		return
	}
	t.Expires, t.Valid, t.MaxGrant = orElse(expires, t.Expires), orElse(valid, t.Valid), orElse(grant, 0)
	d.Approval = &t
}

func shortest(a, b *time.Duration) *time.Duration {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

func orElse(d *time.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return *d
}

func intersect(a, b []string) []string {
	var out []string
	for _, s := range a {
		if slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}
