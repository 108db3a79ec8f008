package model

import (
	"bytes"
	"errors"
	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/protocol"
	"gatebook/internal/recording"
	"maps"
	"net/http"
)

// delivery is an answer on its way to the client: what the client is given is in the book first.
type delivery struct {
	x         *exchange
	w         http.ResponseWriter
	p         gate.Permit
	out       *access.Outcome
	status    int
	header    http.Header
	begun     bool
	delivered int64
	// text is how long what the model said is so far, in how many pieces.
	text, pieces int64
	// short is how an answer that the client has as it came is not the whole of one; empty: it is.
	short string
}

// begin sends the status line, once. The header is in the book first.
func (d *delivery) begin() error {
	if d.begun {
		return nil
	}
	var lines bytes.Buffer
	if err := d.header.Write(&lines); err != nil {
		return err
	}
	told, _, err := d.x.redact.bytes(lines.Bytes())
	if err != nil {
		return err
	}
	if err := d.p.Record(recording.Header, recording.ToClient, told); err != nil {
		return err
	}
	d.begun = true
	maps.Copy(d.w.Header(), d.header)
	d.w.WriteHeader(d.status)
	return nil
}

func (d *delivery) deliver(b []byte) error {
	if err := d.begin(); err != nil {
		return err
	}
	n, err := d.w.Write(b)
	d.delivered += int64(n)
	if err != nil {
		return &protocol.ClientError{Err: err}
	}
	return d.flush()
}

func (d *delivery) flush() error {
	if err := d.begin(); err != nil {
		return err
	}
	if err := http.NewResponseController(d.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return &protocol.ClientError{Err: err}
	}
	return nil
}

// mask replaces what is known to be secret in headers: the provider may repeat the gateway's own key.
func (d *delivery) mask(h http.Header) (http.Header, error) {
	for name, values := range h {
		for i, v := range values {
			b, err := d.withoutKnown([]byte(v))
			if err != nil {
				return nil, err
			}
			h[name][i] = string(b)
		}
	}
	return h, nil
}

// withoutKnown replaces what is known to be secret, and counts it.
func (d *delivery) withoutKnown(b []byte) ([]byte, error) {
	var out bytes.Buffer
	t := d.x.redact.known.Text(&out)
	if _, err := t.Write(b); err != nil {
		return nil, err
	}
	err := t.Close()
	d.out.Masked += t.Masked()
	return out.Bytes(), err
}
