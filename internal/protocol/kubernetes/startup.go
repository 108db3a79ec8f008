package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	clientscheme "k8s.io/client-go/kubernetes/scheme"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/mask"
)

// Gate is what decides, records and permits.
type Gate interface {
	Admit(ctx context.Context, r gate.Request) (gate.Permit, error)
	Lookup(ctx context.Context, parent, op *access.Operation) (gate.Permit, error)
	LookupAsGateway(ctx context.Context, parent, op *access.Operation) (gate.Permit, error)
	Reject(op *access.Operation, why *access.Refusal)
}

// Upstream is the API server. The request's URL is a path and a query; scheme, host, credential and impersonation are
// the upstream's to set. Its errors are *access.Refusal.
type Upstream interface {
	RoundTrip(p gate.Permit, r *http.Request) (*http.Response, error)
}

// Limits bound what one request may take. A limit that is exceeded refuses by its name, such as
// "limits.requestBodyBytes". Zero: the default.
type Limits struct {
	// RequestBodyBytes bounds a request's body: 3 MiB, as in the API server.
	RequestBodyBytes int64
	// RequestMemoryBytes is the part of a body kept in memory, 256 KiB; a longer one waits on disk.
	RequestMemoryBytes int64
	// StoredBytes bounds a stored object that the gateway reads to decide, to show or to restore: 8 MiB.
	StoredBytes int64
	// TranscodeBytes bounds an answer, or one event of a watch, that is written anew for a client that takes no
	// JSON: 32 MiB.
	TranscodeBytes int64
}

// Hold is how long a client can be held for an approval. Zero: the default.
type Hold struct {
	// Kubectl has no time-out of its own: 10 minutes.
	Kubectl time.Duration
	// Other clients: 90 seconds.
	Other time.Duration
}

// Options join the handler of one target to the rest. Target, Gate, Upstream and Masks are required.
type Options struct {
	Target   access.Target
	Gate     Gate
	Upstream Upstream
	Masks    *mask.Engine
	Limits   Limits
	Hold     Hold
	// SpoolDir is where long request bodies wait, in files without a name; empty: the system's temporary folder.
	SpoolDir string
	// DigestKey makes operation digests keyed (HMAC-SHA-256), so that a record does not help to guess a short
	// secret that was sent. Replicas that share approvals need the same key. Empty: plain SHA-256.
	DigestKey []byte
	Now       func() time.Time
	Log       *slog.Logger
}

// Handler serves one cluster. It is safe for concurrent use.
type Handler struct {
	o      Options
	shapes shapes
	// scheme knows the built-in kinds: for Protobuf, and for strategic merge patches.
	scheme *runtime.Scheme
	// types are their schemas: for server-side apply.
	types managedfields.TypeConverter
	// learned are the Secrets that were read for what pods give.
	learned   learned
	blocks    blocks
	digesters digesters
}

// blocks are buffers that answers pass through, used again and again: for a small answer a new one would be most of
// what a request allocates.
type blocks struct{ pool sync.Pool }

func (p *blocks) get() *[relayBytes]byte {
	if b, ok := p.pool.Get().(*[relayBytes]byte); ok {
		return b
	}
	return new([relayBytes]byte)
}

// put takes back a block that nobody reads any more, which is sure only after every write of it went well. It is wiped:
// what an upstream answers may be secret.
func (p *blocks) put(b *[relayBytes]byte) {
	clear(b[:])
	p.pool.Put(b)
}

// New makes a Handler.
func New(o Options) (*Handler, error) {
	if o.Gate == nil || o.Upstream == nil || o.Masks == nil || o.Target.Name == "" {
		return nil, errors.New("kubernetes handler: target, gate, upstream and masks are required")
	}
	o.Target.Protocol = "kubernetes"
	o.Limits = o.Limits.withDefaults()
	if o.Hold.Kubectl == 0 {
		o.Hold.Kubectl = 10 * time.Minute
	}
	if o.Hold.Other == 0 {
		o.Hold.Other = 90 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s, err := compileShapes()
	if err != nil {
		return nil, err
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	return &Handler{o: o, shapes: s, scheme: scheme, types: applyconfigurations.NewTypeConverter(scheme)}, nil
}

// newScheme lists the built-in kinds, and those of package meta.
func newScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, metav1.AddMetaToScheme} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("listing the built-in kinds: %w", err)
		}
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	return s, nil
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		v *int64
		n int64
	}{{&l.RequestBodyBytes, 3 << 20}, {&l.RequestMemoryBytes, 256 << 10}, {&l.StoredBytes, 8 << 20}, {&l.TranscodeBytes, 32 << 20}} {
		if *d.v == 0 {
			*d.v = d.n
		}
	}
	return l
}
