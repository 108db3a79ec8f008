package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/guard"
	"gatebook/internal/protocol"
	"gatebook/internal/recording"
)

// tunnel carries a permitted tunnel to its end, and ends the permit, whatever happens. What goes through it has to be TLS
// for the very host that was decided on; more of it cannot be known.
func (x *exchange) tunnel(w http.ResponseWriter, p gate.Permit, proxy *Proxy) {
	began := x.h.o.Now()
	out := access.Outcome{ExitCode: -1, Truncated: "the gateway failed"}
	defer func() {
		out.Duration = x.h.o.Now().Sub(began)
		if err := p.End(out); err != nil {
			x.h.o.Log.Error("ending the record of an operation", "operation", x.op.ID, "error", err)
		}
	}()
	up, err := x.h.o.Upstream.Tunnel(p, x.origin.Host)
	if err != nil {
		why := protocol.Cause(p, err)
		why.Operation, why.Session = x.op.ID, x.op.Session
		out.Code, out.Message, out.Truncated = status(why), why.Message, ""
		proxy.Refuse(w, x.r, why)
		return
	}
	defer up.Close()
	down, err := takeOver(w, x.r)
	if err != nil {
		out.Code, out.Truncated = http.StatusInternalServerError, err.Error()
		return
	}
	defer down.Close()
	stop := context.AfterFunc(p.Context(), func() { down.Close(); up.Close() })
	defer stop()
	out.Code = http.StatusOK
	out.Truncated = ""
	hello, err := greeted(down, x.web.Host, proxy.o.HeaderTimeout)
	if err == nil {
		err = x.pipe(p, down, up, hello, &out)
	}
	if err != nil {
		why := protocol.Cause(p, err)
		out.Message, out.Truncated = why.Message, why.Message
		x.h.o.Log.Info("a tunnel was cut off", "operation", x.op.ID, "code", why.Code, "message", why.Message, "cause", why.Cause)
	}
}

// greeted reads what the client begins with: it must be TLS, for this host.
func greeted(down net.Conn, host string, within time.Duration) ([]byte, error) {
	if err := down.SetReadDeadline(time.Now().Add(within)); err != nil {
		return nil, &protocol.ClientError{Err: err}
	}
	var seen bytes.Buffer
	name, err := serverName(io.TeeReader(io.LimitReader(down, maxHello), &seen))
	switch {
	case err != nil:
		return nil, access.Refuse(access.CodeMalformed, err, "what goes through the tunnel is not TLS")
	case name != "" && !strings.EqualFold(name, host):
		return nil, access.Refuse(access.CodeDenied, nil, "the tunnel is for %s, and the TLS in it for %s", host, name)
	case name == "" && net.ParseIP(host) == nil: // of an address there is no server name (RFC 6066, section 3)
		return nil, access.Refuse(access.CodeDenied, nil, "the TLS in the tunnel does not say that it is for %s", host)
	}
	if err := down.SetReadDeadline(time.Time{}); err != nil {
		return nil, &protocol.ClientError{Err: err}
	}
	return seen.Bytes(), nil
}

// maxHello bounds a ClientHello, which net/crypto bounds at 64 KiB, with its framing.
const maxHello = 80 << 10

var errSeen = errors.New("seen")

// serverName reads a ClientHello, and gives the host that it is for.
func serverName(r io.Reader) (name string, err error) {
	seen := false
	c := tls.Server(listening{r}, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		name, seen = h.ServerName, true
		return nil, errSeen
	}})
	if err := c.Handshake(); !seen {
		return "", err
	}
	return name, nil
}

// listening is a connection that says nothing.
type listening struct{ r io.Reader }

func (l listening) Read(b []byte) (int, error)     { return l.r.Read(b) }
func (listening) Write(b []byte) (int, error)      { return len(b), nil }
func (listening) Close() error                     { return nil }
func (listening) LocalAddr() net.Addr              { return nil }
func (listening) RemoteAddr() net.Addr             { return nil }
func (listening) SetDeadline(time.Time) error      { return nil }
func (listening) SetReadDeadline(time.Time) error  { return nil }
func (listening) SetWriteDeadline(time.Time) error { return nil }

// pipe carries both directions until each has ended, or one breaks.
func (x *exchange) pipe(p gate.Permit, down taken, up net.Conn, hello []byte, out *access.Outcome) error {
	ends := make(chan error, 2)
	carry := func(dst, src net.Conn, first []byte, d recording.Direction, n *int64) {
		err := guard.Call(func() error { return copyRecorded(p, dst, src, first, d, n) })
		if c, ok := dst.(interface{ CloseWrite() error }); ok && err == nil {
			_ = c.CloseWrite() // who has gone already says so in the other direction
		}
		ends <- err
		if err != nil { // what the other direction ends with comes of this
			down.Close()
			up.Close()
		}
	}
	go carry(up, down, hello, recording.FromClient, &out.RequestBytes)
	go carry(down, up, nil, recording.ToClient, &out.ResponseBytes)
	first := <-ends
	second := <-ends
	if first != nil {
		return first
	}
	return second
}

// copyRecorded carries one direction: what is not recorded does not flow.
func copyRecorded(p gate.Permit, dst io.Writer, src io.Reader, first []byte, d recording.Direction, count *int64) error {
	buf := make([]byte, relayBytes)
	n := copy(buf, first)
	rest := first[n:]
	for {
		if n > 0 {
			if err := p.Record(recording.Body, d, buf[:n]); err != nil {
				return err
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return err
			}
			*count += int64(n)
		}
		if len(rest) > 0 {
			n = copy(buf, rest)
			rest = rest[n:]
			continue
		}
		var err error
		n, err = src.Read(buf)
		if n == 0 && errors.Is(err, io.EOF) {
			return context.Cause(p.Context()) // an end that comes after a cut is a part of it
		}
		if n == 0 && err != nil {
			return err
		}
	}
}
