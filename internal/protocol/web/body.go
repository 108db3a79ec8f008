package web

import (
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"gatebook/internal/access"
	"gatebook/internal/spool"
)

// maxWindow is how much memory a compressed body may ask for to be decompressed: what RFC 8878 and RFC 9659 ask of decoders.
const maxWindow = 8 << 20

// readBody reads a request's body to its end, and undoes its Content-Encoding.
func (h *Handler) readBody(r *http.Request) (*spool.Body, *access.Refusal) {
	if r.Body == nil || r.Body == http.NoBody {
		return &spool.Body{}, nil
	}
	limit := h.o.Limits.RequestBodyBytes
	if r.ContentLength > limit {
		return &spool.Body{}, spool.TooLong(bodyLimit, limit)
	}
	src, done, why := decompress(&counted{r.Body, limit}, r.Header.Values("Content-Encoding"))
	if why != nil {
		return &spool.Body{}, why
	}
	defer done()
	b, err := spool.Read(src, spool.Options{Memory: h.o.Limits.RequestMemoryBytes, Most: limit, Dir: h.o.SpoolDir})
	if err != nil {
		return b, spool.Refusal(err, bodyLimit, limit)
	}
	return b, nil
}

// bodyLimit is how the bound of a request's body is named.
const bodyLimit = "limits.requestBodyBytes (decompressed)"

// counted fails once more than left comes.
type counted struct {
	r    io.Reader
	left int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p[:min(int64(len(p)), c.left+1)])
	if c.left -= int64(n); c.left < 0 {
		return 0, spool.ErrTooLong
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
