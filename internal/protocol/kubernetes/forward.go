package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/watch"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/protocol"
)

// forward sends a permitted request and relays the answer. It ends the permit, whatever happens.
func (x *exchange) forward(w http.ResponseWriter, p gate.Permit) {
	began := x.h.o.Now()
	out := access.Outcome{ExitCode: -1, RequestBytes: x.body.Size(), Truncated: "the gateway failed"}
	defer func() {
		out.Duration = x.h.o.Now().Sub(began)
		if err := p.End(out); err != nil {
			x.h.o.Log.Error("ending the record of an operation", "operation", x.op.ID, "error", err)
		}
	}()
	defer protocol.CutWrites(w, p)()
	s := &sink{w: w, p: p, isHead: x.r.Method == http.MethodHead}
	err := x.send(s, p, &out)
	out.ResponseBytes = s.delivered
	out.Truncated = ""
	if err == nil {
		return
	}
	if x.r.Context().Err() != nil {
		err = &protocol.ClientError{Err: err}
	}
	why := protocol.Cause(p, err)
	x.hideRefusal(why)
	level := slog.LevelWarn
	if x.r.Context().Err() != nil {
		level = slog.LevelDebug // a client that has gone is no news
	}
	log := func(what string) {
		x.h.o.Log.Log(context.WithoutCancel(x.r.Context()), level, what, "operation", x.op.ID, "code", why.Code, "message", why.Message, "cause", why.Cause)
	}
	why.Operation, why.Session = x.op.ID, x.op.Session
	if s.begun {
		// The client must not take what it has for the whole answer.
		out.Truncated = why.Message
		log("an answer was cut off")
		if x.endWatch(s, why) {
			out.ResponseBytes = s.delivered
			return
		}
		panic(http.ErrAbortHandler)
	}
	log("a permitted operation failed")
	out.Message = why.Message
	out.Code = int(refusalStatus(why).Code)
	x.h.Refuse(w, x.r, why)
}

// endWatch ends a watch that is cut as the API server ends one: by an event that says why, which clients show or act on. It reports
// whether that could be said: in JSON, between two events. Where it was the API server that broke off it is not said, so that
// clients go on from where they were.
func (x *exchange) endWatch(s *sink, why *access.Refusal) bool {
	mediaType, _, err := mime.ParseMediaType(s.header.Get("Content-Type"))
	if err != nil || why.Code == access.CodeUpstream || mediaType != typeJSON || x.k.Verb != "watch" || x.k.isProxy || s.status != http.StatusOK || s.delivered > 0 && s.last != '\n' || x.r.Context().Err() != nil {
		return false
	}
	event, err := json.Marshal(map[string]any{"type": watch.Error, "object": refusalStatus(why)})
	if err != nil {
		return false
	}
	if _, err = s.Write(append(event, '\n')); err == nil {
		err = s.flush()
	}
	return err == nil
}

// send asks the upstream and relays what it answers.
func (x *exchange) send(s *sink, p gate.Permit, out *access.Outcome) error {
	m, err := x.maskingOf(p.Decision().Masks)
	if err != nil {
		return access.Refuse(access.CodeUnmaskable, err, "the policy's masks cannot be applied")
	}
	n, why := x.negotiate(m)
	if why != nil {
		return why
	}
	if !m.none() {
		if why := x.limitHere(s); why != nil {
			return why
		}
	}
	req, err := x.upstreamRequest(p, n, s.limit > 0)
	if err != nil {
		return err
	}
	resp, err := x.h.o.Upstream.RoundTrip(p, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out.Code = resp.StatusCode
	if why := x.checkAnswer(resp); why != nil {
		return why
	}
	if err := x.learnAccepted(resp.StatusCode); err != nil {
		return access.Refuse(access.CodeInternal, err, "what was stored cannot be masked")
	}
	if err := x.relay(s, resp, m, n, out); !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

// limitHere takes limitBytes, by which a client could cut a log within a secret so that what it gets of it is not
// recognised, away from the API server: the masked log is cut instead.
func (x *exchange) limitHere(s *sink) *access.Refusal {
	isLog := x.k.Subresource == "log" || x.k.isProxy && strings.HasPrefix(x.k.ProxyPath, "/containerLogs/")
	if !isLog || len(x.k.query["limitBytes"]) == 0 {
		return nil
	}
	var err error
	if s.limit, err = strconv.ParseInt(x.k.query.Get("limitBytes"), 10, 64); err != nil || s.limit < 1 {
		return malformed("limitBytes is no number of bytes")
	}
	x.k.query.Del("limitBytes")
	return nil
}

// upstreamRequest makes the request as it is sent: the client's own bytes, but for placeholders, which become what
// they stand for.
func (x *exchange) upstreamRequest(p gate.Permit, n negotiated, limited bool) (*http.Request, error) {
	header := maps.Clone(x.header) // values are replaced, never changed
	header.Del("Accept")
	if n.accept != "" {
		header.Set("Accept", n.accept)
	}
	header.Set("Accept-Encoding", "identity")
	header.Set("Audit-Id", string(x.op.ID)) // the API server's own audit log then names the operation
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", "") // none, rather than Go's
	}
	open, size := func() io.Reader { return x.body.Reader() }, x.body.Size()
	if x.placeholders {
		restored, why := x.restored(p)
		if why != nil {
			return nil, why
		}
		open, size = func() io.Reader { return bytes.NewReader(restored) }, int64(len(restored))
		header.Set("Content-Type", jsonTypeFor(x.doc.mediaType))
	}
	u := &url.URL{Path: x.r.URL.Path, RawPath: x.r.URL.EscapedPath(), RawQuery: x.r.URL.RawQuery}
	if limited {
		u.RawQuery = x.k.query.Encode()
	}
	req := (&http.Request{Method: x.r.Method, URL: u, Header: header, Body: http.NoBody}).WithContext(x.r.Context())
	if size > 0 {
		req.ContentLength = size
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(open()), nil }
		req.Body = io.NopCloser(open())
	}
	return req, nil
}

// restored is the body with every placeholder replaced by the value at the same place of what is stored.
func (x *exchange) restored(p gate.Permit) ([]byte, *access.Refusal) {
	refuse := func(err error) *access.Refusal {
		why := access.Refuse(access.CodePlaceholder, err, "the request holds a masked value that does not stand for what is stored there: %v", err)
		why.Advice = "A masked value can only be written back unchanged to the place it was read from; send the true value, or leave the field out."
		return why
	}
	if x.doc == nil {
		return nil, refuse(errors.New("the body cannot be decoded"))
	}
	if x.k.Name == "" {
		return nil, refuse(errors.New("nothing is stored yet"))
	}
	stored, err := x.stored(p.Context())
	if err != nil {
		return nil, refuse(err)
	}
	if stored == nil {
		return nil, refuse(errors.New("nothing is stored yet"))
	}
	body, err := x.restore(stored)
	if err != nil {
		return nil, refuse(err)
	}
	if x.scope.HasPlaceholder(body) {
		return nil, refuse(errors.New("a masked value is left after restoring"))
	}
	return body, nil
}

// jsonTypeFor is the media type under which a body of another is sent once it has become JSON.
func jsonTypeFor(mediaType string) string {
	switch mediaType {
	case typeYAML, typeProtobuf, typeCBOR:
		return typeJSON
	case typeApplyCBOR:
		return typeApply
	}
	return mediaType // JSON, and JSON is YAML
}

// checkAnswer refuses what is no answer to relay.
func (x *exchange) checkAnswer(resp *http.Response) *access.Refusal {
	switch c := resp.StatusCode; {
	case c == http.StatusSwitchingProtocols:
		return access.Refuse(access.CodeUpstream, nil, "target %q switched protocols unasked", x.op.Target.Name)
	case c >= 300 && c < 400 && c != http.StatusNotModified:
		why := access.Refuse(access.CodeUpstream, nil, "target %q answered with a redirect, %d, which is not followed", x.op.Target.Name, c)
		if x.k.isProxy {
			why.Advice = "Send the request to where it is to go; a path behind /proxy may need a slash at its end."
		}
		return why
	case c == http.StatusPartialContent:
		return access.Refuse(access.CodeUnmaskable, nil, "target %q answered with a part of what it was asked for, which cannot be masked with certainty", x.op.Target.Name)
	case c == http.StatusUnauthorized && !x.k.isProxy:
		return access.Refuse(access.CodeUpstream, nil, "target %q does not take the gateway's credential", x.op.Target.Name)
	}
	return nil
}

// statusMessage is the message of a Status, as it was delivered.
func statusMessage(body []byte) string {
	var s struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return fmt.Sprintf("%.500s", body)
	}
	return s.Message
}
