package access

import (
	"fmt"
	"slices"
	"time"
)

// Effect is what policy says of an operation. The zero value denies.
type Effect uint8

const (
	Deny    Effect = iota
	Approve        // wait for a person
	Allow
)

var effectNames = [...]string{"deny", "approve", "allow"}

func (e Effect) String() string {
	if int(e) < len(effectNames) {
		return effectNames[e]
	}
	return "deny"
}

func (e Effect) MarshalText() ([]byte, error) { return []byte(e.String()), nil }
func (e *Effect) UnmarshalText(b []byte) error {
	return parseName(b, effectNames[:], (*uint8)(e), "effect")
}

// Risk ranks an operation for people. The zero value is low.
type Risk uint8

const (
	RiskLow Risk = iota
	RiskMedium
	RiskHigh
	RiskCritical
)

var riskNames = [...]string{"low", "medium", "high", "critical"}

func (r Risk) String() string {
	if int(r) < len(riskNames) {
		return riskNames[r]
	}
	return "critical"
}

func (r Risk) MarshalText() ([]byte, error)  { return []byte(r.String()), nil }
func (r *Risk) UnmarshalText(b []byte) error { return parseName(b, riskNames[:], (*uint8)(r), "risk") }

func parseName(b []byte, names []string, out *uint8, what string) error {
	for i, n := range names {
		if n == string(b) {
			*out = uint8(i)
			return nil
		}
	}
	return fmt.Errorf("%s %q: want one of %q", what, b, names)
}

// Decision is what policy says of one operation, and why. The zero Decision denies.
type Decision struct {
	Effect Effect `json:"effect"`
	// Observed is set in mode observe: Effect is allow, and this is what it would have been.
	Observed *Effect `json:"observed,omitempty"`
	Risk     Risk    `json:"risk"`
	// Rules that were met, those that decided first.
	Rules []RuleHit `json:"rules,omitempty"`
	// Reason is for the agent and the record: why. Advice: what to do instead.
	Reason string `json:"reason"`
	Advice string `json:"advice,omitempty"`
	// Masks to apply to what comes back.
	Masks []Mask `json:"masks,omitempty"`
	// Approval is set where Effect is Approve.
	Approval *ApprovalTerms `json:"approval,omitempty"`
	// Policy is the digest of the policy that decided.
	Policy Digest `json:"policy"`
}

// Mask is one thing to hide in an answer.
type Mask struct {
	// Name is MaskSecrets, MaskKnown, MaskCredentials, or a mask that the policy defines.
	Name string `json:"name"`
	// Paths are the JSON paths that a mask of the policy hides in each object, such as "data.password";
	// "*" stands for any one key or index.
	Paths []string `json:"paths,omitempty"`
	// Detectors are rules, and groups of them, that find what a mask hides wherever it stands.
	Detectors []string `json:"detectors,omitempty"`
}

// Detectors are those of all masks, each once.
func Detectors(masks []Mask) (out []string) {
	for _, m := range masks {
		switch {
		case len(m.Detectors) == 0:
		case out == nil:
			out = m.Detectors[:len(m.Detectors):len(m.Detectors)]
		default:
			for _, d := range m.Detectors {
				if !slices.Contains(out, d) {
					out = append(out, d)
				}
			}
		}
	}
	return out
}

// HidesKnown reports whether one of masks hides what is known to be secret, as do those with detectors.
func HidesKnown(masks []Mask) bool {
	return slices.ContainsFunc(masks, func(m Mask) bool { return m.Name == MaskKnown || len(m.Detectors) > 0 })
}

const (
	// MaskSecrets hides what the protocol knows to be secret by its structure: Secrets, tokens, keys.
	MaskSecrets = "secrets"
	// MaskKnown hides values that the gateway has seen to be secret, wherever they turn up again.
	MaskKnown = "known"
	// MaskCredentials hides what has the form of a credential, though the gateway never saw it before.
	MaskCredentials = "credentials"
)

// PlaceholderPrefix begins what stands in the place of a masked value where that is text.
const PlaceholderPrefix = "gbm-"

// RuleHit is one rule that was met.
type RuleHit struct {
	ID     string `json:"id"`
	Effect Effect `json:"effect"`
	Reason string `json:"reason,omitempty"`
	Advice string `json:"advice,omitempty"`
	// Unknown lists the fields that could not be read and made the rule count as met.
	Unknown []string `json:"unknown,omitempty"`
	// Error says why the rule's condition could not be evaluated, which made the rule count as met. For operators.
	Error string `json:"error,omitempty"`
}

// ApprovalTerms is who may approve, how many of them, and for how long.
type ApprovalTerms struct {
	// Groups and Users of which an approver must be in one. Both empty: anyone with the approver role.
	Groups []string `json:"groups,omitempty"`
	Users  []string `json:"users,omitempty"`
	// Count of distinct approvers; at least 1.
	Count int `json:"count"`
	// Expires is how long the question stays open, and Valid how long an unused answer holds.
	Expires time.Duration `json:"expiresNs"`
	Valid   time.Duration `json:"validNs"`
	// MaxGrant bounds the time that an approver may grant the same operation for. 0: once only.
	MaxGrant time.Duration `json:"maxGrantNs,omitempty"`
}
