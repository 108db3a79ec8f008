package spdy

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/moby/spdystream"
)

// ErrReset is the error of a write to a stream that the peer has reset, and of opening one that it resets at once.
var ErrReset = errors.New("the peer has reset the spdy stream")

// Stream is one stream of a connection. Reading and writing are independent; each is for one goroutine at a time.
type Stream struct {
	c      *Conn
	s      *spdystream.Stream
	closed atomic.Bool // for writing, by this side
}

// Header holds the headers that the stream was opened with.
func (s *Stream) Header() http.Header { return s.s.Headers() }

// ID is the stream's number on its connection.
func (s *Stream) ID() uint32 { return s.s.Identifier() }

// Next returns the payload of the next data frame, at most MaxFrame octets, which is then the caller's. The error is
// io.EOF when the peer half-closed or reset the stream, or the connection ended.
func (s *Stream) Next() ([]byte, error) {
	for {
		b, err := s.s.ReadData()
		if err != nil {
			return nil, io.EOF
		}
		if len(b) > 0 {
			return b, nil
		}
	}
}

// Discard reads and forgets what the peer sends on a stream that is not for it to write on, so that it cannot hold
// up the others. It returns when the stream ends.
func (s *Stream) Discard() {
	for {
		if _, err := s.Next(); err != nil {
			return
		}
	}
}

// Write sends p, in frames of at most 32 KiB. It does not retain p.
func (s *Stream) Write(p []byte) (int, error) {
	for n := 0; ; {
		if s.s.IsFinished() {
			return n, ErrReset
		}
		m := min(len(p)-n, bufferBytes)
		if err := s.s.WriteData(p[n:n+m], false); errors.Is(err, spdystream.ErrWriteClosedStream) {
			return n, ErrReset
		} else if err != nil {
			return n, err
		}
		if n += m; n == len(p) {
			return n, nil
		}
	}
}

// CloseWrite half-closes the stream: nothing more comes from this side. Later calls do nothing.
func (s *Stream) CloseWrite() error {
	if s.closed.Swap(true) {
		return nil
	}
	err := s.s.Close()
	if errors.Is(err, spdystream.ErrWriteClosedStream) {
		return ErrReset
	}
	return err
}

// Reset ends both directions of the stream and forgets it.
func (s *Stream) Reset() {
	s.c.remove(s)
	s.drop()
}

func (s *Stream) drop() {
	if err := s.s.Reset(); err != nil {
		// The reset could not be sent because the connection has ended, and with it the stream.
		return
	}
}
