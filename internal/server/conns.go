package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"gatebook/internal/protocol"
)

// ServeConns hands every connection of l to h, until Shutdown, and returns nil then. It closes l.
func (s *Server) ServeConns(l net.Listener, h protocol.ConnHandler) error {
	context.AfterFunc(s.accepting, func() { l.Close() })
	for {
		c, err := l.Accept()
		switch {
		case s.accepting.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("serving on %s: %w", l.Addr(), err)
		case err != nil: // such as too many open files: others leave
			s.o.Log.Warn("accepting a connection", "address", l.Addr(), "error", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		s.live.Go(func() { s.serveConn(c, h) })
	}
}

func (s *Server) serveConn(c net.Conn, h protocol.ConnHandler) {
	defer func() {
		if v := recover(); v != nil { // as net/http: one connection's fault is not the others'
			s.o.Log.Error("a connection's handler failed", "address", c.RemoteAddr(), "panic", v)
			c.Close()
		}
	}()
	h.ServeConn(s.ctx, c, protocol.Door{Watch: s.recheck, Authenticate: func(ctx context.Context, token string) (protocol.Caller, error) {
		return s.authenticate(ctx, token, "")
	}})
}
