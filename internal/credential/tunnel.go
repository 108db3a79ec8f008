package credential

import (
	"context"
	"net"

	"gatebook/internal/access"
	"gatebook/internal/gate"
)

// Tunnel connects, under p, to one of the addresses that Options.Forward allows, and adds no credential. The connection
// is cut when the permit's context ends. The error is an *access.Refusal.
func (u *Upstream) Tunnel(p gate.Permit, address string) (net.Conn, error) {
	if !p.Valid() {
		return nil, access.Refuse(access.CodeInternal, nil, "a connection was about to be made without a permit")
	}
	if u.forward == nil || !u.forward("https", address) {
		return nil, access.Refuse(access.CodeInternal, nil, "a connection was about to be made to an address that its target does not name")
	}
	c, err := u.dial(p.Context(), "tcp", address)
	if err != nil {
		return nil, refusal(p.Context(), p, err)
	}
	t := &tunnel{Conn: c}
	t.stop = context.AfterFunc(p.Context(), func() { c.Close() })
	return t, nil
}

type tunnel struct {
	net.Conn
	stop func() bool
}

func (t *tunnel) Close() error {
	t.stop()
	return t.Conn.Close()
}

// CloseWrite says that nothing more comes.
func (t *tunnel) CloseWrite() error {
	if c, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
