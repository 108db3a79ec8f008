package websocket

import (
	"errors"
	"io"
)

// tunnel is a stream of bytes in binary messages, whose bounds mean nothing.
type tunnel struct {
	*Server
	r io.Reader // the message under way
}

// Tunnel takes over s as a stream of bytes.
func Tunnel(s *Server) io.ReadWriteCloser { return &tunnel{Server: s} }

func (t *tunnel) Read(p []byte) (int, error) {
	for {
		if t.r == nil {
			r, err := t.Next()
			if err != nil {
				return 0, err
			}
			t.r = r
		}
		n, err := t.r.Read(p)
		if errors.Is(err, io.EOF) {
			t.r, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

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
