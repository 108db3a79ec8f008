package mask

import (
	"crypto/aes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"gatebook/internal/access"
	"gatebook/internal/mask/detect"
)

// Options make an Engine. The zero value of each field but Key is its default.
type Options struct {
	// Key is 32 secret bytes. Known values and placeholders last as long as it does.
	Key []byte
	// MinValueBytes is the length from which on a value is learned; shorter ones are masked where a Shape names them
	// and nowhere else. Default and least: 8.
	MinValueBytes int
	// MaxValues bounds the patterns that are kept (a value is one pattern, a long or structured one several).
	// Default 100,000, about 500 bytes each.
	MaxValues int
	// Vocabulary are words that stand everywhere. A value that is made of nothing else is not learned; case does not count.
	Vocabulary []string
	// MaxNestedBytes bounds a string that holds JSON and is masked inside; a longer one is masked whole.
	// Default 256 KiB.
	MaxNestedBytes int
	// MaxTokenBytes bounds a key or a number; a longer one is an error. Default 64 KiB.
	MaxTokenBytes int
	// MaxDepth bounds how deep JSON may nest; deeper is an error. Default 512.
	MaxDepth int
}

func (o *Options) setDefaults() error {
	if len(o.Key) != keyBytes {
		return fmt.Errorf("making mask engine: key has %d bytes, want %d", len(o.Key), keyBytes)
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.MinValueBytes, windowBytes}, {&o.MaxValues, 100_000}, {&o.MaxNestedBytes, 256 << 10}, {&o.MaxTokenBytes, 64 << 10}, {&o.MaxDepth, 512}} {
		if *d.v < 0 {
			return errors.New("making mask engine: negative limit")
		}
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.MinValueBytes < windowBytes {
		return fmt.Errorf("making mask engine: MinValueBytes is %d, want at least %d", o.MinValueBytes, windowBytes)
	}
	return nil
}

// Engine holds what is known to be secret, for all sessions. All methods may be called at any time from any goroutine.
//
// Of each value it keeps a keyed 128-bit hash of the whole, 32-bit keyed hashes of its first 8, 32 and 128 bytes, and
// filter bits of the first characters of its encodings. Strings masked lately are remembered by fingerprint as well. Who holds both the process's memory and the key can test
// guesses of a whole value, and can find its first eight bytes by exhaustive search, but no more of it than that
// without guessing at least eight further bytes at once.
type Engine struct {
	o    Options
	keys *keys
	seen *seen
	// index is replaced when it has to grow; additions are made in place.
	index   atomic.Pointer[index]
	mu      sync.Mutex // serialises additions
	changes uint64     // with mu
	refused atomic.Int64
	full    atomic.Bool // there is no room for more patterns
	words   vocabulary
	// forgotten are digests of patterns that are not learned again. It is replaced, by who holds mu, and never changed.
	forgotten atomic.Pointer[map[digest]bool]
	writers   sync.Pool // *parser
	streams   sync.Pool // *stream
	parts     sync.Pool // *learner
	sets      sync.Map  // *detect.Set by the names of its detectors
}

// New makes an Engine that knows nothing yet.
func New(o Options) (*Engine, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	k := newKeys(o.Key)
	e := &Engine{o: o, keys: k, seen: newSeen(k), words: newVocabulary(o.Vocabulary)}
	e.index.Store(newIndex(e.keys, firstCapacity))
	e.forgotten.Store(&map[digest]bool{})
	return e, nil
}

// Stats say how full an Engine is.
type Stats struct {
	// Patterns are kept, of at most MaxPatterns.
	Patterns, MaxPatterns int
	// Refused counts additions that found the engine full: these are masked where a Shape names them, and are not
	// recognised elsewhere. An operator should see this.
	Refused int64
	// Changes counts what was added and forgotten: where it stays, Export gives the same.
	Changes uint64
}

// Stats are a snapshot.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return Stats{Patterns: e.index.Load().count, MaxPatterns: e.o.MaxValues, Refused: e.refused.Load(), Changes: e.changes}
}

// Scope is an Engine as one session sees it: its placeholders are stable within the session and mean nothing outside.
// It is safe for concurrent use; the writers that it gives are not.
type Scope struct {
	e     *Engine
	block interface{ Encrypt(dst, src []byte) }
	// quiet: what it masks is not learned.
	quiet bool
	// aside: what detectors find is hidden here, and not known from then on.
	aside bool
	// detectors find what is secret though it was never known; nil: none do.
	detectors *detect.Set
	names     []string // of detectors
}

// Scope gives the view of one session.
func (e *Engine) Scope(session access.SessionID) *Scope {
	key := derive(e.o.Key, "session"+string(session))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // a key of 32 bytes is always taken
	}
	return &Scope{e: e, block: block}
}

// Quiet gives the same view, whose writers learn nothing from what a Shape names. It is for what somebody only claims,
// such as a request that is not decided yet: whoever could make any value known could have it masked for everybody.
func (s *Scope) Quiet() *Scope {
	q := *s
	q.quiet = true
	return &q
}
