package stream

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/guard"
	"gatebook/internal/recording"
)

const (
	// gatherBytes is how much a lane gathers before it records and sends.
	gatherBytes = 32 << 10
	// linger is how long input that begins as a known secret does waits for what follows. Then it goes on all the same,
	// since nobody can be made to wait for ever for what they typed: the book has it as a digest first, and what it was
	// as soon as it is clear.
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
	err := guarded(func() error { return book.Record(name, d, b) })
	var why *access.Refusal
	if err == nil || errors.As(err, &why) {
		return err
	}
	return access.Refuse(access.CodeNotRecorded, err, "the bytes could not be recorded")
}

// guarded makes a panic of f a refusal, and so no failure of a connection either.
func guarded(f func() error) error {
	err := guard.Call(f)
	var p *guard.Panic
	if errors.As(err, &p) {
		return access.Refuse(access.CodeInternal, p, "the gateway failed")
	}
	return err
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
	waiting bool               // until release: bytes are pending
	vouch   func([]byte) error // records the digest of pending
	early   bool               // some were sent on for their digest: what they were is still to be recorded
	failed  func(error)        // told of a failure that no write can be told of, with the lane's lock held
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

// toUpstream makes a lane whose bytes are recorded with secrets replaced, and then sent as they came. failed must not
// call the lane.
func toUpstream(book Book, name recording.Stream, m Masks, send func([]byte) error, failed func(error)) *lane {
	l := &lane{forward: send, failed: failed}
	l.out.pass = func(b []byte) error { return record(book, name, recording.FromClient, b) }
	l.vouch = func(b []byte) error {
		note := fmt.Appendf(nil, `{"at":%d,"bytes":%d,"digest":%q}`+"\n", l.bytes, len(b), m.Digest(name, l.bytes, b))
		return record(book, name.Ahead(), recording.FromClient, note)
	}
	l.text = m.Record(&l.out)
	return l
}

func (l *lane) write(p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.err != nil {
		return l.err
	}
	l.err = guarded(func() error { return l.take(p) })
	return l.err
}

func (l *lane) take(p []byte) error {
	if l.forward != nil {
		l.pending = append(l.pending, p...)
	}
	if _, err := l.text.Write(p); err != nil {
		return err
	}
	// Somebody waits for every piece, so all goes out but the beginning of a known secret.
	if err := l.text.Flush(); err != nil {
		return err
	}
	if err := l.pass(l.text.Held()); err != nil {
		return err
	}
	if len(l.pending) > 0 {
		l.wait()
	}
	return nil
}

// wait begins the linger of the first byte that waits; what comes after it makes it wait no longer.
func (l *lane) wait() {
	if l.waiting {
		return
	}
	l.waiting = true
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
	return l.send(n)
}

// send sends on the first n bytes that wait.
func (l *lane) send(n int) error {
	if err := l.forward(l.pending[:n]); err != nil {
		return err
	}
	l.bytes += int64(n)
	l.pending = append(l.pending[:0], l.pending[n:]...)
	return nil
}

// release sends on the input that was held back, since nothing followed in time, once the book has its digest.
func (l *lane) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = false
	if l.ended || l.err != nil || len(l.pending) == 0 {
		return
	}
	l.err = guarded(func() error {
		if err := l.vouch(l.pending); err != nil {
			return err
		}
		l.early = true
		return l.send(len(l.pending))
	})
	if l.err != nil {
		l.failed(l.err)
	}
}

// close lets go of everything; nothing may be written afterwards. Later calls do nothing.
func (l *lane) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stop():
	case l.err != nil:
		l.settle()
	default:
		l.err = guarded(func() error {
			if err := l.text.Close(); err != nil {
				return err
			}
			return l.pass(0)
		})
	}
	return l.err
}

// abandon lets go of nothing more.
func (l *lane) abandon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stop() {
		l.settle()
	}
}

// settle records what went on for its digest, however the stream ends.
func (l *lane) settle() {
	if !l.early {
		return
	}
	err := guarded(func() error {
		if err := l.text.Close(); err != nil {
			return err
		}
		return l.out.drain()
	})
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
