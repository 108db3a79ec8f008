package git

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
)

// Serve answers one request.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, by protocol.Caller) {
	x := h.newExchange(r, by)
	why := x.read(w)
	defer func() { x.body.Close() }()
	if why != nil {
		h.o.Gate.Reject(x.op, why)
		h.Refuse(w, r, why)
		return
	}
	if x.push != nil {
		x.servePush(w)
		return
	}
	p, err := h.o.Gate.Admit(r.Context(), gate.Request{Operation: x.op, Payload: x.payload(), Change: isChange(x.op), Card: x.card, Budget: h.o.Hold.Other})
	if err != nil {
		h.Refuse(w, r, asRefusal(err, access.CodeInternal))
		return
	}
	x.forward(w, p)
}

// card shows what is asked, and that what comes back cannot be looked into.
func (x *exchange) card(context.Context) (access.Card, error) {
	c := access.Card{Uninspectable: slices.Clone(x.op.Uninspectable)}
	if x.op.Verb == "fetch" || x.op.Verb == "get" || x.op.Verb == "download" {
		c.Uninspectable = append(c.Uninspectable, access.Uninspectable{Field: "the answer", Why: "files in a pack are compressed: what is known to be secret is not masked in them"})
	}
	var err error
	c.Object, err = asYAML(x.op.Git)
	return c, err
}

// payload is the body as it is recorded: without the values that are known to be secret. A pack in it is compressed, and
// recorded as it is.
func (x *exchange) payload() io.Reader {
	if x.body.Size() == 0 {
		return nil
	}
	if x.push == nil || x.push.packAt < 0 {
		return &masked{src: x.body.Reader(), scope: x.scope.Claimed()}
	}
	at := x.push.packAt // behind it all is compressed, and detectors would look for nothing
	return io.MultiReader(&masked{src: io.LimitReader(x.body.Reader(), at), scope: x.scope.Claimed()}, &masked{src: x.body.From(at), scope: x.scope.Quiet()})
}

// masked reads src through a masker, without a goroutine of its own.
type masked struct {
	src   io.Reader
	scope *mask.Scope
	text  io.WriteCloser
	ready buffer
	at    int // of ready, up to which it was given
	done  bool
	block [32 << 10]byte
}

func (m *masked) Read(p []byte) (int, error) {
	if m.text == nil {
		m.text = m.scope.Text(&m.ready)
	}
	for m.at == len(m.ready.b) && !m.done {
		m.ready.b, m.at = m.ready.b[:0], 0
		n, err := m.src.Read(m.block[:])
		if _, werr := m.text.Write(m.block[:n]); werr != nil {
			return 0, werr
		}
		if errors.Is(err, io.EOF) {
			m.done, err = true, m.text.Close()
		}
		if err != nil {
			return 0, err
		}
	}
	if m.at == len(m.ready.b) {
		return 0, io.EOF
	}
	n := copy(p, m.ready.b[m.at:])
	m.at += n
	return n, nil
}

type buffer struct{ b []byte }

func (b *buffer) Write(p []byte) (int, error) {
	b.b = append(b.b, p...)
	return len(p), nil
}
