package web

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"gatebook/internal/protocol"
)

// taken is a client's side of a tunnel: of HTTP/1.1 a connection that was taken over, of HTTP/2 a stream.
type taken interface {
	net.Conn
	// CloseWrite says that nothing more comes.
	CloseWrite() error
}

// takeOver answers CONNECT; what comes then is the tunnel's. It has to be closed before the handler returns.
func takeOver(w http.ResponseWriter, r *http.Request) (taken, error) {
	if r.ProtoMajor == 1 {
		return hijack(w)
	}
	w.WriteHeader(http.StatusOK)
	if err := http.NewResponseController(w).Flush(); err != nil {
		return nil, err
	}
	return newStream(w, r.Body), nil
}

// hijacked is a connection of which some was read ahead. Once that is read, net/http's reader is passed by: a deadline that
// passes in it would end the request's context, and so the tunnel.
type hijacked struct {
	net.Conn
	ahead []byte
}

func hijack(w http.ResponseWriter) (*hijacked, error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection Established\r\n\r\n"); err != nil {
		conn.Close()
		return nil, err
	}
	ahead, err := rw.Reader.Peek(rw.Reader.Buffered())
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &hijacked{conn, ahead}, nil
}

func (h *hijacked) Read(b []byte) (int, error) {
	if len(h.ahead) > 0 {
		n := copy(b, h.ahead)
		h.ahead = h.ahead[n:]
		return n, nil
	}
	return h.Conn.Read(b)
}

func (h *hijacked) CloseWrite() error {
	if c, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// stream is a stream of HTTP/2 (RFC 9113, section 8.5), behind a pipe for each direction, whose deadlines can be set again: what
// a client that has said all is still told reaches it.
type stream struct {
	net.Conn          // what the client says
	to       net.Conn // and is told
	c        *http.ResponseController
	live     sync.WaitGroup
	// ending says that its end is no fault, and broke is how the client's side of it ended otherwise.
	ending atomic.Bool
	broke  atomic.Pointer[error]
	once   sync.Once
	failed error // to close
}

func newStream(w http.ResponseWriter, body io.Reader) *stream {
	from, client := net.Pipe()
	to, answer := net.Pipe()
	s := &stream{Conn: from, to: to, c: http.NewResponseController(w)}
	s.live.Go(func() {
		if _, err := io.Copy(client, body); err != nil { // whoever reads is told by the end
			s.broke.Store(&err)
		}
		client.Close()
	})
	s.live.Go(func() {
		_, _ = io.Copy(&flushed{w, s.c}, answer) // whoever writes is told by the end
		answer.Close()
	})
	return s
}

type flushed struct {
	w http.ResponseWriter
	c *http.ResponseController
}

func (f *flushed) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if err == nil {
		err = f.c.Flush()
	}
	return n, err
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	broke := s.broke.Load()
	switch {
	case errors.Is(err, io.ErrClosedPipe) && s.ending.Load():
		err = io.EOF
	case errors.Is(err, io.EOF) && broke != nil:
		err = *broke // a stream that was reset has not ended
	}
	return n, err
}

func (s *stream) Write(b []byte) (int, error) { return s.to.Write(b) }

func (s *stream) SetDeadline(t time.Time) error {
	return errors.Join(s.Conn.SetReadDeadline(t), s.to.SetWriteDeadline(t))
}

func (s *stream) SetWriteDeadline(t time.Time) error { return s.to.SetWriteDeadline(t) }

// CloseWrite ends the stream a moment later: that alone tells the client that nothing more comes.
func (s *stream) CloseWrite() error {
	s.ending.Store(true)
	time.AfterFunc(protocol.CutGrace, func() { s.Conn.Close() })
	return s.to.Close()
}

// Close ends the stream. What was written has a moment to leave. After the first call, which the handler waits for, there is
// no stream to do anything to.
func (s *stream) Close() error {
	s.once.Do(func() {
		s.failed = errors.Join(s.Conn.Close(), s.to.Close())
		past := time.Unix(1, 0)
		s.failed = errors.Join(s.failed, s.c.SetReadDeadline(past))
		done := make(chan struct{})
		go func() { s.live.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(protocol.CutGrace):
			s.failed = errors.Join(s.failed, s.c.SetWriteDeadline(past))
			<-done
		}
	})
	return s.failed
}
