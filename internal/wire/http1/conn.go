package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// Conn is a client's connection as net/http is to have it. One goroutine may read while another writes.
type Conn struct {
	*tls.Conn
	r reader
	// beyond says that a request for another protocol was read.
	beyond atomic.Bool
}

// Accept is the server's side of a TLS handshake, which ends with ctx. The connection is what http.Server.Serve is to be
// given, whose ConnState has to be Watch. Where it fails, the connection is closed.
func Accept(ctx context.Context, c net.Conn, tc *tls.Config) (net.Conn, error) {
	t := tls.Server(c, tc)
	if err := t.HandshakeContext(ctx); err != nil {
		defer c.Close()
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
			if _, err := io.WriteString(plain.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nThis port speaks HTTPS.\n"); err != nil {
				return nil, err // the client has gone
			}
		}
		return nil, err
	}
	if t.ConnectionState().NegotiatedProtocol == "h2" {
		return t, nil
	}
	return &Conn{Conn: t, r: reader{r: t}}, nil
}

// looksLikeHTTP reports whether what should be TLS is a request in clear.
func looksLikeHTTP(b [5]byte) bool {
	switch string(b[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "CONNE", "DELET", "PATCH":
		return true
	}
	return false
}

// Watch follows what net/http makes of a connection.
func Watch(c net.Conn, state http.ConnState) {
	own, ok := c.(*Conn)
	switch {
	case !ok:
	case state == http.StateHijacked:
		own.r.free.Store(true)
	case state == http.StateIdle && own.beyond.Load(): // a request for another protocol was answered, and what comes now could be either
		own.Close()
	}
}

// Read gives what the client sends, as far as its framing can be read in one way alone. What comes behind a request for
// another protocol is given once the connection is hijacked, and never to net/http.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.r.f.part == other {
		c.beyond.Store(true)
	}
	return n, err
}

// reader follows the framing of what r gives. Where that can be read in two ways, poison follows, without end, at which
// net/http answers 400 and closes. An error in its place would end the request before it, too.
type reader struct {
	r  io.Reader
	f  framing
	at int // in the poison, once there is any
	// poison is set where the client's bytes end.
	poison string
	// held is what came behind a request for another protocol, and free says that whoever reads now has granted it.
	held []byte
	free atomic.Bool
}

// maxHeld bounds what a client may say in another protocol before that is granted; a client that is to wait says nothing.
const maxHeld = 64 << 10

var errUnasked = errors.New("the client went on in a protocol that nobody has granted")

const (
	poisonHead = "\x00\r\n\r\n" // no part of a head is this
	poisonBody = "\x00"         // nor is this the size of a chunk, or its end, or the end of any line
)

func (r *reader) Read(p []byte) (int, error) {
	if r.f.part == other || r.free.Load() {
		return r.beyond(p)
	}
	good := 0
	if r.poison == "" {
		n, err := r.r.Read(p)
		if good = r.f.follow(p[:n]); good == n {
			return n, err
		}
		if r.f.part == other {
			r.held = append(r.held, p[good:n]...)
			return good, nil
		}
		r.poison = poisonHead
		if r.f.part.inBody() {
			r.poison = poisonBody
		}
	}
	for i := good; i < len(p); i++ {
		p[i] = r.poison[r.at%len(r.poison)]
		r.at++
	}
	return len(p), nil
}

// beyond reads what is no HTTP/1.1. Until that is granted it only waits for the client to leave, or for the read's deadline.
func (r *reader) beyond(p []byte) (int, error) {
	for !r.free.Load() {
		var b [4 << 10]byte
		n, err := r.r.Read(b[:])
		if r.held = append(r.held, b[:n]...); err != nil {
			return 0, err
		}
		if len(r.held) > maxHeld {
			return 0, errUnasked
		}
	}
	if len(r.held) == 0 {
		return r.r.Read(p)
	}
	n := copy(p, r.held)
	if r.held = r.held[n:]; len(r.held) == 0 {
		r.held = nil
	}
	return n, nil
}
