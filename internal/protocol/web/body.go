package web

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"gatebook/internal/access"
)

// body is a request's body, whole and no longer compressed: in memory as far as Limits.RequestMemoryBytes, else in a file
// without a name. It can be read any number of times.
type body struct {
	memory []byte
	file   *os.File
	size   int64
}

// maxWindow is how much memory a compressed body may ask for to be decompressed: what RFC 8878 and RFC 9659 ask of decoders.
const maxWindow = 8 << 20

// readBody reads a request's body to its end, and undoes its Content-Encoding.
func (h *Handler) readBody(r *http.Request) (*body, *access.Refusal) {
	if r.Body == nil || r.Body == http.NoBody {
		return &body{}, nil
	}
	limit := h.o.Limits.RequestBodyBytes
	if r.ContentLength > limit {
		return &body{}, tooLarge(limit)
	}
	src, done, why := decompress(&counted{r.Body, limit}, r.Header.Values("Content-Encoding"))
	if why != nil {
		return &body{}, why
	}
	defer done()
	b, err := h.keep(&counted{src, limit})
	if err != nil {
		b.close()
		return &body{}, bodyRefusal(err, limit)
	}
	return b, nil
}

// errLimit says that there is more than may be.
var errLimit = errors.New("beyond the limit")

// counted fails once more than left comes.
type counted struct {
	r    io.Reader
	left int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p[:min(int64(len(p)), c.left+1)])
	if c.left -= int64(n); c.left < 0 {
		return 0, errLimit
	}
	return n, err
}

// decompress undoes one encoding. Several, or one that is not known, are refused: what they hide nobody could decide on.
// The service is sent the body as it comes out of here: where readers differ in what they make of compressed bytes, such as of
// a second member of gzip, there is nothing left to differ on.
func decompress(r io.Reader, encodings []string) (io.Reader, func(), *access.Refusal) {
	name := strings.ToLower(strings.TrimSpace(strings.Join(encodings, ",")))
	none := func() {}
	var err error
	switch name {
	case "", "identity":
		return r, none, nil
	case "gzip", "x-gzip":
		return &late{open: func() (io.Reader, error) { return gzip.NewReader(r) }}, none, nil
	case "deflate":
		return &late{open: func() (io.Reader, error) { return zlib.NewReader(r) }}, none, nil
	case "br":
		return brotli.NewReader(r), none, nil
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow)); err == nil {
			return z, z.Close, nil
		}
	}
	why := access.Refuse(access.CodeMalformed, err, "the request's body has Content-Encoding %q, which the gateway does not read", name)
	why.Advice = "Send the body as it is, or by one of gzip, deflate, br and zstd."
	return nil, none, why
}

// late opens a decoder when it is first read: opening reads.
type late struct {
	open func() (io.Reader, error)
	r    io.Reader
}

func (l *late) Read(p []byte) (int, error) {
	if l.r == nil {
		r, err := l.open()
		if err != nil {
			return 0, noEOF(err)
		}
		l.r = r
	}
	return l.r.Read(p)
}

// noEOF keeps an end where none may be from being taken for the body's.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (h *Handler) keep(src io.Reader) (*body, error) {
	head, err := io.ReadAll(io.LimitReader(src, h.o.Limits.RequestMemoryBytes))
	b := &body{memory: head, size: int64(len(head))}
	if err == nil && b.size >= h.o.Limits.RequestMemoryBytes {
		err = b.spool(h.o.SpoolDir, src)
	}
	return b, err
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
	return access.Refuse(access.CodeTooLarge, nil, "the request's body, decompressed, is longer than limits.requestBodyBytes, %d bytes", limit)
}

func bodyRefusal(err error, limit int64) *access.Refusal {
	var spool *spoolError
	var why *access.Refusal
	switch {
	case errors.As(err, &why):
		return why
	case errors.Is(err, errLimit):
		return tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return access.Refuse(access.CodeTooSlow, err, "the request's body did not arrive within limits.bodyTimeout")
	case errors.As(err, &spool):
		return access.Refuse(access.CodeInternal, err, "the request's body could not be kept while it is decided")
	}
	return access.Refuse(access.CodeMalformed, err, "the request's body ended early, or is not framed or compressed correctly")
}
