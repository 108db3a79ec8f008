package protocol

import (
	"context"
	"errors"
	"net/http"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/gate"
)

// ClientError is a failure to write to the client.
type ClientError struct{ Err error }

func (e *ClientError) Error() string { return e.Err.Error() }
func (e *ClientError) Unwrap() error { return e.Err }

// CutGrace is how long a client that is being cut has to take what it was sent.
const CutGrace = 500 * time.Millisecond

// CutWrites makes a write that the client does not take fail soon after the permit's context has ended. What it returns
// undoes that, and comes before the permit ends.
func CutWrites(w http.ResponseWriter, p gate.Permit) (undo func()) {
	c := http.NewResponseController(w)
	deadline := func(t time.Time) {
		if err := c.SetWriteDeadline(t); err != nil {
			return // the connection has gone, or is a test's and has none
		}
	}
	set := make(chan struct{})
	stop := context.AfterFunc(p.Context(), func() {
		deadline(time.Now().Add(CutGrace))
		close(set)
	})
	return func() {
		if !stop() {
			<-set
			deadline(time.Time{}) // the connection may be used again
		}
	}
}

// Cause says why an answer did not reach the client: a revocation before anything else. What it gives is the caller's own.
func Cause(p gate.Permit, err error) *access.Refusal {
	var why, ended *access.Refusal
	var lost *ClientError
	switch {
	case errors.As(context.Cause(p.Context()), &ended):
		own := *ended // all that was cut with it have the same
		return &own
	case errors.As(err, &lost), p.Context().Err() != nil:
		return access.Refuse(access.CodeUpstream, err, "the client went away")
	case errors.As(err, &why):
		own := *why
		return &own
	}
	return access.Refuse(access.CodeUpstream, err, "the answer could not be relayed")
}
