package server

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"gatebook/internal/access"
)

// timedBody is a request's body that has to come within a limit: a client that sends it byte by byte holds nothing up
// for ever. Once it is whole, net/http lifts the deadline: the request may wait for an approval.
type timedBody struct {
	io.ReadCloser
	limit time.Duration
}

// timeBody starts a body's time. It holds also where no handler reads the body: the HTTP server reads on, to be able to
// use the connection again.
func (s *Server) timeBody(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody || s.o.BodyTimeout == 0 || r.Method == http.MethodConnect { // of HTTP/2, whose stream is the tunnel's
		return
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.o.BodyTimeout)); err != nil {
		s.o.Log.Warn("a request's body cannot be given a time", "error", err)
		return
	}
	r.Body = &timedBody{r.Body, s.o.BodyTimeout}
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = access.Refuse(access.CodeTooSlow, err, "the request's body did not arrive within limits.bodyTimeout, %v", b.limit)
	}
	return n, err
}
