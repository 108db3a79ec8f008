package model

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/mask"
	"gatebook/internal/mask/detect"
)

// Gate is what decides, records and permits.
type Gate interface {
	Admit(ctx context.Context, r gate.Request) (gate.Permit, error)
	Reject(op *access.Operation, why *access.Refusal)
}

// Upstream is the provider. The request's URL is a path and a query; scheme, host and credential are the upstream's to
// set. Its errors are *access.Refusal.
type Upstream interface {
	RoundTrip(p gate.Permit, r *http.Request) (*http.Response, error)
}

// Limits bound what one call may take. A limit that is exceeded refuses by its name. Zero: the default.
type Limits struct {
	// RequestBodyBytes bounds a request's body, which is kept in memory while it is decided: 10 MiB.
	RequestBodyBytes int64
	// EventBytes bounds one server-sent event, and what of an answer is put together to read it: 16 MiB.
	EventBytes int
	// AnswerBytes bounds an answer that is not streamed, which is read whole before it is delivered: 32 MiB.
	AnswerBytes int64
}

// Price is what a provider asks for a million tokens, in dollars.
type Price struct {
	// Model is a name, or the beginning of names with * at its end.
	Model                                string
	Input, Output, CacheRead, CacheWrite float64
}

// Options join the handler of one target to the rest. Target, Gate, Upstream, Masks and MaskKey are required.
type Options struct {
	Target   access.Target
	Gate     Gate
	Upstream Upstream
	// Masks knows the values that are secret, and MaskKey is its key.
	Masks   *mask.Engine
	MaskKey []byte
	Limits  Limits
	// Hold is how long a client is held for an approval: 90 seconds, since 300 of silence make Claude Code give up.
	Hold time.Duration
	// Prices, of which the first that fits counts.
	Prices []Price
	// Past are the calls of this target that budgets still count.
	Past []access.ModelUse
	// DigestKey makes operation digests keyed (HMAC-SHA-256). Replicas that share approvals need the same key.
	DigestKey []byte
	Now       func() time.Time
	Log       *slog.Logger
}

// Handler serves one provider. It is safe for concurrent use.
type Handler struct {
	o         Options
	used      *usage
	found     *finds
	detectors *detect.Set
}

// New makes a Handler.
func New(o Options) (*Handler, error) {
	if o.Gate == nil || o.Upstream == nil || o.Masks == nil || o.Target.Name == "" {
		return nil, errors.New("model handler: target, gate, upstream, masks and their key are required")
	}
	o.Target.Protocol = "model"
	if o.Limits.RequestBodyBytes == 0 {
		o.Limits.RequestBodyBytes = 10 << 20
	}
	if o.Limits.EventBytes == 0 {
		o.Limits.EventBytes = 16 << 20
	}
	if o.Limits.AnswerBytes == 0 {
		o.Limits.AnswerBytes = 32 << 20
	}
	if o.Hold == 0 {
		o.Hold = 90 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	detectors, err := newDetectors()
	if err != nil {
		return nil, fmt.Errorf("model handler: %w", err)
	}
	found, err := newFinds(o.MaskKey)
	if err != nil {
		return nil, fmt.Errorf("model handler: %w", err)
	}
	h := &Handler{o: o, used: newUsage(o.Now), found: found, detectors: detectors}
	for _, u := range o.Past {
		if u.Model != "" {
			u = h.guess(u)
		}
		h.used.add(u)
	}
	return h, nil
}
