package approval

import (
	"time"

	"gatebook/internal/access"
)

// Kind is what happened to an approval.
type Kind string

const (
	Asked      Kind = "asked"
	Answered   Kind = "answered"   // by a person; Approval.State says whether that settled it
	BreakGlass Kind = "breakglass" // an alert, after its Answered
	Used       Kind = "used"
	Expired    Kind = "expired" // unanswered, or unused
)

// Event is something that has happened, and is on disk.
type Event struct {
	Kind Kind
	// Approval as it is since then.
	Approval access.Approval
	// Answer is set for Answered and BreakGlass.
	Answer access.Answer
	// Operation is set for Used.
	Operation access.OperationID
	Time      time.Time
}
