package kubernetes

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/guard"
	"gatebook/internal/protocol"
	"gatebook/internal/protocol/kubernetes/stream"
)

// Serve answers one request.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, by protocol.Caller) {
	x, why := h.newExchange(r, by)
	defer func() { x.body.Close() }()
	if why != nil {
		h.o.Gate.Reject(x.op, why)
		h.Refuse(w, r, why)
		return
	}
	payload := x.payload()
	p, err := h.o.Gate.Admit(r.Context(), gate.Request{
		Operation: x.op, Payload: payload.reader(), Change: x.k.isChange(r.Method),
		Complete: x.complete, Card: x.card, Budget: x.budget(),
	})
	payload.close()
	if err != nil {
		h.Refuse(w, r, asRefusal(err))
		return
	}
	if why := x.learnBefore(p); why != nil {
		x.refusePermitted(w, p, why)
		return
	}
	if x.k.isStream && x.upgrade != stream.None {
		h.serveStream(w, r, x.upgrade, p)
		return
	}
	if x.takesLogSocket() {
		x.serveLog(w, p)
		return
	}
	x.forward(w, p)
}

func asRefusal(err error) *access.Refusal {
	var why *access.Refusal
	if errors.As(err, &why) {
		return why
	}
	return access.Refuse(access.CodeInternal, err, "the gateway failed")
}

// payload is the request's body as it is recorded: masked by structure where it was decoded, else by known values and by
// detectors alone, as it is read.
type payload struct {
	x     *exchange
	r     *io.PipeReader
	start sync.Once
}

func (x *exchange) payload() *payload { return &payload{x: x} }

// reader is nil where there is no body.
func (p *payload) reader() io.Reader {
	if p.x.body.Size() == 0 {
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
		err := guard.Call(func() error { return p.write(w) })
		var fell *guard.Panic
		if errors.As(err, &fell) {
			p.x.h.o.Log.Error("masking a request's body for its record", "operation", p.x.op.ID, "error", err)
		}
		w.CloseWithError(err) // without an error it is the end
	}()
}

func (p *payload) write(w io.Writer) error {
	if p.x.doc != nil {
		_, err := w.Write(p.x.masked)
		return err
	}
	t := p.x.scope.Claimed().Text(w)
	if _, err := io.Copy(t, p.x.body.Reader()); err != nil {
		return err
	}
	return t.Close()
}

// close ends what Read started. No Read may follow.
func (p *payload) close() {
	p.start.Do(func() {})
	if p.r != nil {
		p.r.Close()
	}
}
