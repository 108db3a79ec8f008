package web

import (
	"context"
	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/protocol"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
)

// forward sends a permitted request and relays the answer. It ends the permit, whatever happens.
func (x *exchange) forward(w http.ResponseWriter, p gate.Permit) {
	x.conclude(w, p, func(s *sink, out *access.Outcome) error {
		m, resp, err := x.send(p, out)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return x.relay(s, resp, m, out)
	})
}

// conclude ends a permit with what becomes of relay: what the client was given, or why it was refused or cut off.
func (x *exchange) conclude(w http.ResponseWriter, p gate.Permit, relay func(*sink, *access.Outcome) error) {
	began := x.h.o.Now()
	out := access.Outcome{ExitCode: -1, RequestBytes: x.body.Size()}
	failed := true
	defer func() {
		if failed {
			out.Truncated = "the gateway failed"
		}
		out.Duration = x.h.o.Now().Sub(began)
		if err := p.End(out); err != nil {
			x.h.o.Log.Error("ending the record of an operation", "operation", x.op.ID, "error", err)
		}
	}()
	defer protocol.CutWrites(w, p)()
	s := &sink{w: w, p: p, isHead: x.r.Method == http.MethodHead}
	err := relay(s, &out)
	out.ResponseBytes, failed = s.delivered, false
	if err == nil {
		return
	}
	if x.r.Context().Err() != nil {
		err = &protocol.ClientError{Err: err}
	}
	why := protocol.Cause(p, err)
	level := slog.LevelWarn
	if x.r.Context().Err() != nil {
		level = slog.LevelDebug // a client that has gone is no news
	}
	log := func(what string) {
		x.h.o.Log.Log(context.WithoutCancel(x.r.Context()), level, what, "operation", x.op.ID, "code", why.Code, "message", why.Message, "cause", why.Cause)
	}
	out.Message = why.Message
	if s.begun {
		// The client must not take what it has for the whole answer.
		out.Truncated = why.Message
		log("an answer was cut off")
		panic(http.ErrAbortHandler)
	}
	why.Operation, why.Session = x.op.ID, x.op.Session
	log("a permitted operation failed")
	out.Code = status(why)
	x.refuse(w, why)
}

// send asks the service.
func (x *exchange) send(p gate.Permit, out *access.Outcome) (masking, *http.Response, error) {
	m, err := x.maskingOf(p.Decision().Masks)
	if err != nil {
		return m, nil, access.Refuse(access.CodeUnmaskable, err, "the policy's masks cannot be applied")
	}
	resp, err := x.h.o.Upstream.RoundTrip(p, x.upstreamRequest(m))
	if err != nil {
		return m, nil, err
	}
	if out.Code = resp.StatusCode; resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body.Close()
		return m, nil, access.Refuse(access.CodeUpstream, nil, "target %q switched protocols unasked", x.op.Target.Name)
	}
	return m, resp, nil
}

// upstreamRequest makes the request as it is sent: what was decided on.
func (x *exchange) upstreamRequest(m masking) *http.Request {
	header := maps.Clone(x.header) // values are replaced, never changed
	if m.none() {
		if v := x.r.Header.Values("Accept-Encoding"); len(v) > 0 {
			header["Accept-Encoding"] = v
		}
	} else {
		header.Set("Accept-Encoding", "identity")
		// Parts of an answer could be cut so that a secret in them is not recognised. Who asks for a part may be given all.
		header.Del("Range")
		header.Del("If-Range")
		header.Del("Request-Range")
		header.Del("A-Im") // RFC 3229: what has changed since
	}
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", "") // none, rather than Go's
	}
	u := &url.URL{Path: x.r.URL.Path, RawPath: x.r.URL.EscapedPath(), RawQuery: x.r.URL.RawQuery}
	if x.forwarded {
		u.Scheme, u.Host = x.origin.Scheme, x.origin.Host
	}
	req := (&http.Request{Method: x.r.Method, URL: u, Header: header, Body: http.NoBody, Trailer: x.trailer}).WithContext(x.r.Context())
	if len(x.trailer) == 0 {
		req.Trailer = nil
	}
	if x.body.Size() > 0 {
		req.ContentLength = x.body.Size()
		if req.Trailer != nil {
			req.ContentLength = -1 // trailers need chunks
		}
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(x.body.Reader()), nil }
		req.Body = io.NopCloser(x.body.Reader())
	}
	return req
}
