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

// stream is a stream of HTTP/2 (RFC 9113, section 8.5), behind a pipe, whose deadlines can be set again. When the client has
// said all, the tunnel ends.
type stream struct {
	net.Conn
	c    *http.ResponseController
	live sync.WaitGroup
	// ending says that its end is no fault.
	ending atomic.Bool
	once   sync.Once
	failed error // to close
}

func newStream(w http.ResponseWriter, body io.Reader) *stream {
	ours, theirs := net.Pipe()
	s := &stream{Conn: ours, c: http.NewResponseController(w)}
	s.live.Go(func() {
		_, _ = io.Copy(theirs, body) // whoever reads is told by the end
		theirs.Close()
	})
	s.live.Go(func() {
		_, _ = io.Copy(&flushed{w, s.c}, theirs)
		theirs.Close()
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
	if errors.Is(err, io.ErrClosedPipe) && s.ending.Load() {
		err = io.EOF
	}
	return n, err
}

// CloseWrite ends the stream a moment later: that alone tells the client that nothing more comes.
func (s *stream) CloseWrite() error {
	s.ending.Store(true)
	time.AfterFunc(protocol.CutGrace, func() { s.Conn.Close() })
	return nil
}

// Close ends the stream. What was written has a moment to leave. After the first call, which the handler waits for, there is
// no stream to do anything to.
func (s *stream) Close() error {
	s.once.Do(func() {
		s.failed = s.Conn.Close()
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
