package stream

import (
	"io"

	"gatebook/internal/recording"
)

// Book is what keeps the bytes. gate.Permit is one. An error means that they must not go on.
type Book interface {
	Record(s recording.Stream, d recording.Direction, b []byte) error
	Resize(cols, rows uint16) error
}

// Text replaces known secrets in a stream of bytes, split as it may be, and writes to the writer it was made for.
// Write may hold back anything to see how it goes on; Flush writes all but what begins as a known secret does; Close
// writes everything.
type Text interface {
	io.Writer
	Flush() error
	Close() error
	// Held counts the bytes written but held back.
	Held() int
	// Masked counts the values replaced.
	Masked() int64
}

// Masks makes the Texts of one operation.
type Masks struct {
	// Client masks what the client is given. Nil: nothing is hidden from it.
	Client func(dst io.Writer) Text
	// Record masks what the book keeps of what the client sends. Required.
	Record func(dst io.Writer) Text
	// Digest stands in the book for bytes, the first of which is at position at of a stream, while it is not clear what
	// they are. It is keyed, and of equal bytes at two places it is not the same, so that nobody can tell them from it.
	// Required.
	Digest func(s recording.Stream, at int64, b []byte) string
}

// plain is the Text that hides nothing.
type plain struct{ io.Writer }

func (plain) Flush() error  { return nil }
func (plain) Close() error  { return nil }
func (plain) Held() int     { return 0 }
func (plain) Masked() int64 { return 0 }

func (m Masks) client(dst io.Writer) Text {
	if m.Client == nil {
		return plain{dst}
	}
	return m.Client(dst)
}
