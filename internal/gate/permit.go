package gate

import (
	"context"
	"sync/atomic"

	"gatebook/internal/access"
	"gatebook/internal/recording"
)

// Permit proves that an operation was decided and recorded. Its zero value is not valid, and only Gate makes others.
// Copies are the same permit. It is safe for concurrent use.
type Permit struct{ *permit }

type permit struct {
	op       *access.Operation
	decision access.Decision
	rec      *recording.Operation
	ctx      context.Context
	cancel   context.CancelCauseFunc
	release  func()
	metrics  *Metrics
	ended    atomic.Bool
	// attribution is told of the tool calls in the answer; nil: nobody is.
	attribution Attribution
	// asGateway says that LookupAsGateway gave it.
	asGateway bool
}

// Valid reports whether the operation may still act: the permit was given, has not ended, and was not revoked.
func (p Permit) Valid() bool {
	return p.permit != nil && !p.ended.Load() && p.ctx.Err() == nil
}

// covers reports whether op can be part of what p permits: what revokes one revokes the other.
func (p Permit) covers(op *access.Operation) bool {
	if !p.Valid() || p.op.Session != op.Session {
		return false
	}
	a, b := &p.op.Principal, &op.Principal
	return a.Issuer == b.Issuer && a.Subject == b.Subject && a.TokenID == b.TokenID && a.Expires.Equal(b.Expires)
}

// Operation is what was permitted. It must not be changed.
func (p Permit) Operation() *access.Operation { return p.op }

// Decision is why, and what to mask.
func (p Permit) Decision() access.Decision { return p.decision }

// AsGateway says that the gateway reads with its own rights, not with the principal's: the answer only teaches the
// masker, and goes to nobody.
func (p Permit) AsGateway() bool { return p.asGateway }

// Context ends with the client's request, and with an *access.Refusal as its cause when the principal, session or
// token is revoked or lapses.
func (p Permit) Context() context.Context { return p.ctx }

// Record puts bytes into the journal, as they are delivered. Nothing may be delivered when it fails. It does not
// retain b.
func (p Permit) Record(s recording.Stream, d recording.Direction, b []byte) error {
	if err := p.rec.Write(s, d, b); err != nil {
		return notRecorded(err)
	}
	return nil
}

// Emitted tells of a tool call in a model's answer, before its last byte is delivered: what it causes can only come
// after that.
func (p Permit) Emitted(call access.ToolCall) {
	if p.attribution != nil {
		p.attribution.Emitted(p.op, call)
	}
}

// Resize records a terminal's new size.
func (p Permit) Resize(cols, rows uint16) error {
	if err := p.rec.Resize(cols, rows); err != nil {
		return notRecorded(err)
	}
	return nil
}

// EndWith is Record and End in one step, for the last bytes that are delivered. When it fails neither has happened.
func (p Permit) EndWith(s recording.Stream, d recording.Direction, b []byte, out access.Outcome) error {
	if !p.ended.CompareAndSwap(false, true) {
		return notRecorded(recording.ErrEnded)
	}
	if err := p.rec.EndWith(s, d, b, out); err != nil {
		p.ended.Store(false)
		return notRecorded(err)
	}
	p.release()
	p.metrics.ended(p.op, out)
	p.cancel(nil)
	return nil
}

// End closes the operation's record. It must be called once, on every path; later calls do nothing. What could not be
// recorded here had been delivered before, frame by frame, and is found as truncated.
func (p Permit) End(out access.Outcome) error {
	if !p.ended.CompareAndSwap(false, true) {
		return nil
	}
	p.release()
	p.metrics.ended(p.op, out)
	err := p.rec.End(out)
	p.cancel(nil)
	if err != nil {
		return notRecorded(err)
	}
	return nil
}
