package approval

import (
	"errors"
	"time"

	"gatebook/internal/access"
)

// Why the desk says no. Ask and Use wrap them in an *access.Refusal.
var (
	ErrNotFound   = errors.New("no such approval")
	ErrPending    = errors.New("the approval is not answered yet")
	ErrUsed       = errors.New("the approval was already used")
	ErrDenied     = errors.New("the approval was denied")
	ErrExpired    = errors.New("the approval has expired")
	ErrBinding    = errors.New("the approval is for another operation, principal, session, target or policy")
	ErrTerms      = errors.New("the policy now asks for other approvers")
	ErrTooMany    = errors.New("too many approvals are pending for this principal")
	ErrAnswered   = errors.New("the approval is already answered")
	ErrRequester  = errors.New("nobody answers their own request, under any name")
	ErrTwice      = errors.New("each approver must be another person, and you have answered already")
	ErrNotAllowed = errors.New("you may not answer this approval")
	ErrInvalid    = errors.New("the answer is not valid")
	ErrNotGranted = errors.New("only a yes that can still be used can be ended")
	ErrEnded      = errors.New("the approval was ended")
	ErrUnrecorded = errors.New("what happens to the approval could not be recorded, so it was not done")
)

// refusal says to the agent why its operation does not run on approval id.
func refusal(id access.ApprovalID, err error) *access.Refusal {
	const again = "Send exactly the same request again to ask anew."
	r := &access.Refusal{Code: access.CodeInternal, Approval: id, Cause: err,
		Message: "the approval could not be asked for or used, so the operation was not let through"}
	for _, m := range []struct {
		err    error
		code   access.Code
		advice string
		retry  time.Duration
	}{
		{ErrNotFound, access.CodeApprovalExpired, again, 0},
		{ErrPending, access.CodeApprovalPending, "Nothing has run. Wait for the answer, then send exactly the same request again.", 0},
		{ErrUsed, access.CodeApprovalExpired, again, 0},
		{ErrDenied, access.CodeApprovalDenied, "", 0},
		{ErrExpired, access.CodeApprovalExpired, again, 0},
		{ErrEnded, access.CodeApprovalExpired, again, 0},
		{ErrUnrecorded, access.CodeNotRecorded, "", 0},
		{ErrBinding, access.CodeApprovalExpired, again, 0},
		{ErrTerms, access.CodeApprovalExpired, again, 0},
		{ErrRequester, access.CodeApprovalDenied, "", 0},
		{ErrTooMany, access.CodeApprovalPending, "Wait until some of your pending approvals are answered.", time.Minute},
		{errInexact, access.CodeMalformed, "Send text as UTF-8.", 0},
	} {
		if errors.Is(err, m.err) {
			r.Code, r.Message, r.Advice, r.RetryAfter = m.code, m.err.Error(), m.advice, m.retry
			return r
		}
	}
	return r
}
