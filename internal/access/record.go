package access

import "time"

// Record is what the index keeps of one operation. It holds what the recording holds: masked values only.
type Record struct {
	Operation Operation `json:"operation"`
	Decision  Decision  `json:"decision"`
	// Approval is the approval that it ran under; empty where none was needed.
	Approval ApprovalID `json:"approval,omitempty"`
	// Outcome is nil while the operation runs.
	Outcome *Outcome `json:"outcome,omitempty"`
	// Refused is set where the operation did not run; Outcome is set then, too.
	Refused *Refused `json:"refused,omitempty"`
}

// Refused is what the record keeps of a Refusal: all but its cause, which is for the operator's log.
type Refused struct {
	Code     Code       `json:"code"`
	Message  string     `json:"message"`
	Advice   string     `json:"advice,omitempty"`
	Approval ApprovalID `json:"approval,omitempty"`
}

// Session is what the index keeps of one run of an agent.
type Session struct {
	ID        SessionID `json:"id"`
	Principal Principal `json:"principal"`
	// Started is the time of its first operation and Last of its latest that the index was told of.
	Started time.Time `json:"started"`
	Last    time.Time `json:"last"`
}

// IndexEntry is one thing to tell the index: exactly one of its fields is set.
type IndexEntry struct {
	Session *Session
	Record  *Record
	End     *Ended
	// Cause is one that was found after the operation began.
	Cause *Cause
	// Passed says that the index now has every frame below this number; it is said where a unit of the journal begins.
	Passed *uint64
}

// Ended is the end of an operation.
type Ended struct {
	ID      OperationID
	Outcome Outcome
}

// SessionSummary is a session with what its operations add up to.
type SessionSummary struct {
	Session
	Targets    []string `json:"targets"`
	Operations int      `json:"operations"`
	Refused    int      `json:"refused"`
	// Running counts operations whose end is not known yet.
	Running int  `json:"running"`
	Risk    Risk `json:"risk"` // the highest of its operations
	// Live says that something runs, or that the last operation was not long ago.
	Live bool `json:"live"`
}
