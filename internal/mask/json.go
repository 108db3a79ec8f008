package mask

import (
	"fmt"
	"io"
)

// SyntaxError is input that is not JSON as RFC 8259 has it (UTF-8, no unpaired surrogates), or beyond a limit.
type SyntaxError struct {
	// Offset counts bytes from the start of the stream.
	Offset int64
	// Why says what is wrong and names the limit, if it is one. It holds nothing of the input.
	Why string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("masking JSON at byte %d: %s", e.Offset, e.Why)
}

// JSONWriter masks JSON documents that follow each other, in pieces of any size. It is not safe for concurrent use.
//
// What Write has read with certainty is passed on before it returns, so a document is delivered whole with its last
// byte (a number standing alone: with the byte after it). What is not JSON is a *SyntaxError, and nothing more is
// passed on. A masked value is taken in whole before its placeholder goes out, by hashing: it is not held.
type JSONWriter struct {
	dst    io.Writer
	p      *parser
	carry  []byte // an unfinished token
	offset int64  // of carry in the stream
	masked int64
	err    error
}

// JSON gives a writer that masks what shape names, and where known is set also what the engine knows, in keys, strings
// and numbers. Close ends it; it must be called, and does not close dst.
func (s *Scope) JSON(dst io.Writer, shape *Shape, known bool) *JSONWriter {
	return &JSONWriter{dst: dst, p: s.newParser(shape, known)}
}

// Write takes all of b, or fails for good. b is not retained.
func (w *JSONWriter) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	for rest := b; len(rest) > 0; {
		n := w.take(rest)
		if w.err != nil {
			return 0, w.err
		}
		rest = rest[n:]
	}
	return len(b), w.deliver(false)
}

// step is how much is read before something is passed on, and probe how much is added to an unfinished token at once.
const (
	step  = 32 << 10
	probe = 1 << 10
)

// take reads from b, and gives how much it took.
func (w *JSONWriter) take(b []byte) int {
	if len(w.carry) == 0 {
		w.p.more = len(b) > step
		b = b[:min(len(b), step)]
		used := w.parse(b, false)
		w.offset += int64(used)
		if w.p.more && used > 0 { // the rest of the token is at hand
			return used
		}
		w.carry = append(w.carry, b[used:]...)
		return len(b)
	}
	w.p.more = false
	old := len(w.carry)
	w.carry = append(w.carry, b[:min(len(b), probe)]...)
	used := w.parse(w.carry, false)
	w.offset += int64(used)
	if used >= old { // the token is done: go on in b itself
		w.carry = w.carry[:0]
		return used - old
	}
	taken := len(w.carry) - old
	w.carry = w.carry[:copy(w.carry, w.carry[used:])]
	if len(w.carry) > w.p.s.e.o.MaxTokenBytes && w.err == nil {
		w.fail(badToken, 0)
	}
	return taken
}

func (w *JSONWriter) parse(b []byte, last bool) int {
	used, why := w.p.parse(b, last)
	if why != fine {
		w.fail(why, used)
		return 0
	}
	if len(w.p.out) >= step {
		w.deliver(false)
	}
	return used
}

func (w *JSONWriter) fail(why problem, at int) {
	if w.err == nil {
		w.err = &SyntaxError{Offset: w.offset + int64(at), Why: problems[why]}
	}
}

// deliver passes on what is ready; see parser.ready.
func (w *JSONWriter) deliver(all bool) error {
	if w.err != nil {
		return w.err
	}
	n := w.p.ready(all)
	if n == 0 {
		return nil
	}
	if _, err := w.dst.Write(w.p.out[:n]); err != nil {
		w.err = fmt.Errorf("writing masked JSON: %w", err)
	}
	w.p.gone(n)
	return w.err
}

// Flush has nothing to add to what Write passed on, but for Objects: these that are whole.
func (w *JSONWriter) Flush() error { return w.deliver(true) }

// Close ends the stream. A document that is not complete is a *SyntaxError. Masked may still be called.
func (w *JSONWriter) Close() error {
	if w.p == nil {
		return nil
	}
	if w.err == nil {
		used := w.parse(w.carry, true)
		if w.err == nil && (used < len(w.carry) || !w.p.between()) {
			w.fail(endsEarly, len(w.carry))
		}
	}
	err := w.deliver(true)
	w.masked = w.p.masked
	clear(w.carry[:cap(w.carry)])
	w.p.free()
	w.p = nil
	if w.err == nil {
		w.err = errClosed
	}
	return err
}

// Masked counts the values masked so far.
func (w *JSONWriter) Masked() int64 {
	if w.p == nil {
		return w.masked
	}
	return w.p.masked
}
