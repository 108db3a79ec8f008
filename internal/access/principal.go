package access

import (
	"slices"
	"strings"
	"time"
)

// Principal is who acts. It comes from a verified credential alone; nothing a client claims beside it enters here.
type Principal struct {
	// Issuer is the name of the issuer in the configuration, not its URL.
	Issuer string `json:"issuer"`
	// Subject is the token's sub claim.
	Subject string `json:"subject"`
	// Name is the user name that policy and upstreams see, after the issuer's claim mapping,
	// such as "system:serviceaccount:agents:claude" or "ada@example.com".
	Name string `json:"name"`
	// Groups after the issuer's mapping, sorted.
	Groups []string `json:"groups,omitempty"`
	// Aliases are other names of the same person (an e-mail address, a preferred user name).
	Aliases []string `json:"aliases,omitempty"`
	// Workload is set for tokens bound to a Kubernetes service account.
	Workload Workload `json:"workload,omitzero"`
	// TokenID is the token's jti, or a digest of the token where it has none.
	TokenID string `json:"tokenId,omitempty"`
	// Expires is when the credential ends, and with it everything done under it.
	Expires time.Time `json:"expires,omitzero"`
}

// Workload is what a bound service-account token says of the pod that holds it.
type Workload struct {
	Namespace         string `json:"namespace,omitempty"`
	ServiceAccount    string `json:"serviceAccount,omitempty"`
	ServiceAccountUID string `json:"serviceAccountUid,omitempty"`
	Pod               string `json:"pod,omitempty"`
	PodUID            string `json:"podUid,omitempty"`
	Node              string `json:"node,omitempty"`
	NodeUID           string `json:"nodeUid,omitempty"`
}

// IsZero reports whether the principal is not a workload.
func (w Workload) IsZero() bool { return w == Workload{} }

// IsZero reports whether this is nobody.
func (p Principal) IsZero() bool { return p.Issuer == "" || p.Subject == "" }

// Key identifies the principal among all issuers: "issuer|subject".
func (p Principal) Key() string { return p.Issuer + "|" + p.Subject }

// InGroup reports whether the principal is in group.
func (p Principal) InGroup(group string) bool { return slices.Contains(p.Groups, group) }

// SamePerson reports whether p and q may be the same person or workload under any name that either credential
// carries: the same subject of the same issuer, or any name or alias of one equal to a name, alias or subject of the
// other, without regard to case. It errs towards yes, since it keeps a requester from approving their own request.
func (p Principal) SamePerson(q Principal) bool {
	if p.Key() == q.Key() {
		return true
	}
	for _, a := range p.names() {
		for _, b := range q.names() {
			if strings.EqualFold(a, b) {
				return true
			}
		}
	}
	return false
}

func (p Principal) names() []string {
	out := make([]string, 0, 2+len(p.Aliases))
	for _, n := range append([]string{p.Name, p.Subject}, p.Aliases...) {
		if n = strings.TrimSpace(n); n != "" {
			out = append(out, n)
		}
	}
	return out
}
