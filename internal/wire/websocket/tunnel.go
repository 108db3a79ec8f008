package websocket

import (
	"errors"
	"io"
)

// messages is a stream of bytes out of messages, whose bounds mean nothing.
type messages struct {
	next func() (io.Reader, error)
	r    io.Reader // the message under way
}

func (m *messages) Read(p []byte) (int, error) {
	for {
		if m.r == nil {
			r, err := m.next()
			if err != nil {
				return 0, err
			}
			m.r = r
		}
		n, err := m.r.Read(p)
		if errors.Is(err, io.EOF) {
			m.r, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// tunnel is a stream of bytes in binary messages, both ways.
type tunnel struct {
	*Server
	messages
}

// Tunnel takes over s as a stream of bytes.
func Tunnel(s *Server) io.ReadWriteCloser { return &tunnel{s, messages{next: s.Next}} }

func (t *tunnel) Write(p []byte) (int, error) {
	for n := 0; ; {
		m := min(len(p)-n, MessageBytes)
		if err := t.Message(false, p[n:n+m]); err != nil {
			return n, err
		}
		if n += m; n == len(p) {
			return n, nil
		}
	}
}

func (t *tunnel) Close() error {
	t.Abort()
	return nil
}
