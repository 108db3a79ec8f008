package gate

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/recording"
)

// Policy decides. Decide must be pure; the strings it returns are fields that were not given and could still change
// the answer.
type Policy interface {
	Decide(op *access.Operation) (access.Decision, []string)
}

// Approvals is the desk where people are asked.
type Approvals interface {
	Ask(ctx context.Context, op *access.Operation, d access.Decision, card func(context.Context) (access.Card, error)) (access.Approval, error)
	Wait(ctx context.Context, id access.ApprovalID) (access.Approval, error)
	Use(ctx context.Context, id access.ApprovalID, op *access.Operation, d access.Decision) error
}

// Revocations tells, at once, when a principal, session or token is taken back or lapses.
type Revocations interface {
	Register(p access.Principal, s access.SessionID, cancel func(error)) (unregister func())
	Check(p access.Principal, s access.SessionID) error
}

// Attribution links operations to the tool calls behind them. Its methods do not block.
type Attribution interface {
	// Attribute says which tool call is behind op, as far as that is known now; nil where nothing can be said of op. What
	// it gives must not be changed.
	Attribute(op *access.Operation) *access.Cause
	// Asked tells of a request to a model that has arrived, whatever becomes of it: what op.Model.Results names has come
	// back from the agent.
	Asked(op *access.Operation)
	// Emitted tells that op's answer held a tool call, whose last byte is about to be delivered.
	Emitted(op *access.Operation, call access.ToolCall)
}

// Options join the gate to the rest. All fields are required except Attribution, Log, Now and Metrics.
type Options struct {
	// Policy gives the policy in force; it may answer differently from call to call.
	Policy      func() Policy
	Approvals   Approvals
	Revocations Revocations
	Recorder    *recording.Recorder
	// Attribution is nil where there is none: then no operation has a cause.
	Attribution Attribution
	Metrics     *Metrics
	Log         *slog.Logger
	Now         func() time.Time
}

// Gate is safe for concurrent use.
type Gate struct {
	o        Options
	draining atomic.Bool
}

// New makes a gate.
func New(o Options) (*Gate, error) {
	if o.Policy == nil || o.Approvals == nil || o.Revocations == nil || o.Recorder == nil {
		return nil, errors.New("gate: policy, approvals, revocations and recorder are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	return &Gate{o: o}, nil
}

// Drain makes every later Admit refuse. Permits already given stay good.
func (g *Gate) Drain() { g.draining.Store(true) }

// Request is one operation at the gate.
type Request struct {
	// Operation is complete but for the fields that Complete fetches, and belongs to the gate from now on.
	Operation *access.Operation
	// Payload is the request's body as it is to be recorded: masked. It is read to its end before Admit returns
	// a permit. Nil: there is none.
	Payload io.Reader
	// Change says that the operation is not a mere read: its record is on disk before it goes on.
	Change bool
	// Complete fetches policy fields that were not given, such as "kubernetes.stored", into Operation, and names them
	// in Operation.Fetched. A field that it cannot fetch stays unknown to policy. It is called again with fields that
	// it has fetched before when they may have changed while a person was asked. Nil: nothing can be fetched.
	Complete func(ctx context.Context, fields []string) error
	// Card makes what approvers see. It is called only when somebody is asked.
	Card func(ctx context.Context) (access.Card, error)
	// Budget is how long the client can be held for an approval; at 0 it is not held at all.
	Budget time.Duration
	// Held is told of the approval that the client is about to be held for, and given what ends the wait before its time,
	// such as when the client has gone: then nothing runs. It may be told more than once. Nil: nobody is.
	Held func(a access.Approval, giveUp context.CancelCauseFunc)
	// Within is the permit of what the operation is part of, such as a statement's connection, of the same principal and session:
	// the operation ends with it, and is revoked with it. The zero value: it stands alone.
	Within Permit
	// Together waits, at each stage, for the other operations of the same request, of which all run or none: where one is
	// refused it gives why, and this one is refused as well. A stage comes again where policy has changed. Nil: this
	// operation stands alone.
	Together func(ctx context.Context, s Stage) error

	giveUp context.CancelCauseFunc
}

// Stage is how far an operation has come of which others depend.
type Stage uint8

const (
	Decided  Stage = iota // policy allows it or has it asked for: nobody was asked yet
	Answered              // nobody need be asked, or a person said yes: the yes is not used up yet
)

// together passes a stage.
func (r *Request) together(ctx context.Context, s Stage) error {
	if r.Together == nil {
		return nil
	}
	return r.Together(ctx, s)
}

// Admit decides, waits, records. Without a permit the error is an *access.Refusal, and the refusal is recorded. Where
// ctx ends while a person is asked, the operation is refused and its approval stays open for the same request to come
// again. The permit's context ends with ctx.
func (g *Gate) Admit(ctx context.Context, r Request) (Permit, error) {
	op := r.Operation
	g.attribute(op)
	if g.draining.Load() {
		return g.refuse(op, access.Decision{}, access.Refuse(access.CodeDraining, nil, "the gateway is shutting down; send the request again"))
	}
	within := r.Within.covers(op)
	release, cancel := func() {}, context.CancelCauseFunc(func(error) {})
	if within { // what ends the other ends this one, too
		ctx = r.Within.ctx
	} else {
		ctx, cancel = context.WithCancelCause(ctx)
		release = g.o.Revocations.Register(op.Principal, op.Session, cancel)
		r.giveUp = cancel
	}
	give := func(p Permit, err error) (Permit, error) {
		if err != nil {
			release()
			cancel(nil)
		}
		return p, err
	}
	if err := g.o.Revocations.Check(op.Principal, op.Session); err != nil {
		return give(g.refuse(op, access.Decision{}, asRefusal(err, access.CodeRevoked)))
	}
	d := g.decide(ctx, r)
	if within && (d.Effect == access.Approve || r.Together != nil) { // only who is held can give up by itself
		ctx, cancel = context.WithCancelCause(ctx)
		r.giveUp = cancel
	}
	d, approval, err := g.judge(ctx, r, d)
	if err != nil {
		return give(g.refuse(op, d, asRefusal(err, access.CodeInternal)))
	}
	rec, err := g.o.Recorder.Begin(op, d, approval, r.Payload, r.Change || approval != nil)
	if err != nil {
		return give(g.refuse(op, d, notRecorded(err)))
	}
	g.o.Metrics.admitted(op, d)
	return Permit{&permit{op: op, decision: d, rec: rec, ctx: ctx, cancel: cancel, release: release, metrics: g.o.Metrics, attribution: g.o.Attribution}}, nil
}

// attribute finds what is behind op, as far as that is known when it arrives: nothing that it then waits for changes it.
func (g *Gate) attribute(op *access.Operation) {
	if g.o.Attribution == nil || op.Cause != nil {
		return
	}
	if op.Model != nil {
		g.o.Attribution.Asked(op)
	}
	op.Cause = g.o.Attribution.Attribute(op)
	g.o.Metrics.caused(op)
}

// Lookup permits a read that the gateway itself makes for parent: to show a diff, to decide on what is stored, to
// restore a masked value. It acts as the same principal, so that it reaches nothing that the principal could not
// read, and its answer goes to no client. It is recorded like any operation.
func (g *Gate) Lookup(ctx context.Context, parent, op *access.Operation) (Permit, error) {
	return g.lookup(ctx, parent, op, false)
}

// LookupAsGateway is Lookup with the gateway's own rights, for what has to be known to be masked although the principal
// may not read it. The upstream takes such a permit for the read of one pod or one Secret alone.
func (g *Gate) LookupAsGateway(ctx context.Context, parent, op *access.Operation) (Permit, error) {
	return g.lookup(ctx, parent, op, true)
}

func (g *Gate) lookup(ctx context.Context, parent, op *access.Operation, asGateway bool) (Permit, error) {
	op.Parent, op.Principal, op.Session, op.Target = parent.ID, parent.Principal, parent.Session, parent.Target
	if err := g.o.Revocations.Check(op.Principal, op.Session); err != nil {
		return g.refuse(op, access.Decision{}, asRefusal(err, access.CodeRevoked))
	}
	reason := "read by the gateway, for operation "
	if asGateway {
		reason = "read by the gateway with its own rights, to know what to mask, for operation "
	}
	d := access.Decision{Effect: access.Allow, Reason: reason + string(parent.ID),
		Masks: []access.Mask{{Name: access.MaskSecrets}, {Name: access.MaskKnown}}}
	rec, err := g.o.Recorder.Begin(op, d, nil, nil, false)
	if err != nil {
		return g.refuse(op, d, notRecorded(err))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	release := g.o.Revocations.Register(op.Principal, op.Session, cancel)
	g.o.Metrics.admitted(op, d)
	return Permit{&permit{op: op, decision: d, rec: rec, ctx: ctx, cancel: cancel, release: release, metrics: g.o.Metrics, asGateway: asGateway}}, nil
}

// Reject records an operation that could not be decoded far enough to be decided.
func (g *Gate) Reject(op *access.Operation, why *access.Refusal) {
	g.attribute(op)
	_, _ = g.refuse(op, access.Decision{}, why)
}

// refuse records why op does not run. That the record fails too changes nothing for the client: it is refused anyway.
func (g *Gate) refuse(op *access.Operation, d access.Decision, why *access.Refusal) (Permit, error) {
	why.Operation, why.Session, why.Decision = op.ID, op.Session, d
	if why.Advice == "" {
		why.Advice = d.Advice
	}
	g.o.Metrics.refused(op, why.Code)
	log := g.o.Log.With("operation", op.ID, "session", op.Session, "principal", op.Principal.Name, "target", op.Target.Name)
	log.Info("refused", "code", why.Code, "message", why.Message, "cause", why.Cause)
	if err := g.o.Recorder.Refused(op, d, why); err != nil {
		log.Error("a refusal could not be recorded", "error", err)
	}
	return Permit{}, why
}

func notRecorded(err error) *access.Refusal {
	return access.Refuse(access.CodeNotRecorded, err, "the operation could not be recorded, so it was not let through")
}

// asRefusal passes a refusal on, and makes any other error one with code. What it gives is the caller's own: the cause
// with which many operations are cut at once is one value.
func asRefusal(err error, code access.Code) *access.Refusal {
	var r *access.Refusal
	if errors.As(err, &r) {
		own := *r
		return &own
	}
	return access.Refuse(code, err, "the operation could not be decided")
}
