package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"time"

	"gatebook/internal/wire/http1"
)

// handshakes is a listener of connections whose TLS stands, so that those of HTTP/1.1 come with their framing watched. A
// client that is slow with its handshake holds up no other.
type handshakes struct {
	net.Listener
	tls    *tls.Config
	within time.Duration
	log    *slog.Logger

	ready  chan net.Conn
	failed chan error
	ctx    context.Context
	end    context.CancelFunc
}

// shakeHands begins to accept on l. A handshake has within to end; 0: as long as it takes.
func shakeHands(l net.Listener, tc *tls.Config, within time.Duration, log *slog.Logger) *handshakes {
	h := &handshakes{Listener: l, tls: tc, within: within, log: log, ready: make(chan net.Conn), failed: make(chan error)}
	h.ctx, h.end = context.WithCancel(context.Background())
	go h.run()
	return h
}

func (h *handshakes) run() {
	for {
		c, err := h.Listener.Accept()
		if err != nil {
			select {
			case h.failed <- err: // net/http waits where it may come right, and asks again
				continue
			case <-h.ctx.Done():
				return
			}
		}
		go h.shake(c)
	}
}

func (h *handshakes) shake(raw net.Conn) {
	ctx := h.ctx
	if h.within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.within)
		defer cancel()
	}
	c, err := http1.Accept(ctx, raw, h.tls)
	if err != nil {
		h.log.Debug("TLS handshake", "address", raw.RemoteAddr(), "error", err)
		return
	}
	select {
	case h.ready <- c:
	case <-h.ctx.Done():
		if err := c.Close(); err != nil {
			h.log.Debug("closing a connection", "address", raw.RemoteAddr(), "error", err)
		}
	}
}

// Accept gives the next connection.
func (h *handshakes) Accept() (net.Conn, error) {
	select {
	case c := <-h.ready:
		return c, nil
	case err := <-h.failed:
		return nil, err
	case <-h.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close stops listening, and ends the handshakes that go on.
func (h *handshakes) Close() error {
	h.end()
	if err := h.Listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
