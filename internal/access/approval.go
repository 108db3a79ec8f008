package access

import "time"

// ApprovalState is where a question to approvers stands.
type ApprovalState string

const (
	ApprovalPending ApprovalState = "pending"
	ApprovalGranted ApprovalState = "granted" // answered yes, not used yet (or for a time: usable until ValidUntil)
	ApprovalUsed    ApprovalState = "used"
	ApprovalDenied  ApprovalState = "denied"
	ApprovalExpired ApprovalState = "expired"
	ApprovalEnded   ApprovalState = "ended" // granted, and taken back by a person; the last of its answers, a no, says by whom
)

// Scope is how far an approver's yes reaches. Each covers the same digest, principal, target and policy only.
type Scope string

const (
	ScopeOnce    Scope = "once"    // one execution
	ScopeSession Scope = "session" // the same operation again, until the session ends: "for this task"
	ScopeTime    Scope = "time"    // the same operation again, until ValidUntil
)

// Approval is one question to people about one operation, and their answers.
type Approval struct {
	ID    ApprovalID    `json:"id"`
	State ApprovalState `json:"state"`
	// Binding is SHA-256 over the operation's digest, the principal, the target and the policy: what it is good for.
	Binding   Digest    `json:"binding"`
	Operation Operation `json:"operation"`
	Decision  Decision  `json:"decision"`
	Card      Card      `json:"card"`
	Created   time.Time `json:"created"`
	// Expires is when the question lapses unanswered.
	Expires time.Time `json:"expires"`
	Scope   Scope     `json:"scope,omitempty"`
	// ValidUntil is when a yes lapses unused, or a grant for a time ends.
	ValidUntil time.Time `json:"validUntil,omitzero"`
	Answers    []Answer  `json:"answers,omitempty"`
	// UsedBy is the operation that ran under a once-only approval.
	UsedBy OperationID `json:"usedBy,omitempty"`
	// Waiting says whether a client is held for it right now.
	Waiting bool `json:"waiting"`
}

// Answer is one person's answer.
type Answer struct {
	Approver Principal `json:"approver"`
	Yes      bool      `json:"yes"`
	Reason   string    `json:"reason,omitempty"`
	Scope    Scope     `json:"scope,omitempty"`
	// For is how long a ScopeTime yes is to hold.
	For  time.Duration `json:"forNs,omitempty"`
	Time time.Time     `json:"time"`
	// BreakGlass marks an answer given outside the rules, with reason and alert.
	BreakGlass bool `json:"breakGlass,omitempty"`
}

// Card is what an approver sees beside the operation and the decision. It is whole, or says that it is not
// inspectable; it is never shown partly as if it were whole.
type Card struct {
	// Object is the decoded request, as YAML, masked.
	Object string `json:"object,omitempty"`
	// Diff is a unified diff of what is stored to what would be, masked; empty where nothing is stored.
	Diff string `json:"diff,omitempty"`
	// Uninspectable says what an approver cannot see, and why. An approver must then decide on less, knowingly.
	Uninspectable []Uninspectable `json:"uninspectable,omitempty"`
}

// ApprovalFilter selects approvals, newest first. The zero filter selects all.
type ApprovalFilter struct {
	ID        ApprovalID
	Binding   Digest // zero: any
	States    []ApprovalState
	Principal string // a Principal.Key
	Session   SessionID
	// Due selects questions that lapsed unanswered and grants that lapsed unused at that time.
	Due time.Time
	// Before is the last identifier of the page before.
	Before ApprovalID
	// Limit is the most to give; at most and by default 100.
	Limit int
	// Brief leaves the cards out.
	Brief bool
}
