package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// What ends a connection: no message follows it that could be read with certainty.
var (
	ErrLength = errors.New("a message's length is not possible")
	ErrLarge  = errors.New("a message is longer than the limit")
)

const (
	headBytes  = 5 // type, and length with itself
	firstBytes = 4 << 10
	fullBytes  = 64 << 10
)

// Message is one message as it stands in the reader's buffer.
type Message struct {
	Type byte
	// Raw is all of it, with type and length; Body is what follows these.
	Raw, Body []byte
}

// Reader cuts a stream into messages. It is not safe for concurrent use.
type Reader struct {
	src      io.Reader
	max      int
	buf      []byte
	from, to int
}

// NewReader reads messages of at most max bytes from src.
func NewReader(src io.Reader, max int) *Reader { return &Reader{src: src, max: max} }

// SetMax bounds the messages that follow.
func (r *Reader) SetMax(max int) { r.max = max }

// Next gives the next message. Its bytes are good until the next call of a method that reads. io.EOF is an end between two messages.
func (r *Reader) Next() (Message, error) {
	for {
		m, ok, err := r.Buffered()
		if ok || err != nil {
			return m, err
		}
		if err := r.Fill(); err != nil {
			if err == io.EOF && r.to > r.from {
				err = io.ErrUnexpectedEOF
			}
			return Message{}, err
		}
	}
}

// Buffered gives the next message if all of it has been read.
func (r *Reader) Buffered() (Message, bool, error) {
	b := r.buf[r.from:r.to]
	if len(b) < headBytes {
		return Message{}, false, nil
	}
	n, err := r.length(b)
	if err != nil || len(b) < n {
		return Message{}, false, err
	}
	r.from += n
	return Message{Type: b[0], Raw: b[:n:n], Body: b[headBytes:n:n]}, true, nil
}

// length is that of the message that b begins with, its type included.
func (r *Reader) length(b []byte) (int, error) {
	n := binary.BigEndian.Uint32(b[1:])
	switch {
	case n < 4 || n > 1<<30: // the server's own bound (MaxAllocSize)
		return 0, fmt.Errorf("%w: %d bytes of type %q", ErrLength, n, b[0])
	case int64(n)+1 > int64(r.max):
		return 0, fmt.Errorf("%w: %d bytes of type %q, at most %d are taken", ErrLarge, n, b[0], r.max)
	}
	return int(n) + 1, nil
}

// Pending is how many bytes have been read and not given yet.
func (r *Reader) Pending() int { return r.to - r.from }

// Fill reads once, whatever there is. What earlier messages gave is no longer good.
func (r *Reader) Fill() error {
	r.room()
	n, err := r.src.Read(r.buf[r.to:])
	r.to += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// room moves what is pending to the buffer's beginning, and makes the buffer as large as the message that has begun needs.
func (r *Reader) room() {
	want, pending := firstBytes, r.to-r.from
	if pending == 0 && len(r.buf) > fullBytes {
		r.buf, r.from, r.to = nil, 0, 0 // a long message has passed: its room is not kept
	}
	if r.to == len(r.buf) && r.buf != nil { // the last read filled it: more is under way
		want = min(2*len(r.buf), fullBytes)
	}
	if pending >= headBytes {
		if n, err := r.length(r.buf[r.from:r.to]); err == nil {
			// The room grows with what has come, so that a length alone costs nothing.
			want = max(want, min(n, 2*pending+fullBytes))
		}
	}
	if want > len(r.buf) || pending == len(r.buf) {
		old := r.buf[r.from:r.to]
		r.buf = make([]byte, max(want, len(r.buf)))
		copy(r.buf, old)
	} else if r.from > 0 {
		copy(r.buf, r.buf[r.from:r.to])
	}
	r.from, r.to = 0, pending
}

// Along gives m, which must be the last that was given, with the messages of its type that follow it and have been read, as one
// stretch of bytes of no more than max but for m itself. It is good for as long as m is.
func (r *Reader) Along(m Message, max int) []byte {
	start, end := r.from-len(m.Raw), r.from
	for {
		b := r.buf[end:r.to]
		if len(b) < headBytes || b[0] != m.Type {
			break
		}
		n, err := r.length(b)
		if err != nil || n > len(b) || end+n-start > max {
			break
		}
		end += n
	}
	r.from = end
	return r.buf[start:end:end]
}
