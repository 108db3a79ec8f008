package kubernetes

import (
	"encoding/binary"
	"io"
	"net/http"
	"net/url"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/protocol"
	"gatebook/internal/protocol/kubernetes/stream"
	"gatebook/internal/recording"
	"gatebook/internal/spool"
	"gatebook/internal/wire/remotecommand"
)

// serveStream carries a permitted exec, attach or port-forward to its end, and ends the permit, whatever happens.
func (h *Handler) serveStream(w http.ResponseWriter, r *http.Request, kind stream.Kind, p gate.Permit) {
	began := h.o.Now()
	out := access.Outcome{ExitCode: -1, Truncated: "the gateway failed"}
	defer func() {
		out.Duration = h.o.Now().Sub(began)
		x := exchange{scope: h.o.Masks.Scope(p.Operation().Session)}
		x.hideWords(&out.Message, &out.Truncated) // they may repeat what the client asked for
		if err := p.End(out); err != nil {
			h.o.Log.Error("ending the record of an operation", "operation", p.Operation().ID, "error", err)
		}
	}()
	k := p.Operation().Kubernetes
	to, err := streamURL(r, k)
	if err != nil {
		why := access.Refuse(access.CodeMalformed, err, "the options of the stream cannot be read")
		out = access.Outcome{ExitCode: -1, Code: h.refuseStream(w, r, p, why), Message: why.Message}
		return
	}
	masks, err := h.streamMasks(p)
	if err != nil {
		why := access.Refuse(access.CodeUnmaskable, err, "the masks of the policy cannot be applied")
		out = access.Outcome{ExitCode: -1, Code: h.refuseStream(w, r, p, why), Message: why.Message}
		return
	}
	header := streamHeader(r.Header)
	header.Set("Audit-Id", string(p.Operation().ID)) // the API server's own audit log then names the operation
	s := stream.Session{
		Kind: kind, Upstream: permitted{h.o.Upstream, p}, URL: to, Header: header, Book: p,
		Masks: masks,
		Failed: func(err error) {
			h.o.Log.Warn("a stream was ended", "operation", p.Operation().ID, "error", err)
		},
		Refuse: func(w http.ResponseWriter, r *http.Request, why *access.Refusal) int {
			return h.refuseStream(w, r, p, why)
		},
		Answer: func(w http.ResponseWriter, r *http.Request, resp *http.Response) access.Outcome {
			return h.relayDeclined(w, r, p, resp)
		},
	}
	if k.Exec == nil {
		out = s.Forward(p.Context(), w, r, forwardPorts(k.Ports))
		return
	}
	out = s.Command(p.Context(), w, r, remotecommand.Streams{Stdin: k.Exec.Stdin, Stdout: k.Exec.Stdout, Stderr: k.Exec.Stderr, TTY: k.Exec.TTY})
}

// permitted carries requests upstream under one permit.
type permitted struct {
	u Upstream
	p gate.Permit
}

// RoundTrip sends what a stream's library asks for to the target: the host that the library needs in a URL is nobody's.
func (t permitted) RoundTrip(r *http.Request) (*http.Response, error) {
	to := *r.URL
	to.Scheme, to.Host = "", ""
	out := *r
	out.URL = &to
	return t.u.RoundTrip(t.p, &out)
}

// streamURL is where the stream is asked for: the path as it came, and the options as they were decided on, written
// anew, so that the API server can read nothing else. They are read again from the request, since the operation's have
// known secrets hidden. A port-forward's ports go with its streams.
func streamURL(r *http.Request, k *access.Kubernetes) (*url.URL, error) {
	u := &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath}
	if k.Exec == nil {
		return u, nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	e, err := streamOptions(q)
	if err != nil {
		return nil, err
	}
	u.RawQuery = encodeOptions(&e).Encode()
	return u, nil
}

// forwardPorts are the ports that a port-forward named; they were checked when it was read.
func forwardPorts(ports []int64) []uint16 {
	var out []uint16
	for _, p := range ports {
		out = append(out, uint16(p))
	}
	return out
}

// streamMasks hides known values from the client where policy says so, and from the record of what the client sends
// always.
func (h *Handler) streamMasks(p gate.Permit) (stream.Masks, error) {
	masks := p.Decision().Masks
	scope, err := h.o.Masks.Scope(p.Operation().Session).Detecting(access.Detectors(masks))
	if err != nil {
		return stream.Masks{}, err
	}
	text := func(dst io.Writer) stream.Text { return scope.Text(dst) }
	claimed := func(dst io.Writer) stream.Text { return scope.Claimed().Text(dst) }
	m := stream.Masks{Record: claimed, Digest: func(name recording.Stream, at int64, b []byte) string {
		place := appendField(appendField(nil, string(p.Operation().ID)), string(name))
		return scope.Placeholder(append(binary.BigEndian.AppendUint64(place, uint64(at)), b...))
	}}
	if access.HidesKnown(masks) {
		m.Client = text
	}
	return m, nil
}

// refuseStream answers with a Status and gives its code.
func (h *Handler) refuseStream(w http.ResponseWriter, r *http.Request, p gate.Permit, why *access.Refusal) int {
	named := *why
	x := exchange{scope: h.o.Masks.Scope(p.Operation().Session)}
	x.hideRefusal(&named)
	named.Operation, named.Session = p.Operation().ID, p.Operation().Session
	h.o.Log.Warn("a permitted stream failed", "operation", named.Operation, "code", why.Code, "message", named.Message, "cause", named.Cause)
	h.Refuse(w, r, &named)
	return int(refusalStatus(&named).Code)
}

// relayDeclined delivers the API server's own answer to an upgrade that it declined, masked as any other error.
func (h *Handler) relayDeclined(w http.ResponseWriter, r *http.Request, p gate.Permit, resp *http.Response) access.Outcome {
	defer resp.Body.Close()
	op := p.Operation()
	x := &exchange{h: h, r: r, op: op, body: &spool.Body{}, scope: h.o.Masks.Scope(op.Session),
		k: &reading{Kubernetes: *op.Kubernetes, isResource: true, isStream: true}}
	out := access.Outcome{ExitCode: -1, Code: resp.StatusCode}
	s := &sink{w: w, p: p}
	err := x.relayAnswer(s, p, resp, &out)
	out.ResponseBytes = s.delivered
	if err == nil {
		return out
	}
	why := protocol.Cause(p, err)
	out.Message = why.Message
	if s.begun {
		out.Truncated = why.Message
		return out
	}
	out.Code = h.refuseStream(w, r, p, why)
	return out
}

func (x *exchange) relayAnswer(s *sink, p gate.Permit, resp *http.Response, out *access.Outcome) error {
	m, err := x.maskingOf(p.Decision().Masks)
	if err != nil {
		return access.Refuse(access.CodeUnmaskable, err, "the policy's masks cannot be applied")
	}
	if why := x.checkAnswer(resp); why != nil {
		return why
	}
	return x.relay(s, resp, m, negotiated{}, out)
}
