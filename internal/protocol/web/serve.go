package web

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/guard"
	"gatebook/internal/protocol"
)

// Serve answers one request for the target's service.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, by protocol.Caller) {
	if h.base.Host == "" {
		x := h.newExchange(r, by, nil)
		why := malformed("target %q is reached by using the gateway as an HTTP proxy alone", h.o.Target.Name)
		x.reject(why)
		x.refuse(w, why)
		return
	}
	h.serve(w, r, by, nil)
}

// serve answers one request for the service or, where an origin is given, for that.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, by protocol.Caller, origin *url.URL) {
	x := h.newExchange(r, by, origin)
	if isGRPC(r) {
		x.serveGRPC(w)
		return
	}
	defer func() { x.body.Close() }()
	if why := x.read(); why != nil {
		x.reject(why)
		x.refuse(w, why)
		return
	}
	payload := &payload{x: x}
	p, err := h.o.Gate.Admit(r.Context(), gate.Request{
		Operation: x.op, Payload: payload.reader(), Change: x.isChange(), Card: x.card, Budget: h.o.Hold,
	})
	payload.close()
	switch {
	case err != nil:
		x.refuse(w, asRefusal(err))
	case x.socket:
		x.serveSocket(w, p)
	default:
		x.forward(w, p)
	}
}

func asRefusal(err error) *access.Refusal {
	var why *access.Refusal
	if errors.As(err, &why) {
		return why
	}
	return access.Refuse(access.CodeInternal, err, "the gateway failed")
}

// payload is the request's body as it is recorded: without what is known to be secret, masked as it is read.
type payload struct {
	x     *exchange
	r     *io.PipeReader
	start sync.Once
}

// reader is nil where there is no body.
func (p *payload) reader() io.Reader {
	switch {
	case p.x.masked != nil:
		return bytes.NewReader(p.x.masked)
	case p.x.body.Size() == 0:
		return nil
	}
	return p
}

func (p *payload) Read(b []byte) (int, error) {
	p.start.Do(p.open)
	return p.r.Read(b)
}

func (p *payload) open() {
	r, w := io.Pipe()
	p.r = r
	go func() {
		err := guard.Call(func() error {
			t := p.x.scope.Claimed().Text(w)
			if _, err := io.Copy(t, p.x.body.Reader()); err != nil {
				return err
			}
			return t.Close()
		})
		var fell *guard.Panic
		if errors.As(err, &fell) {
			p.x.h.o.Log.Error("masking a request's body for its record", "operation", p.x.op.ID, "error", err)
		}
		w.CloseWithError(err) // without an error it is the end
	}()
}

// close ends what Read started. No Read may follow.
func (p *payload) close() {
	p.start.Do(func() {})
	if p.r != nil {
		p.r.Close()
	}
}
