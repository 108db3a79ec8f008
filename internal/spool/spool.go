// Package spool keeps a request's body, whole, while it is decided: what is judged, digested, recorded and sent is one and the
// same, however often it is read.
//
// It guarantees that memory is bounded: what is longer than a bound waits in a file without a name, which no other process
// can open and which is gone with the process; that a body longer than its limit is an error, never cut; that a failure of
// the gateway's own disk is told from one of the sender's.
package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"gatebook/internal/access"
)

// Options say how much is kept, and where.
type Options struct {
	// Memory bounds what stays in memory; Most is how long a body may be. In bytes.
	Memory, Most int64
	// Dir is for the file of a longer one; empty: the system's temporary folder.
	Dir string
}

// Body is what was read. It can be read any number of times, by several goroutines, until Close. The zero value is empty.
type Body struct {
	memory []byte
	file   *os.File
	size   int64
}

// Of keeps b, which belongs to the Body from then on.
func Of(b []byte) *Body { return &Body{memory: b, size: int64(len(b))} }

// ErrTooLong is the error of a body that is longer than Options.Most.
var ErrTooLong = errors.New("the body is too long")

// Read reads src to its end. An error is ErrTooLong, a *DiskError, or src's own; the body is then empty.
func Read(src io.Reader, o Options) (*Body, error) {
	src = io.LimitReader(src, o.Most+1)
	head, err := io.ReadAll(io.LimitReader(src, o.Memory))
	b := Of(head)
	if err == nil && b.size == o.Memory {
		err = b.spill(src, o.Dir)
	}
	if err == nil && b.size > o.Most {
		err = ErrTooLong
	}
	if err != nil {
		b.Close()
		return &Body{}, err
	}
	return b, nil
}

// spill moves what was read, and the rest of src, to a file.
func (b *Body) spill(src io.Reader, dir string) error {
	var block [1]byte // a body that ends here needs no file
	n, err := io.ReadFull(src, block[:])
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "gatebook-body-")
	if err != nil {
		return &DiskError{err}
	}
	b.file = f
	if err := os.Remove(f.Name()); err != nil {
		return &DiskError{err}
	}
	to := disk{f}
	for _, p := range [][]byte{b.memory, block[:n]} {
		if _, err := to.Write(p); err != nil {
			return err
		}
	}
	rest, err := io.Copy(to, src)
	b.memory, b.size = nil, b.size+int64(n)+rest
	return err
}

// disk is a file whose errors are the gateway's.
type disk struct{ f *os.File }

func (d disk) Write(p []byte) (int, error) {
	n, err := d.f.Write(p)
	if err != nil {
		return n, &DiskError{err}
	}
	return n, nil
}

// DiskError is a failure of the gateway's own disk.
type DiskError struct{ Err error }

func (e *DiskError) Error() string { return e.Err.Error() }
func (e *DiskError) Unwrap() error { return e.Err }

// Size is how many bytes there are.
func (b *Body) Size() int64 { return b.size }

// Reader reads all of it.
func (b *Body) Reader() *io.SectionReader { return b.From(0) }

// From reads what is behind an offset.
func (b *Body) From(offset int64) *io.SectionReader {
	if b.file != nil {
		return io.NewSectionReader(b.file, offset, b.size-offset)
	}
	return io.NewSectionReader(bytes.NewReader(b.memory), offset, b.size-offset)
}

// Bytes gives all of it, which must not be changed.
func (b *Body) Bytes() ([]byte, error) {
	if b.file == nil {
		return b.memory, nil
	}
	out := make([]byte, b.size)
	if _, err := io.ReadFull(b.Reader(), out); err != nil {
		return nil, fmt.Errorf("reading the spooled body: %w", err)
	}
	return out, nil
}

// Close lets go of it. It may be called again.
func (b *Body) Close() {
	if b.file != nil {
		b.file.Close() // nothing is lost: the file has no name
		b.file = nil
	}
}

// Refusal says why a body could not be read; limit is named as in the configuration.
func Refusal(err error, name string, limit int64) *access.Refusal {
	var disk *DiskError
	var long *http.MaxBytesError
	var why *access.Refusal
	switch {
	case errors.As(err, &why):
		return why
	case errors.Is(err, ErrTooLong), errors.As(err, &long):
		return TooLong(name, limit)
	case errors.As(err, &disk):
		return access.Refuse(access.CodeInternal, err, "the request's body could not be kept while it is decided")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return access.Refuse(access.CodeTooSlow, err, "the request's body did not arrive within limits.bodyTimeout")
	}
	return access.Refuse(access.CodeMalformed, err, "the request's body ended early, or is not framed or encoded correctly")
}

// TooLong refuses what is longer than a limit.
func TooLong(name string, limit int64) *access.Refusal {
	return access.Refuse(access.CodeTooLarge, nil, "the request's body is longer than %s, %d bytes", name, limit)
}
