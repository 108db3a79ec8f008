package credential

import "net"

// ahead is a connection that is read in larger pieces than are asked for, so that it is known whether more has come already. It is
// below TLS, which asks for one record at a time. One goroutine reads.
type ahead struct {
	net.Conn
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

// pending is how many bytes have come that nobody has asked for yet.
func (a *ahead) pending() int { return a.to - a.from }
