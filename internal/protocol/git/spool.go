package git

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"gatebook/internal/access"
)

// memoryBytes of a body stay in memory; a longer one waits on disk.
const memoryBytes = 64 << 10

// body is a request's body, whole and decoded: what is judged, digested, recorded and sent. It can be read any number of
// times.
type body struct {
	memory []byte
	file   *os.File
	size   int64
}

// spool reads a request's body to its end. limit, whose name is what it is refused by, bounds it decoded: what is
// compressed can be far longer than it looks.
func (h *Handler) spool(w http.ResponseWriter, r *http.Request, limit int64, name string) (*body, *access.Refusal) {
	b := &body{}
	if r.Body == nil || r.Body == http.NoBody {
		return b, nil
	}
	src, why := h.decoded(w, r)
	if why != nil {
		return b, why
	}
	b.memory = make([]byte, 0, memoryBytes)
	n, err := io.Copy(b.writer(h.o.SpoolDir), io.LimitReader(src, limit+1))
	switch {
	case err != nil:
		b.close()
		return &body{}, bodyRefusal(err, name, limit)
	case n > limit:
		b.close()
		return &body{}, tooLarge(name, limit)
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		b.close()
		return &body{}, bodyRefusal(err, name, limit)
	}
	return b, nil
}

// decoded undoes gzip, which git uses for what is long.
func (h *Handler) decoded(w http.ResponseWriter, r *http.Request) (io.Reader, *access.Refusal) {
	src := &patient{r.Body, http.NewResponseController(w), h.o.Limits.BodyTimeout}
	encodings := r.Header.Values("Content-Encoding")
	switch {
	case len(encodings) == 0 || len(encodings) == 1 && strings.EqualFold(encodings[0], "identity"):
		return src, nil
	case len(encodings) == 1 && (strings.EqualFold(encodings[0], "gzip") || strings.EqualFold(encodings[0], "x-gzip")):
		z, err := gzip.NewReader(src)
		if err != nil {
			return nil, bodyRefusal(err, "", 0)
		}
		return z, nil
	}
	return nil, malformed("the body has Content-Encoding %q, which git does not use", strings.Join(encodings, ", "))
}

// patient lets a body take its time as long as it gets on: a large push over a slow line is no attack.
type patient struct {
	r     io.Reader
	c     *http.ResponseController
	limit time.Duration
}

func (p *patient) Read(b []byte) (int, error) {
	// Where there is no deadline, as with a test's connection, nothing waits for ever either: the test ends.
	if err := p.c.SetReadDeadline(time.Now().Add(p.limit)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, fmt.Errorf("giving a body more time: %w", err)
	}
	return p.r.Read(b)
}

// writer takes the body into memory, and into a file that no other process can open when it becomes long.
func (b *body) writer(dir string) io.Writer { return &bodyWriter{b, dir} }

type bodyWriter struct {
	*body
	dir string
}

func (b *bodyWriter) Write(p []byte) (int, error) {
	b.size += int64(len(p))
	if b.file == nil && len(b.memory)+len(p) <= memoryBytes {
		b.memory = append(b.memory, p...)
		return len(p), nil
	}
	if b.file == nil {
		f, err := os.CreateTemp(b.dir, "gatebook-git-")
		if err != nil {
			return 0, &spoolError{err}
		}
		b.file = f
		if err := os.Remove(f.Name()); err != nil {
			return 0, &spoolError{err}
		}
		if _, err := f.Write(b.memory); err != nil {
			return 0, &spoolError{err}
		}
		b.memory = nil
	}
	n, err := b.file.Write(p)
	if err != nil {
		return n, &spoolError{err}
	}
	return n, nil
}

// spoolError is a failure of the gateway's own disk.
type spoolError struct{ error }

func (e *spoolError) Unwrap() error { return e.error }

func (b *body) reader() *io.SectionReader { return b.from(0) }

// from reads what is behind an offset.
func (b *body) from(offset int64) *io.SectionReader {
	if b.file != nil {
		return io.NewSectionReader(b.file, offset, b.size-offset)
	}
	return io.NewSectionReader(bytes.NewReader(b.memory), offset, b.size-offset)
}

func (b *body) close() {
	if b.file != nil {
		b.file.Close() // nothing is lost: the file has no name
		b.file = nil
	}
}

func tooLarge(name string, limit int64) *access.Refusal {
	return access.Refuse(access.CodeTooLarge, nil, "the request's body is longer than %s, %d bytes", name, limit)
}

func bodyRefusal(err error, name string, limit int64) *access.Refusal {
	var spool *spoolError
	var long *http.MaxBytesError
	var why *access.Refusal
	switch {
	case errors.As(err, &why):
		return why
	case errors.As(err, &long):
		return tooLarge(name, limit)
	case errors.As(err, &spool):
		return access.Refuse(access.CodeInternal, err, "the request's body could not be kept while it is decided")
	}
	return access.Refuse(access.CodeMalformed, err, "the request's body ended early, or is not encoded correctly")
}
