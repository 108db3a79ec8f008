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
	// beyond says that bytes were read that are no HTTP/1.1; free, that whoever reads them knows.
	beyond, free atomic.Bool
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
		own.free.Store(true)
	case state == http.StateIdle && own.beyond.Load(): // a request for another protocol was answered, and what comes now could be either
		own.Close()
	}
}

// Read gives what the client sends, as far as its framing can be read in one way alone.
func (c *Conn) Read(p []byte) (int, error) {
	if c.free.Load() {
		return c.Conn.Read(p)
	}
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
}

const (
	poisonHead = "\x00\r\n\r\n" // no part of a head is this
	poisonBody = "\x00"         // nor is this the size of a chunk, or its end, or the end of any line
)

func (r *reader) Read(p []byte) (int, error) {
	good := 0
	if r.poison == "" {
		n, err := r.r.Read(p)
		if good = r.f.follow(p[:n]); good == n {
			return n, err
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
