package access

import (
	"fmt"
	"time"
)

// Code is the closed list of reasons for which Gatebook itself refuses. Each protocol maps it to its own words.
type Code string

const (
	CodeUnauthenticated Code = "Unauthenticated" // no credential, or one that is not valid
	CodeRevoked         Code = "Revoked"         // a valid credential that was taken back
	CodeDenied          Code = "Denied"          // policy says no
	CodeApprovalPending Code = "ApprovalPending" // nobody answered within the client's budget; ask again
	CodeApprovalDenied  Code = "ApprovalDenied"  // a person said no
	CodeApprovalExpired Code = "ApprovalExpired"
	CodeMalformed       Code = "Malformed"   // the request cannot be read with certainty
	CodeTooLarge        Code = "TooLarge"    // a named limit was exceeded
	CodeTooSlow         Code = "TooSlow"     // a named limit of time was exceeded
	CodeUnmaskable      Code = "Unmaskable"  // what would come back cannot be masked with certainty
	CodePlaceholder     Code = "Placeholder" // a masked value came back where it does not belong
	CodeNotRecorded     Code = "NotRecorded" // the journal cannot take it
	CodeUpstream        Code = "Upstream"    // the target cannot be reached or answered nonsense
	CodeDraining        Code = "Draining"    // the gateway is shutting down
	CodeInternal        Code = "Internal"
)

// Refusal is an operation that Gatebook did not let through. Message and Advice are safe to show to the agent;
// Cause is for the operator's log alone.
type Refusal struct {
	Code      Code
	Operation OperationID
	Session   SessionID
	Decision  Decision
	Approval  ApprovalID
	// Message says what was refused and why; Advice what to do instead.
	Message string
	Advice  string
	// RetryAfter is set where the same request may be sent again later.
	RetryAfter time.Duration
	Cause      error
}

func (r *Refusal) Error() string {
	if r.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", r.Code, r.Message, r.Cause)
	}
	return fmt.Sprintf("%s: %s", r.Code, r.Message)
}

func (r *Refusal) Unwrap() error { return r.Cause }

// Refuse makes a Refusal.
func Refuse(code Code, cause error, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Message: fmt.Sprintf(format, args...), Cause: cause}
}
