package model

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/recording"
	"gatebook/internal/wire/sse"
)

// stream relays server-sent events, each as soon as it has come.
func (d *delivery) stream(body io.Reader, a reader) (err error) {
	s := sse.NewScanner(body, d.x.h.o.Limits.EventBytes)
	t := newTranscript(d.p, d.x.redact, d.x.eventDigest, d.x.h.o.Limits.EventBytes)
	defer func() { err = errors.Join(err, t.close()) }()
	d.header.Del("Content-Length") // an error's may become another
	if err := d.flush(); err != nil {
		return err
	}
	for {
		e, err := s.Next()
		if errors.Is(err, io.EOF) {
			d.emit(a, a.end()) // a client may act on what was not ended
			if !a.ended() {
				d.short = "the provider's answer broke off: its stream ended and did not say that it was all"
			}
			return nil
		}
		if err != nil {
			return access.Refuse(access.CodeUpstream, err, "the provider's answer broke off")
		}
		if err := d.event(e, a, t); err != nil {
			return err
		}
	}
}

// event reads, records and delivers one.
func (d *delivery) event(e *sse.Event, a reader, t *transcript) (err error) {
	var ps []piece
	var calls []access.ToolCall
	if !e.Ended { // some clients take it for an event all the same
		calls = tail(e.Raw, a)
	}
	if e.Dispatched {
		if ps, calls, err = a.event(string(e.Type), e.Data); err != nil {
			return err
		}
		if a.size() > d.x.h.o.Limits.AnswerBytes {
			return access.Refuse(access.CodeUpstream, nil, "the provider's answer has tool calls of more than %d bytes", d.x.h.o.Limits.AnswerBytes)
		}
	}
	for _, p := range ps {
		if d.text += int64(len(p.text)); p.text != "" {
			d.pieces++
		}
	}
	raw := e.Raw
	if string(e.Type) == "error" || a.failed() { // it could repeat the gateway's own key
		if raw, err = d.withoutKnown(raw); err != nil {
			return err
		}
		ps = nil // they stand elsewhere now
	}
	if err := t.event(raw, e.Data, dataOffset(e), ps); err != nil {
		return err
	}
	d.emit(a, calls)
	d.settle(a)
	return d.deliver(raw)
}

// tail reads what stands behind the last blank line, as far as it can be read.
func tail(raw []byte, a reader) []access.ToolCall {
	e, err := sse.NewScanner(io.MultiReader(bytes.NewReader(raw), strings.NewReader("\n\n")), len(raw)+len("\n\n")).Next()
	if err != nil || !e.Dispatched {
		return nil
	}
	_, calls, err := a.event(string(e.Type), e.Data)
	if err != nil {
		return nil
	}
	return calls
}

// dataOffset is where the data stand in an event's bytes; -1 where they are of several lines.
func dataOffset(e *sse.Event) int {
	at := -1
	for _, f := range e.Fields {
		if f.Kind == sse.DataField {
			if at >= 0 {
				return -1
			}
			at = int(f.Start)
		}
	}
	return at
}

// eventDigest proves which bytes were delivered of which the record waits, and tells nothing of them.
func (x *exchange) eventDigest(at int64, b []byte) string {
	m := hmac.New(sha256.New, x.h.o.DigestKey)
	m.Write(binary.BigEndian.AppendUint64(appendField(nil, string(x.op.ID)), uint64(at)))
	m.Write(b)
	return hex.EncodeToString(m.Sum(nil))
}

// emit tells of tool calls whose last byte is about to be delivered.
func (d *delivery) emit(a reader, calls []access.ToolCall) {
	for _, c := range calls {
		c.Emitted, c.Input = d.x.h.o.Now(), d.x.redact.string(c.Input)
		c.ID, c.Name = d.x.redact.string(c.ID), d.x.redact.string(c.Name)
		a.answer().Calls = append(a.answer().Calls, c)
		d.p.Emitted(c)
	}
}

// settle lets the budgets have what the call used, as soon as it is known: before the client can ask again.
func (d *delivery) settle(a reader) {
	if a.counted() {
		tokens, cost := d.used(a.answer())
		d.x.h.used.known(d.x.reserved, tokens, cost)
	}
}

// whole relays an answer that is not streamed, when all of it has been read.
func (d *delivery) whole(body io.Reader, a reader) error {
	limit := d.x.h.o.Limits.AnswerBytes
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	d.text = int64(len(b))
	if err != nil {
		return access.Refuse(access.CodeUpstream, err, "the provider's answer broke off")
	}
	if int64(len(b)) > limit {
		return access.Refuse(access.CodeUpstream, nil, "the provider's answer is longer than %d bytes", limit)
	}
	calls, err := a.whole(b)
	if err != nil {
		return err
	}
	told, _, err := d.x.redact.bytes(b)
	if err != nil {
		return err
	}
	if err := d.p.Record(recording.Body, recording.ToClient, told); err != nil {
		return err
	}
	d.emit(a, calls)
	d.settle(a)
	return d.deliver(b)
}

// maxErrorBytes bounds an error that is kept to be told.
const maxErrorBytes = 1 << 20

// fail relays an error word for word, but for the gateway's own key and whatever else it knows to be secret.
func (d *delivery) fail(body io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(body, maxErrorBytes+1))
	if err != nil || len(b) > maxErrorBytes {
		return access.Refuse(access.CodeUpstream, err, "the provider's error, %d, cannot be read", d.status)
	}
	given, err := d.withoutKnown(b)
	if err != nil {
		return err
	}
	told, _, err := d.x.redact.bytes(given)
	if err != nil {
		return err
	}
	if err := d.p.Record(recording.Body, recording.ToClient, told); err != nil {
		return err
	}
	d.header.Del("Content-Length")
	d.out.Message = errorMessage(told)
	return d.deliver(given)
}

// errorMessage is the message of an error, as it was delivered.
func errorMessage(body []byte) string {
	var e struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &e) != nil || e.Error.Message == "" {
		return fmt.Sprintf("%.500s", body)
	}
	return e.Error.Message
}

// copy relays an answer that is not read, such as a list of models: with its secrets replaced, as it is recorded.
func (d *delivery) copy(body io.Reader) error {
	d.header.Del("Content-Length")
	t := d.x.redact.text(writer(func(b []byte) (int, error) {
		if err := d.p.Record(recording.Body, recording.ToClient, b); err != nil {
			return 0, err
		}
		return len(b), d.deliver(b)
	}))
	_, err := io.Copy(t, body)
	if err == nil {
		err = t.Close()
	}
	d.out.Masked = t.masked()
	if err != nil {
		return err
	}
	return d.begin() // an answer without a body
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }
