package model

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/protocol"
)

// Serve answers one request.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, by protocol.Caller) {
	x, why := h.newExchange(r, by)
	if why != nil {
		h.o.Gate.Reject(x.op, why)
		h.Refuse(w, r, why)
		return
	}
	var payload io.Reader
	if len(x.recorded) > 0 {
		payload = bytes.NewReader(x.recorded)
	}
	x.reserve()
	defer h.used.end(x.reserved, nil)
	p, err := h.o.Gate.Admit(r.Context(), gate.Request{Operation: x.op, Payload: payload, Change: !x.reads(), Complete: x.again, Card: x.card, Budget: h.o.Hold})
	if err != nil {
		h.Refuse(w, r, asRefusal(err))
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
