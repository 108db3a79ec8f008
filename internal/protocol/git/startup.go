package git

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/mask"
)

// Gate is what decides, records and permits.
type Gate interface {
	Admit(ctx context.Context, r gate.Request) (gate.Permit, error)
	Lookup(ctx context.Context, parent, op *access.Operation) (gate.Permit, error)
	Reject(op *access.Operation, why *access.Refusal)
}

// Upstream is the git host. The request's URL is a path and a query; scheme, host and credential are the upstream's to set.
// Its errors are *access.Refusal.
type Upstream interface {
	RoundTrip(p gate.Permit, r *http.Request) (*http.Response, error)
}

// Limits bound what one request may take. A limit that is exceeded refuses, or makes a field uninspectable, by its name.
// Zero: the default.
type Limits struct {
	// RequestBodyBytes bounds a request's body that is no push: 10 MiB, decoded.
	RequestBodyBytes int64
	// PushBytes bounds a push, decoded: 2 GiB ("limits.gitPushBytes").
	PushBytes int64
	// Refs bounds the ref updates of one push: 1,000.
	Refs int
	// HistoryBytes bounds the commits and trees of one push that are decoded, in memory, those that are looked up for it among
	// them: 64 MiB.
	HistoryBytes int64
	// LookupBytes, Lookups and LookupTime bound what the gateway itself asks of the host to tell, for one push, a force from a
	// fast-forward, which commits are new, and which files change: 32 MiB, 64 requests, 1 minute.
	LookupBytes int64
	Lookups     int
	LookupTime  time.Duration
	// Commits and Paths bound what an operation names: 1,000 and 5,000; and ToldBytes the texts of all operations of one
	// push: 16 MiB.
	Commits, Paths int
	ToldBytes      int64
	// Steps bounds the commits that are followed and the names in trees that are compared for one push: 10 million.
	Steps int
	// BodyTimeout is how long a body may make no progress: 1 minute.
	BodyTimeout time.Duration
}

// Hold is how long a client can be held for an approval. Zero: the default.
type Hold struct {
	// Push is for a client that is told meanwhile, by side band: 10 minutes.
	Push time.Duration
	// Other is for everybody else: 90 seconds.
	Other time.Duration
}

// Options join the handler of one target to the rest. Target, Gate, Upstream and Masks are required.
type Options struct {
	Target   access.Target
	Gate     Gate
	Upstream Upstream
	Masks    *mask.Engine
	// Base is the upstream's URL, by which what LFS says of its own host is told from what leads elsewhere. Empty: all does.
	Base   string
	Limits Limits
	Hold   Hold
	// Tell is how often a client that is held is told: every 5 seconds.
	Tell time.Duration
	// SpoolDir is where bodies wait, in files without a name; empty: the system's temporary folder.
	SpoolDir string
	// DigestKey makes operation digests keyed (HMAC-SHA-256). Empty: plain SHA-256.
	DigestKey []byte
	Now       func() time.Time
	Log       *slog.Logger
}

// Handler serves one git host. It is safe for concurrent use.
type Handler struct{ o Options }

// New makes a Handler.
func New(o Options) (*Handler, error) {
	if o.Gate == nil || o.Upstream == nil || o.Masks == nil || o.Target.Name == "" {
		return nil, errors.New("git handler: target, gate, upstream and masks are required")
	}
	o.Target.Protocol = "git"
	o.Limits = o.Limits.withDefaults()
	for _, d := range []struct {
		v *time.Duration
		n time.Duration
	}{{&o.Hold.Push, 10 * time.Minute}, {&o.Hold.Other, 90 * time.Second}, {&o.Tell, 5 * time.Second}} {
		if *d.v == 0 {
			*d.v = d.n
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Handler{o}, nil
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		v *int64
		n int64
	}{{&l.RequestBodyBytes, 10 << 20}, {&l.PushBytes, 2 << 30}, {&l.HistoryBytes, 64 << 20}, {&l.LookupBytes, 32 << 20}, {&l.ToldBytes, 16 << 20}} {
		if *d.v == 0 {
			*d.v = d.n
		}
	}
	for _, d := range []struct {
		v *int
		n int
	}{{&l.Refs, 1000}, {&l.Commits, 1000}, {&l.Paths, 5000}, {&l.Steps, 10_000_000}, {&l.Lookups, 64}} {
		if *d.v == 0 {
			*d.v = d.n
		}
	}
	for _, v := range []*time.Duration{&l.BodyTimeout, &l.LookupTime} {
		if *v == 0 {
			*v = time.Minute
		}
	}
	return l
}
