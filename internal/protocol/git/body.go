package git

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/spool"
)

// memoryBytes of a body stay in memory; a longer one waits on disk.
const memoryBytes = 64 << 10

// readBody reads a request's body to its end. limit, whose name is what it is refused by, bounds it decoded: what is
// compressed can be far longer than it looks.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, limit int64, name string) (*spool.Body, *access.Refusal) {
	if r.Body == nil || r.Body == http.NoBody {
		return &spool.Body{}, nil
	}
	src, why := h.decoded(w, r)
	if why != nil {
		return &spool.Body{}, why
	}
	b, err := spool.Read(src, spool.Options{Memory: memoryBytes, Most: limit, Dir: h.o.SpoolDir})
	if err == nil {
		if err = http.NewResponseController(w).SetReadDeadline(time.Time{}); errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	if err != nil {
		b.Close()
		return &spool.Body{}, spool.Refusal(err, name, limit)
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
			return nil, spool.Refusal(err, "", 0)
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
