package stream

import (
	"errors"
	"sync"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/recording"
)

const (
	// gatherBytes is how much a lane gathers before it records and sends.
	gatherBytes = 32 << 10
	// linger is how long input that begins as a known secret does waits to be recorded. Then it goes on all the same,
	// and is recorded when it is clear what it is: nobody can be made to wait for ever for what they typed.
	linger = 25 * time.Millisecond
)

// gather collects what a Text writes in small pieces, and passes it on whole.
type gather struct {
	buf  []byte
	pass func([]byte) error
}

func (g *gather) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), gatherBytes-len(g.buf))
		g.buf, rest = append(g.buf, rest[:n]...), rest[n:]
		if len(g.buf) == gatherBytes {
			if err := g.drain(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (g *gather) drain() error {
	if len(g.buf) == 0 {
		return nil
	}
	err := g.pass(g.buf)
	g.buf = g.buf[:0]
	return err
}

// record makes sure that a failure of the book is a refusal, and so is not taken for one of a connection.
func record(book Book, name recording.Stream, d recording.Direction, b []byte) error {
	err := book.Record(name, d, b)
	var why *access.Refusal
	if err == nil || errors.As(err, &why) {
		return err
	}
	return access.Refuse(access.CodeNotRecorded, err, "the bytes could not be recorded")
}

// lane is one direction of one channel: bytes come in by write, go through a Text, and leave recorded.
type lane struct {
	mu    sync.Mutex
	text  Text
	out   gather
	timer *time.Timer
	ended bool
	err   error
	bytes int64 // sent on

	// Towards the upstream only: the true bytes, which wait until the book has what stands for them.
	forward func([]byte) error
	pending []byte
	early   bool // some were sent before the book had what stands for them: see linger
}

// toClient makes a lane whose bytes are masked, recorded as masked, and sent.
func toClient(book Book, name recording.Stream, m Masks, send func([]byte) error) *lane {
	l := &lane{}
	l.out.pass = func(b []byte) error {
		if err := record(book, name, recording.ToClient, b); err != nil {
			return err
		}
		l.bytes += int64(len(b))
		return send(b)
	}
	l.text = m.client(&l.out)
	return l
}

// toUpstream makes a lane whose bytes are recorded with secrets replaced, and then sent as they came.
func toUpstream(book Book, name recording.Stream, m Masks, send func([]byte) error) *lane {
	l := &lane{forward: send}
	l.out.pass = func(b []byte) error { return record(book, name, recording.FromClient, b) }
	l.text = m.Record(&l.out)
	return l
}

func (l *lane) write(p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.err != nil {
		return l.err
	}
	if l.forward != nil {
		l.pending = append(l.pending, p...)
	}
	if _, l.err = l.text.Write(p); l.err != nil {
		return l.err
	}
	// Somebody waits for every piece, so all goes out but the beginning of a known secret.
	if l.err = l.text.Flush(); l.err != nil {
		return l.err
	}
	if l.err = l.pass(l.text.Held()); l.err == nil && len(l.pending) > 0 {
		l.wait()
	}
	return l.err
}

func (l *lane) wait() {
	if l.timer == nil {
		l.timer = time.AfterFunc(linger, l.release)
		return
	}
	l.timer.Reset(linger)
}

// pass sends on what is recorded: all but the bytes held back.
func (l *lane) pass(held int) error {
	if err := l.out.drain(); err != nil || l.forward == nil {
		return err
	}
	n := len(l.pending) - held
	if n <= 0 {
		return nil
	}
	if err := l.forward(l.pending[:n]); err != nil {
		return err
	}
	l.bytes += int64(n)
	l.pending = append(l.pending[:0], l.pending[n:]...)
	return nil
}

// release sends on the input that was held back, since nothing followed in time.
func (l *lane) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended && l.err == nil {
		l.early = true
		l.err = l.pass(0) // the next write gets the error
	}
}

// close lets go of everything; nothing may be written afterwards. Later calls do nothing.
func (l *lane) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop() || l.err != nil {
		return l.err
	}
	if l.err = l.text.Close(); l.err == nil {
		l.err = l.pass(0)
	}
	return l.err
}

// abandon lets go of nothing more. Input that went on before it was recorded is recorded still.
func (l *lane) abandon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop() || !l.early {
		return
	}
	err := l.text.Close()
	if err == nil {
		err = l.out.drain()
	}
	if l.err == nil {
		l.err = err
	}
}

// stop reports whether the lane had ended before.
func (l *lane) stop() bool {
	if l.timer != nil {
		l.timer.Stop()
	}
	ended := l.ended
	l.ended = true
	return ended
}

// tally gives the bytes sent on and the values hidden from the client.
func (l *lane) tally() (bytes, masked int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.forward == nil {
		masked = l.text.Masked()
	}
	return l.bytes, masked
}
