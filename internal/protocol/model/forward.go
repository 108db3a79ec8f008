package model

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/recording"
	"gatebook/internal/wire/sse"
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
}

// clientError is a failure to write to the client.
type clientError struct{ error }

func (e *clientError) Unwrap() error { return e.error }

// forward sends a permitted request and relays the answer. It ends the permit, whatever happens.
func (x *exchange) forward(w http.ResponseWriter, p gate.Permit) {
	out := access.Outcome{ExitCode: -1, RequestBytes: int64(len(x.body)), Truncated: "the gateway failed"}
	d := &delivery{x: x, w: w, p: p, out: &out}
	began := x.h.o.Now()
	defer func() {
		out.Duration, out.ResponseBytes = x.h.o.Now().Sub(began), d.delivered
		if err := p.End(out); err != nil {
			x.h.o.Log.Error("ending the record of an operation", "operation", x.op.ID, "error", err)
		}
	}()
	defer cutWrites(w, p)()
	err := d.send()
	out.Truncated = ""
	if err == nil {
		return
	}
	if x.r.Context().Err() != nil {
		err = &clientError{err}
	}
	why := cause(p, err)
	x.h.o.Log.Log(context.WithoutCancel(x.r.Context()), slog.LevelInfo, "a permitted call of a model did not end well", "operation", x.op.ID, "code", why.Code, "message", why.Message, "cause", why.Cause)
	if d.begun {
		out.Truncated = why.Message
		panic(http.ErrAbortHandler) // the client must not take what it has for the whole answer
	}
	why.Operation, why.Session = x.op.ID, x.op.Session
	out.Message = why.Message
	out.Code, _ = statusOf(why)
	x.h.Refuse(w, x.r, why)
}

// cause says why an answer did not reach the client: a revocation before anything else.
func cause(p gate.Permit, err error) *access.Refusal {
	var why, ended *access.Refusal
	var lost *clientError
	switch {
	case errors.As(context.Cause(p.Context()), &ended):
		own := *ended // all that was cut with it have the same
		return &own
	case errors.As(err, &lost), p.Context().Err() != nil:
		return access.Refuse(access.CodeUpstream, err, "the client went away")
	case errors.As(err, &why):
		return why
	}
	return access.Refuse(access.CodeUpstream, err, "the answer could not be relayed")
}

// cutGrace is how long a client that is being cut has to take what it was sent.
const cutGrace = 500 * time.Millisecond

// cutWrites makes a write that the client does not take fail soon after the permit's context has ended. What it returns
// undoes that, and comes before the permit ends.
func cutWrites(w http.ResponseWriter, p gate.Permit) (undo func()) {
	c := http.NewResponseController(w)
	deadline := func(t time.Time) {
		if err := c.SetWriteDeadline(t); err != nil {
			return // the connection has gone, or is a test's and has none
		}
	}
	set := make(chan struct{})
	stop := context.AfterFunc(p.Context(), func() {
		deadline(time.Now().Add(cutGrace))
		close(set)
	})
	return func() {
		if !stop() {
			<-set
			deadline(time.Time{}) // the connection may be used again
		}
	}
}

// send asks the provider and relays what it answers.
func (d *delivery) send() error {
	if err := d.p.Record(recording.Header, recording.FromClient, d.x.head); err != nil {
		return err
	}
	resp, err := d.x.h.o.Upstream.RoundTrip(d.p, d.x.request())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	d.out.Code = resp.StatusCode
	if why := d.check(resp); why != nil {
		return why
	}
	if d.header, err = d.mask(answerHeader(resp.Header)); err != nil {
		return err
	}
	d.status = resp.StatusCode
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")) // none is none that is read
	a := readerOf(d.x.m.API)
	switch {
	case d.x.r.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent:
		return d.begin()
	case resp.StatusCode >= 300:
		return d.fail(resp.Body)
	case a == nil:
		return d.copy(resp.Body)
	}
	defer d.count(a)
	if media == "text/event-stream" {
		return d.stream(resp.Body, a)
	}
	return d.whole(resp.Body, a)
}

// request is what is sent: the client's own bytes.
func (x *exchange) request() *http.Request {
	header := x.header.Clone()
	header.Set("Accept-Encoding", "identity")
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", "") // none, rather than Go's
	}
	u := &url.URL{Path: x.r.URL.Path, RawPath: x.r.URL.EscapedPath(), RawQuery: x.r.URL.RawQuery}
	req := (&http.Request{Method: x.r.Method, URL: u, Header: header, Body: http.NoBody}).WithContext(x.r.Context())
	if len(x.body) > 0 {
		req.ContentLength = int64(len(x.body))
		req.Body = io.NopCloser(bytes.NewReader(x.body))
		if header.Get("Idempotency-Key")+header.Get("X-Idempotency-Key") == "" { // with one, Go would send again what may have arrived
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(x.body)), nil }
		}
	}
	return req
}

// check refuses what is no answer to relay.
func (d *delivery) check(resp *http.Response) *access.Refusal {
	target := d.x.op.Target.Name
	switch c := resp.StatusCode; {
	case c == http.StatusSwitchingProtocols:
		return access.Refuse(access.CodeUpstream, nil, "target %q switched protocols unasked", target)
	case c >= 300 && c < 400 && c != http.StatusNotModified:
		return access.Refuse(access.CodeUpstream, nil, "target %q answered with a redirect, %d, which is not followed", target, c)
	case c == http.StatusUnauthorized: // relayed, it would say that the client's own token is no good
		return access.Refuse(access.CodeUpstream, nil, "target %q does not take the gateway's credential", target)
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return access.Refuse(access.CodeUnmaskable, nil, "the answer of target %q is encoded (%s) although it was asked for as it is", target, e)
	}
	return nil
}

// mask replaces what is known to be secret in headers: the provider may repeat the gateway's own key.
func (d *delivery) mask(h http.Header) (http.Header, error) {
	for name, values := range h {
		for i, v := range values {
			var b bytes.Buffer
			t := d.x.redact.known.Text(&b)
			if _, err := io.WriteString(t, v); err != nil {
				return nil, err
			}
			if err := t.Close(); err != nil {
				return nil, err
			}
			h[name][i] = b.String()
		}
	}
	return h, nil
}

// stream relays server-sent events, each as soon as it has come.
func (d *delivery) stream(body io.Reader, a reader) (err error) {
	s := sse.NewScanner(body, d.x.h.o.Limits.EventBytes)
	t := newTranscript(d.p, d.x.redact, d.x.eventDigest)
	defer func() { err = errors.Join(err, t.close()) }()
	if err := d.flush(); err != nil {
		return err
	}
	read := 0 // of what a reader puts together
	for {
		e, err := s.Next()
		if errors.Is(err, io.EOF) {
			d.emit(a, a.end()) // a client may act on what was not ended
			return nil
		}
		if err != nil {
			return access.Refuse(access.CodeUpstream, err, "the provider's answer broke off")
		}
		var ps []piece
		var calls []access.ToolCall
		if e.Dispatched {
			if read += len(e.Data); read > int(d.x.h.o.Limits.AnswerBytes) {
				return access.Refuse(access.CodeUpstream, nil, "the provider's answer is longer than %d bytes", d.x.h.o.Limits.AnswerBytes)
			}
			if ps, calls, err = a.event(string(e.Type), e.Data); err != nil {
				return err
			}
		}
		raw := e.Raw
		if string(e.Type) == "error" { // it could repeat the gateway's own key
			if raw, err = d.withoutKnown(raw); err != nil {
				return err
			}
		}
		if err := t.event(raw, e.Data, dataOffset(e), ps); err != nil {
			return err
		}
		d.emit(a, calls)
		if err := d.deliver(raw); err != nil {
			return err
		}
	}
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

// whole relays an answer that is not streamed, when all of it has been read.
func (d *delivery) whole(body io.Reader, a reader) error {
	limit := d.x.h.o.Limits.AnswerBytes
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
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
	t := newTranscript(d.p, d.x.redact, nil)
	if err := t.record(b); err != nil {
		return err
	}
	d.emit(a, calls)
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
		return &clientError{err}
	}
	return d.flush()
}

func (d *delivery) flush() error {
	if err := d.begin(); err != nil {
		return err
	}
	if err := http.NewResponseController(d.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return &clientError{err}
	}
	return nil
}

// count ends an answer: what it cost, and what it adds to the budgets.
func (d *delivery) count(a reader) {
	x, m := d.x, a.answer()
	if !a.counted() && x.m.API != apiCountTokens {
		const bytesPerToken = 4
		m.Estimated = true
		m.InputTokens = max(m.InputTokens, int64(len(x.body))/bytesPerToken-m.CacheReadTokens-m.CacheWriteTokens)
		m.OutputTokens = max(m.OutputTokens, d.delivered/bytesPerToken)
	}
	model := firstOf(m.Model, x.m.Model)
	m.Cost = x.h.cost(model, m)
	for i := range m.ServerCalls {
		m.ServerCalls[i].Input = x.redact.string(m.ServerCalls[i].Input)
		m.ServerCalls[i].Emitted = x.h.o.Now()
	}
	m.ID, m.Model, m.StopReason = x.redact.string(m.ID), x.redact.string(m.Model), x.redact.string(m.StopReason)
	d.out.Answer = m
	x.h.used.add(access.ModelUse{Session: x.op.Session, Principal: x.op.Principal, Conversation: x.m.Conversation, Time: x.op.Time, Tokens: m.Tokens(), Cost: m.Cost})
}
