package credential

import "net"

// ahead is a connection that is read in larger pieces than are asked for, and that says when there is nothing to read but by waiting. It
// is below TLS, which asks for one record at a time. One goroutine reads.
type ahead struct {
	net.Conn
	// before is called before a read that may wait, and its error is the read's. Nil: nothing is.
	before   func() error
	buf      []byte
	from, to int
}

// An idle connection holds room for a small answer; one that a long answer comes over more.
const (
	smallRead = 2 << 10
	largeRead = 64 << 10
)

func (a *ahead) Read(p []byte) (int, error) {
	if a.from == a.to {
		if a.before != nil {
			if err := a.before(); err != nil {
				return 0, err
			}
		}
		if len(p) >= largeRead {
			return a.Conn.Read(p)
		}
		switch {
		case a.buf == nil || a.to < smallRead && len(a.buf) > smallRead:
			a.buf = make([]byte, smallRead)
		case a.to == len(a.buf) && len(a.buf) < largeRead: // more is under way
			a.buf = make([]byte, largeRead)
		}
		n, err := a.Conn.Read(a.buf)
		a.from, a.to = 0, n
		if n == 0 {
			return 0, err
		}
	}
	n := copy(p, a.buf[a.from:a.to])
	a.from += n
	return n, nil
}
