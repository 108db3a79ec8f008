package git

import (
	"bytes"
	"context"
	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/protocol"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
)

// maxErrorBytes bounds an upstream's error that is relayed.
const maxErrorBytes = 64 << 10

// forward sends a permitted request and relays the answer. It ends the permit, whatever happens.
func (x *exchange) forward(w http.ResponseWriter, p gate.Permit) {
	began := x.h.o.Now()
	out := access.Outcome{ExitCode: -1, RequestBytes: x.body.Size(), Truncated: "the gateway failed"}
	defer func() {
		out.Duration = x.h.o.Now().Sub(began)
		x.end(p, out)
	}()
	defer protocol.CutWrites(w, p)()
	s := &sink{w: w, p: p}
	err := x.send(s, p, &out)
	out.ResponseBytes, out.Truncated = s.delivered, ""
	if err == nil {
		return
	}
	why := x.failed(p, err)
	if s.begun { // the client must not take what it has for the whole answer
		out.Truncated = why.Message
		panic(http.ErrAbortHandler)
	}
	out.Message, out.Code = why.Message, status(why)
	x.h.Refuse(w, x.r, why)
}

func (x *exchange) end(p gate.Permit, out access.Outcome) {
	if err := p.End(out); err != nil {
		x.h.o.Log.Error("ending the record of an operation", "operation", p.Operation().ID, "error", err)
	}
}

// failed says why an answer did not reach the client, and logs it.
func (x *exchange) failed(p gate.Permit, err error) *access.Refusal {
	level := slog.LevelWarn
	if x.r.Context().Err() != nil {
		err, level = &protocol.ClientError{Err: err}, slog.LevelDebug // a client that has gone is no news
	}
	why := *protocol.Cause(p, err)
	why.Operation, why.Session = p.Operation().ID, p.Operation().Session
	x.h.o.Log.Log(context.WithoutCancel(x.r.Context()), level, "a permitted operation failed", "operation", why.Operation, "code", why.Code, "message", why.Message, "cause", why.Cause)
	return &why
}

// request is what goes upstream: the client's own path, query and body, the latter decoded.
func (x *exchange) request(p gate.Permit) *http.Request {
	u := &url.URL{Path: x.r.URL.Path, RawPath: x.r.URL.EscapedPath(), RawQuery: x.r.URL.RawQuery}
	header := x.header.Clone()
	header.Set("Accept-Encoding", "identity")
	req := (&http.Request{Method: x.r.Method, URL: u, Header: header, Body: http.NoBody}).WithContext(p.Context())
	if x.body.Size() > 0 {
		req.ContentLength = x.body.Size()
		req.Body = io.NopCloser(x.body.Reader())
	}
	return req
}

// masking reads which masks apply, known values and detectors in text, and whether there are any. A repository has no structure
// that says what is secret, and a mask by path means nothing in it.
func (x *exchange) masking(masks []access.Mask) (known bool, why *access.Refusal) {
	for _, m := range masks {
		if len(m.Paths) > 0 {
			return false, access.Refuse(access.CodeUnmaskable, nil, "mask %q of the policy cannot be applied to git", m.Name)
		}
	}
	var err error
	if x.scope, err = x.scope.Detecting(access.Detectors(masks)); err != nil {
		return false, access.Refuse(access.CodeUnmaskable, err, "the masks of the policy cannot be applied")
	}
	return access.HidesKnown(masks), nil
}

// send asks the upstream and relays what it answers.
func (x *exchange) send(s *sink, p gate.Permit, out *access.Outcome) error {
	known, why := x.masking(p.Decision().Masks)
	if why != nil {
		return why
	}
	resp, err := x.h.o.Upstream.RoundTrip(p, x.request(p))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out.Code = resp.StatusCode
	if why := x.checkAnswer(resp); why != nil {
		return why
	}
	s.status, s.mediaType = resp.StatusCode, resp.Header.Get("Content-Type")
	if resp.StatusCode >= 400 {
		return x.relayError(s, resp, out)
	}
	switch x.kind {
	case dumb, lfsObject: // an object of LFS in which something was masked is not taken by its client: it is named by its hash
		return x.relayFile(s, resp.Body, known, out)
	case lfsBatch:
		return x.relayBatch(s, resp, known, out)
	}
	want := "application/x-git-" + x.service + map[kind]string{advertise: "-advertisement", upload: "-result", receive: "-result"}[x.kind]
	if got, _, _ := mime.ParseMediaType(s.mediaType); got != want {
		return access.Refuse(access.CodeUpstream, nil, "target %q answered with %q, and not in git's smart protocol", x.op.Target.Name, s.mediaType)
	}
	rl := &relay{s: s, x: x, known: known}
	if x.kind == advertise {
		rl.rewrite = withoutDetours(x.service)
	}
	err = rl.run(resp.Body)
	out.Masked = rl.masked
	return err
}

// checkAnswer refuses what is no answer to relay.
func (x *exchange) checkAnswer(resp *http.Response) *access.Refusal {
	target := x.op.Target.Name
	switch c := resp.StatusCode; {
	case c < 200 || c == http.StatusPartialContent:
		return access.Refuse(access.CodeUpstream, nil, "target %q answered with status %d, unasked", target, c)
	case c >= 300 && c < 400:
		return access.Refuse(access.CodeUpstream, nil, "target %q answered with a redirect, %d, which is not followed: the repository may have another name there", target, c)
	case c == http.StatusUnauthorized:
		return access.Refuse(access.CodeUpstream, nil, "target %q does not take the gateway's credential", target)
	case resp.Header.Get("Content-Encoding") != "" && resp.Header.Get("Content-Encoding") != "identity":
		return access.Refuse(access.CodeUnmaskable, nil, "target %q answered with Content-Encoding %q, unasked", target, resp.Header.Get("Content-Encoding"))
	}
	return nil
}

// relayError delivers an upstream's error as text: git prints the one it gets to its first request.
func (x *exchange) relayError(s *sink, resp *http.Response, out *access.Outcome) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes+1))
	if err != nil || len(data) > maxErrorBytes {
		return access.Refuse(access.CodeUpstream, err, "target %q answered with status %d, and with more than is relayed", x.op.Target.Name, resp.StatusCode)
	}
	var masked bytes.Buffer
	t := x.scope.Text(&masked)
	if _, err := t.Write(data); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	out.Message, out.Masked = masked.String(), t.Masked()
	if mediaType, _, _ := mime.ParseMediaType(s.mediaType); mediaType != lfsType {
		s.mediaType = "text/plain; charset=utf-8"
	}
	if _, err = s.Write(masked.Bytes()); err != nil {
		return err
	}
	return s.flush()
}

// relayFile delivers what is no pkt-lines: a file of the repository, or of LFS. Refs are masked; objects are compressed.
func (x *exchange) relayFile(s *sink, src io.Reader, known bool, out *access.Outcome) error {
	if !known {
		if _, err := io.Copy(s, src); err != nil {
			return err
		}
		return s.flush()
	}
	t := x.scope.Text(s)
	if _, err := io.Copy(t, src); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	out.Masked = t.Masked()
	return s.flush()
}
