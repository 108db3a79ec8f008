package access

import "time"

// Message waits to be sent to somebody outside. Its ID and Body are the same at each attempt.
type Message struct {
	ID       string
	Body     []byte
	Created  time.Time
	Attempts int // that failed
	// Due is when to try next.
	Due time.Time
}
