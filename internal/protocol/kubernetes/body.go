package kubernetes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"gatebook/internal/access"
)

// body is a request's body, whole: in memory as far as Limits.RequestMemoryBytes, else in a file without a name. It can
// be read any number of times, by one goroutine at a time per reader.
type body struct {
	memory []byte
	file   *os.File
	size   int64
}

// readBody reads a request's body to its end.
func (h *Handler) readBody(r *http.Request) (*body, *access.Refusal) {
	if r.Body == nil || r.Body == http.NoBody {
		return &body{}, nil
	}
	limit := h.o.Limits.RequestBodyBytes
	if r.ContentLength > limit {
		return &body{}, tooLarge(limit)
	}
	src := io.LimitReader(r.Body, limit+1)
	head, err := io.ReadAll(io.LimitReader(src, h.o.Limits.RequestMemoryBytes))
	if err != nil {
		return &body{}, bodyRefusal(err)
	}
	b := &body{memory: head, size: int64(len(head))}
	if b.size >= h.o.Limits.RequestMemoryBytes {
		if err := b.spool(h.o.SpoolDir, src); err != nil {
			b.close()
			return &body{}, bodyRefusal(err)
		}
	}
	if b.size > limit {
		b.close()
		return &body{}, tooLarge(limit)
	}
	return b, nil
}

// spool moves what was read, and the rest of src, to a file that no other process can open.
func (b *body) spool(dir string, src io.Reader) error {
	f, err := os.CreateTemp(dir, "gatebook-body-")
	if err != nil {
		return &spoolError{err}
	}
	b.file = f
	if err := os.Remove(f.Name()); err != nil {
		return &spoolError{err}
	}
	if _, err := f.Write(b.memory); err != nil {
		return &spoolError{err}
	}
	n, err := io.Copy(f, src)
	b.memory, b.size = nil, b.size+n
	return err
}

// spoolError is a failure of the gateway's own disk.
type spoolError struct{ error }

func (e *spoolError) Unwrap() error { return e.error }

func (b *body) reader() io.Reader {
	if b.file != nil {
		return io.NewSectionReader(b.file, 0, b.size)
	}
	return bytes.NewReader(b.memory)
}

func (b *body) bytes() ([]byte, error) {
	if b.file == nil {
		return b.memory, nil
	}
	out := make([]byte, b.size)
	if _, err := io.ReadFull(b.reader(), out); err != nil {
		return nil, fmt.Errorf("reading the spooled body: %w", err)
	}
	return out, nil
}

func (b *body) close() {
	if b.file != nil {
		b.file.Close() // nothing is lost: the file has no name
		b.file = nil
	}
}

func tooLarge(limit int64) *access.Refusal {
	return access.Refuse(access.CodeTooLarge, nil, "the request's body is longer than limits.requestBodyBytes, %d bytes", limit)
}

func bodyRefusal(err error) *access.Refusal {
	var spool *spoolError
	var long *http.MaxBytesError
	var why *access.Refusal
	switch {
	case errors.As(err, &why):
		return why
	case errors.As(err, &long):
		return tooLarge(long.Limit)
	case errors.As(err, &spool):
		return access.Refuse(access.CodeInternal, err, "the request's body could not be kept while it is decided")
	}
	return access.Refuse(access.CodeMalformed, err, "the request's body ended early, or is not framed correctly")
}
