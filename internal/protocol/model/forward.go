package model

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/protocol"
	"gatebook/internal/recording"
)

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
	defer protocol.CutWrites(w, p)()
	err := d.send()
	out.Truncated = d.short
	if err == nil {
		return
	}
	if x.r.Context().Err() != nil {
		err = &protocol.ClientError{Err: err}
	}
	why := x.hideRefusal(protocol.Cause(p, err))
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

// send asks the provider and relays what it answers. The whole request is in the book first.
func (d *delivery) send() error {
	if err := d.p.Record(recording.Header, recording.FromClient, d.x.head); err != nil {
		return err
	}
	a := readerOf(d.x.m.API)
	resp, err := d.x.h.o.Upstream.RoundTrip(d.p, d.x.request())
	if err != nil {
		if a != nil && d.p.Context().Err() != nil { // whoever asks and leaves has asked all the same
			d.count(a)
		}
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
	case len(resp.Header.Values("Content-Type")) > 1: // clients go by the one or by the other
		return access.Refuse(access.CodeUpstream, nil, "the answer of target %q has two content types", target)
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return access.Refuse(access.CodeUnmaskable, nil, "the answer of target %q is encoded (%s) although it was asked for as it is", target, e)
	}
	return nil
}

// count ends an answer: what it cost, and what it adds to the budgets.
func (d *delivery) count(a reader) {
	x, m := d.x, a.answer()
	if !a.counted() {
		m.Estimated = true
		m.InputTokens = max(m.InputTokens, int64(len(x.body))/bytesPerToken-m.CacheReadTokens-m.CacheWriteTokens)
		m.OutputTokens = max(m.OutputTokens, d.text/bytesPerToken, d.pieces)
	}
	tokens, cost := d.used(m)
	m.Cost = cost
	for i := range m.ServerCalls {
		m.ServerCalls[i].Input = x.redact.string(m.ServerCalls[i].Input)
		m.ServerCalls[i].Emitted = x.h.o.Now()
	}
	m.ID, m.Model, m.StopReason = x.redact.string(m.ID), x.redact.string(m.Model), x.redact.string(m.StopReason)
	d.out.Answer = m
	x.h.used.end(x.reserved, &access.ModelUse{Session: x.op.Session, Principal: x.op.Principal, Conversation: x.m.Conversation, Time: x.op.Time, Tokens: tokens, Cost: cost})
}

// used is what an answer takes from the budgets.
func (d *delivery) used(m *access.ModelAnswer) (tokens, cost int64) {
	return m.Tokens(), d.x.h.cost(firstOf(m.Model, d.x.exact.Model), m)
}
