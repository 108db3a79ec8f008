package mask

import (
	"errors"
	"fmt"
	"io"
)

var errClosed = errors.New("masking: writer is closed")

// TextWriter replaces known values in a stream of any bytes. It is not safe for concurrent use.
//
// Write lets go of all but the last bytes, of which a known value could be the continuation: 71 as a rule, and at most
// 16 KiB where a known value or a token has begun. Flush, for a person or program that waits at the other end, lets go of all but
// what begins as a known value does. What that can give away to someone who makes the stream stop inside a value
// again and again is its first three characters as written (in base64 also half of the next byte's bits), and the
// fact that the rest was held; never more, however many times. There is no timer: what is held stays until the stream
// goes on or ends.
type TextWriter struct {
	dst    io.Writer
	t      *stream
	ready  []byte
	masked int64
	err    error
}

// Text gives a writer that passes a stream on to dst. Close ends it; it must be called, and does not close dst.
func (s *Scope) Text(dst io.Writer) *TextWriter {
	return &TextWriter{dst: dst, t: s.newStream()}
}

// Write takes all of p, or fails for good. p is not retained.
func (w *TextWriter) Write(p []byte) (int, error) {
	for rest := p; w.err == nil && len(rest) > 0; {
		n := min(len(rest), block)
		w.ready = w.t.write(w.ready[:0], rest[:n])
		rest = rest[n:]
		w.deliver()
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// Flush passes on what need not be held. See TextWriter.
func (w *TextWriter) Flush() error {
	if w.err == nil {
		w.ready = w.t.run(w.ready[:0], paused)
		w.deliver()
	}
	return w.err
}

// Close passes on all that is left. Masked may still be called.
func (w *TextWriter) Close() error {
	if w.t == nil {
		return nil
	}
	err := w.err
	if err == nil {
		w.ready = w.t.run(w.ready[:0], ended)
		w.deliver()
		err = w.err
	}
	w.masked = w.t.masked
	w.t.free()
	w.t, w.err = nil, errClosed
	return err
}

func (w *TextWriter) deliver() {
	if len(w.ready) == 0 {
		return
	}
	if _, err := w.dst.Write(w.ready); err != nil {
		w.err = fmt.Errorf("writing masked text: %w", err)
	}
}

// Masked counts the placeholders written so far.
func (w *TextWriter) Masked() int64 {
	if w.t == nil {
		return w.masked
	}
	return w.t.masked
}

// Held is how many bytes of the input have neither gone out nor been replaced: the end of the stream so far, since what
// is held is never followed by what is not. It is none after Close.
func (w *TextWriter) Held() int {
	if w.t == nil {
		return 0
	}
	return len(w.t.buf) - w.t.out
}
