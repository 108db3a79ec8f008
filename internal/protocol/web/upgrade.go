package web

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/guard"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
	"gatebook/internal/recording"
	"gatebook/internal/wire/websocket"
)

// Codes with which a WebSocket ends; RFC 6455, section 7.4.1.
const (
	closeUnreadable = 1007
	closePolicy     = 1008
	closeTooLong    = 1009
	closeFailed     = 1011
)

// serveSocket carries a permitted WebSocket to its end, message by message, and ends the permit, whatever happens.
func (x *exchange) serveSocket(w http.ResponseWriter, p gate.Permit) {
	x.conclude(w, p, func(s *sink, out *access.Outcome) error {
		m, err := x.maskingOf(p.Decision().Masks)
		if err != nil {
			return access.Refuse(access.CodeUnmaskable, err, "the policy's masks cannot be applied")
		}
		up, declined, err := websocket.Open(x.r.Context(), &handshake{x, p, m}, "http://service/", nil, x.protocols)
		switch {
		case err != nil:
			var why *access.Refusal
			if errors.As(err, &why) {
				return why
			}
			return access.Refuse(access.CodeUpstream, err, "target %q does not open the WebSocket as it should", x.op.Target.Name)
		case declined != nil:
			defer declined.Body.Close()
			out.Code = declined.StatusCode
			return x.relay(s, declined, m, out)
		}
		defer up.Abort()
		down, err := websocket.Accept(w, x.r, up.Subprotocol())
		if err != nil {
			out.Code = http.StatusBadRequest
			s.begun = true // it has been answered
			return &protocol.ClientError{Err: err}
		}
		defer down.Abort()
		out.Code = http.StatusSwitchingProtocols
		c := &socket{x: x, p: p, m: m, up: up, down: down}
		c.run(out)
		s.delivered = c.toClient
		return nil
	})
}

// handshake asks the service for the WebSocket, where and as the client asked for it.
type handshake struct {
	x *exchange
	p gate.Permit
	m masking
}

func (h *handshake) RoundTrip(r *http.Request) (*http.Response, error) {
	own := h.x.upstreamRequest(h.m)
	for name, values := range own.Header {
		r.Header[name] = values
	}
	r.URL, r.Host = own.URL, ""
	return h.x.h.o.Upstream.RoundTrip(h.p, r)
}

// socket is a WebSocket under way.
type socket struct {
	x    *exchange
	p    gate.Permit
	m    masking
	up   *websocket.Client
	down *websocket.Server

	fromClient, toClient, masked int64
	// why it ended is what ended it first.
	ended sync.Once
	why   error
}

// run carries messages both ways until either side leaves, or is cut.
func (c *socket) run(out *access.Outcome) {
	stop := context.AfterFunc(c.p.Context(), func() {
		var why *access.Refusal
		if errors.As(context.Cause(c.p.Context()), &why) {
			c.down.Say(closePolicy, "gatebook: "+string(why.Code))
		}
		time.AfterFunc(protocol.CutGrace, func() { c.down.Abort(); c.up.Abort() })
	})
	defer stop()
	ends := make(chan struct{}, 2)
	go func() { c.end(guard.Call(c.outward), c.up.Say, c.down.Say); ends <- struct{}{} }()
	go func() { c.end(guard.Call(c.inward), c.down.Say, c.up.Say); ends <- struct{}{} }()
	<-ends
	grace := time.AfterFunc(protocol.CutGrace, func() { c.down.Abort(); c.up.Abort() })
	<-ends
	grace.Stop()
	out.RequestBytes, out.Masked = c.fromClient, c.masked
	var bye *websocket.Closed
	if errors.As(c.why, &bye) && c.p.Context().Err() == nil {
		return
	}
	why := protocol.Cause(c.p, c.why)
	if why.Code == access.CodeUpstream && c.p.Context().Err() == nil {
		why.Message = "the WebSocket broke off"
	}
	out.Truncated, out.Message = why.Message, why.Message
	c.x.h.o.Log.Info("a WebSocket was cut off", "operation", c.x.op.ID, "code", why.Code, "message", why.Message, "cause", why.Cause)
}

// end says goodbye to both sides, once: to the one with what the other said, or with why it cannot go on.
func (c *socket) end(err error, forth, back func(int, string)) {
	c.ended.Do(func() {
		c.why = err
		c.farewell(err, forth, back)
	})
}

func (c *socket) farewell(err error, forth, back func(int, string)) {
	var bye *websocket.Closed
	var why *access.Refusal
	switch {
	case errors.As(err, &bye):
		forth(bye.Code, c.x.hidden(bye.Reason))
	case errors.Is(err, websocket.ErrTooLong):
		back(closeTooLong, "gatebook: a message is longer than may be")
		forth(closeFailed, "")
	case errors.As(err, &why):
		code := closePolicy
		if why.Code == access.CodeUnmaskable {
			code = closeUnreadable
		}
		back(code, "gatebook: "+string(why.Code))
		forth(code, "gatebook: "+string(why.Code))
	default:
		back(closeFailed, "")
		forth(closeFailed, "")
	}
}

// outward carries what the client sends. It is recorded first, without what is known to be secret.
func (c *socket) outward() error {
	for {
		m, err := c.down.Whole(c.x.h.o.Limits.MessageBytes)
		if err != nil {
			return err
		}
		if c.x.scope.HasPlaceholder(m.Data) {
			return placeholder()
		}
		shown, _, err := text(c.x.scope.Claimed(), m.Data)
		if err != nil {
			return err
		}
		if err := c.p.Record(recording.Body, recording.FromClient, shown); err != nil {
			return err
		}
		c.fromClient += int64(len(m.Data))
		if !c.p.Valid() {
			return context.Cause(c.p.Context())
		}
		if err := c.up.SendWhole(m); err != nil {
			return err
		}
	}
}

// inward carries what the service sends, masked.
func (c *socket) inward() error {
	for {
		m, err := c.up.Whole(c.x.h.o.Limits.MessageBytes)
		if err != nil {
			return err
		}
		if m.Data, err = c.mask(m); err != nil {
			return unmaskable(err)
		}
		if err := c.p.Record(recording.Body, recording.ToClient, m.Data); err != nil {
			return err
		}
		c.toClient += int64(len(m.Data))
		if !c.p.Valid() {
			return context.Cause(c.p.Context())
		}
		if err := c.down.SendWhole(m); err != nil {
			return err
		}
	}
}

// mask hides in a message what the policy hides: by structure where the message is JSON, and what is known in all of it.
func (c *socket) mask(m websocket.Message) ([]byte, error) {
	if c.m.shape != nil && len(m.Data) > 0 {
		var out bytes.Buffer
		j := c.x.scope.JSON(&out, c.m.shape, c.m.known)
		if err := maskWhole(j, m.Data); err == nil {
			c.masked += j.Masked()
			return out.Bytes(), nil
		} else if c.m.strict {
			return nil, err
		}
	}
	if !c.m.known {
		return m.Data, nil
	}
	out, n, err := text(c.x.scope, m.Data)
	c.masked += n
	return out, err
}

func text(scope *mask.Scope, b []byte) ([]byte, int64, error) {
	var out bytes.Buffer
	t := scope.Text(&out)
	err := maskWhole(t, b)
	return out.Bytes(), t.Masked(), err
}
