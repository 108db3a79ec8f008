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
	Ended      Kind = "ended"   // a yes was taken back; Answer says by whom
	Void       Kind = "void"    // for the record alone: the last change recorded of this approval did not come to be
)

// Event is something that happens to an approval: recorded first, then done, then told.
type Event struct {
	Kind Kind
	// Approval as it is since then.
	Approval access.Approval
	// Answer is set for Answered, BreakGlass and Ended.
	Answer access.Answer
	// Operation is set for Used.
	Operation access.OperationID
	Time      time.Time
}
