package web

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/guard"
	"gatebook/internal/recording"
	"gatebook/internal/spool"
)

// isGRPC reports whether a request is a gRPC call (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
// gRPC-Web is a request like others.
func isGRPC(r *http.Request) bool {
	c := r.Header.Get("Content-Type")
	return r.Method == http.MethodPost && (c == "application/grpc" || strings.HasPrefix(c, "application/grpc+") || strings.HasPrefix(c, "application/grpc;"))
}

// wholeWithin is how long a call's messages are waited for before it counts as a stream: a client that has one message to
// send says at once that it was the last.
const wholeWithin = 300 * time.Millisecond

// call is a gRPC call on its way.
type call struct {
	*exchange
	p gate.Permit
	// early are the messages that came before the decision; ended says that they are all.
	early [][]byte
	ended bool
	// messages are those that come after, and then failed says why there are no more: nil where the client said so.
	messages chan []byte
	failed   error
	gone     chan struct{} // closed when nobody takes messages any more
}

// serveGRPC decides a call by its method: its messages are Protobuf, whose meaning is not known. What the client has to
// say, where it says it at once, is part of what is decided and recorded before anything is sent; what it says later, in a
// stream, is recorded and passed on as it comes.
func (x *exchange) serveGRPC(w http.ResponseWriter) {
	c := &call{exchange: x, messages: make(chan []byte), gone: make(chan struct{})}
	defer close(c.gone)
	if why := c.read(); why != nil {
		x.reject(why)
		x.refuse(w, why)
		return
	}
	var err error
	c.p, err = x.h.o.Gate.Admit(x.r.Context(), gate.Request{Operation: x.op, Payload: c.payload(), Change: true, Card: x.card, Budget: x.h.o.Hold})
	if err != nil {
		x.refuse(w, asRefusal(err))
		return
	}
	x.conclude(w, c.p, func(s *sink, out *access.Outcome) error { return c.carry(s, out) })
}

// read reads the call's name and its first messages.
func (c *call) read() *access.Refusal {
	for _, step := range []func() *access.Refusal{c.readLine, c.readHeader, c.readCall, c.checkPlaceholders} {
		if why := step(); why != nil {
			// What there is of the body is not known, and so not in the digest of what is refused.
			_ = c.finish()
			return why
		}
	}
	if err := c.finish(); err != nil {
		return access.Refuse(access.CodeInternal, err, "the call could not be kept while it is decided")
	}
	return nil
}

func (c *call) readCall() *access.Refusal {
	service, method, ok := strings.Cut(strings.TrimPrefix(c.r.URL.Path, "/"), "/")
	if c.r.ProtoMajor != 2 || !ok || service == "" || method == "" || strings.Contains(method, "/") || c.r.URL.RawQuery != "" || c.r.URL.RawPath != "" && c.r.URL.RawPath != c.r.URL.Path {
		return malformed("a gRPC call goes to /SERVICE/METHOD over HTTP/2")
	}
	for _, f := range []string{"Grpc-Encoding", "Content-Encoding"} {
		if e := c.r.Header.Get(f); e != "" && e != "identity" {
			return malformed("the messages of the call are compressed (%s), which cannot be recorded; send them as they are", e)
		}
	}
	c.web.GRPC = &access.GRPC{Service: service, Method: method}
	c.header.Set("Te", "trailers")
	c.unknown("web.body", "its messages are Protobuf, of a schema that the gateway does not have")
	go c.receive()
	wait := time.NewTimer(wholeWithin)
	defer wait.Stop()
	size := 0
	for {
		select {
		case m, ok := <-c.messages:
			if !ok {
				c.ended = true
				c.body = spool.Of(bytes.Join(c.early, nil))
				c.web.Bytes = int64(size)
				return asMalformed(c.failed)
			}
			if size += len(m); int64(size) > c.h.o.Limits.RequestBodyBytes {
				return spool.TooLong(bodyLimit, c.h.o.Limits.RequestBodyBytes)
			}
			if c.scope.HasPlaceholder(m) {
				return placeholder()
			}
			c.early = append(c.early, m)
		case <-wait.C:
			c.web.GRPC.Stream = true
			return nil
		case <-c.r.Context().Done():
			return access.Refuse(access.CodeUpstream, c.r.Context().Err(), "the client went away")
		}
	}
}

func asMalformed(err error) *access.Refusal {
	var why *access.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &why):
		return why
	}
	return access.Refuse(access.CodeMalformed, err, "the call's messages ended early, or are not framed correctly")
}

// receive reads the client's messages, each with its prefix, until the last.
func (c *call) receive() {
	defer close(c.messages)
	c.failed = guard.Call(func() error {
		for {
			m, err := readMessage(c.r.Body, c.h.o.Limits.MessageBytes)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			select {
			case c.messages <- m:
			case <-c.gone:
				return nil
			}
		}
	})
}

// prefixBytes is how long a message's prefix is: whether it is compressed, and its length.
const prefixBytes = 5

// readMessage reads one message with its prefix. The error is io.EOF where none begins.
func readMessage(r io.Reader, limit int) ([]byte, error) {
	var prefix [prefixBytes]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(prefix[1:])
	if prefix[0] != 0 {
		return nil, access.Refuse(access.CodeMalformed, nil, "a gRPC message is compressed, and can neither be masked nor recorded")
	}
	if int64(n) > int64(limit) {
		return nil, access.Refuse(access.CodeTooLarge, nil, "a gRPC message has %d bytes, more than %d", n, limit)
	}
	var m bytes.Buffer // which grows as bytes come: a length costs whoever says it nothing
	m.Write(prefix[:])
	_, err := io.CopyN(&m, r, int64(n))
	return m.Bytes(), noEOF(err)
}

// payload is what is recorded before the call: all its messages, where these are all.
func (c *call) payload() io.Reader {
	if !c.ended || c.body.Size() == 0 {
		return nil
	}
	raw, err := c.body.Bytes()
	if err != nil {
		return unread{err}
	}
	return strings.NewReader(c.hidden(string(raw)))
}

// unread is a body that could not be read again.
type unread struct{ err error }

func (u unread) Read([]byte) (int, error) { return 0, u.err }

// carry sends a permitted call and relays what the service answers.
func (c *call) carry(s *sink, out *access.Outcome) error {
	m, err := c.maskingOf(c.p.Decision().Masks)
	if err != nil || m.strict {
		return access.Refuse(access.CodeUnmaskable, err, "the policy's masks cannot be applied to gRPC, whose messages have no names in them")
	}
	req := c.upstreamRequest(m)
	req.Header.Del("Accept-Encoding")
	req.Header.Set("Grpc-Accept-Encoding", "identity")
	sent := make(chan error, 1)
	if c.ended {
		sent <- nil
	} else {
		r, w := io.Pipe()
		req.Body, req.ContentLength = r, -1
		go func() {
			err := guard.Call(func() error { return c.send(w) })
			w.CloseWithError(err)
			sent <- err
		}()
		defer r.Close()
	}
	resp, err := c.h.o.Upstream.RoundTrip(c.p, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out.Code = resp.StatusCode
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/grpc") {
		return c.relay(s, resp, m, out)
	}
	err = c.relayMessages(s, resp, m, out)
	select {
	case e := <-sent:
		if err == nil {
			err = e
		}
	default: // the service has ended the call before the client did
	}
	return err
}

// send passes on what the client sends, each message once it is recorded.
func (c *call) send(w io.Writer) error {
	pass := func(m []byte) error {
		if c.scope.HasPlaceholder(m) {
			return placeholder()
		}
		if err := c.p.Record(recording.Body, recording.FromClient, []byte(c.hidden(string(m)))); err != nil {
			return err
		}
		_, err := w.Write(m)
		return err
	}
	for _, m := range c.early {
		if err := pass(m); err != nil {
			return err
		}
	}
	for m := range c.messages {
		if err := pass(m); err != nil {
			return err
		}
	}
	return asError(c.failed)
}

func asError(err error) error {
	if err == nil {
		return nil
	}
	return asMalformed(err)
}

// relayMessages delivers an answer, message by message. A message in which a value stands that is known to be secret is
// withheld, and ends the call: another value in its place would make it another message, or none.
func (c *call) relayMessages(s *sink, resp *http.Response, m masking, out *access.Outcome) error {
	s.status, s.header = resp.StatusCode, answerHeader(resp.Header, true)
	c.maskHeader(s.header, m)
	if resp.Header.Get("Grpc-Status") != "" { // there are no messages: the headers are the trailers, and have to be the end of the stream
		noteStatus(s.header, out)
		return s.begin()
	}
	if err := s.flush(); err != nil {
		return err
	}
	for {
		b, err := readMessage(resp.Body, c.h.o.Limits.MessageBytes)
		if errors.Is(err, io.EOF) {
			break
		}
		var why *access.Refusal
		switch {
		case errors.As(err, &why):
			return s.trailers(grpcStatus(access.Refuse(access.CodeUnmaskable, why, "the service answered what cannot be read: %s", why.Message)))
		case err != nil:
			return access.Refuse(access.CodeUpstream, err, "target %q broke off its answer", c.op.Target.Name)
		case m.known && without(c.scope, string(b)) != string(b):
			out.Masked++
			why := access.Refuse(access.CodeUnmaskable, nil, "a message of the answer holds a value that is known to be secret, and is withheld")
			out.Message = why.Message
			return s.trailers(grpcStatus(why))
		}
		if _, err := s.Write(b); err != nil {
			return err
		}
		if err := s.flush(); err != nil {
			return err
		}
	}
	t := answerHeader(resp.Trailer, true)
	c.maskHeader(t, m)
	noteStatus(t, out)
	return s.trailers(t)
}

// noteStatus puts on record how a call ended: its HTTP status says nothing of that. One without a status was broken off.
func noteStatus(h http.Header, out *access.Outcome) {
	switch code := h.Get("Grpc-Status"); code {
	case "0":
	case "":
		out.Truncated = "the service ended its answer without a status of gRPC"
	default:
		out.Message = strings.TrimSuffix("grpc-status "+code+": "+h.Get("Grpc-Message"), ": ")
	}
}

// grpcCodes are those of https://github.com/grpc/grpc/blob/master/doc/statuscodes.md. None is one after which clients try
// again by themselves, but Unavailable while the gateway shuts down.
var grpcCodes = map[access.Code]int{
	access.CodeUnauthenticated: 16, access.CodeMalformed: 3, access.CodeTooLarge: 8, access.CodeTooSlow: 4, access.CodePlaceholder: 9,
	access.CodeApprovalPending: 9, access.CodeUpstream: 2, access.CodeDraining: 14, access.CodeInternal: 13, access.CodeNotRecorded: 13,
}

func grpcStatus(why *access.Refusal) http.Header {
	code, ok := grpcCodes[why.Code]
	if !ok {
		code = 7 // permission denied
	}
	return http.Header{"Grpc-Status": {strconv.Itoa(code)}, "Grpc-Message": {grpcText(message(why))}}
}

// grpcText is percent-encoded as a message has to be.
func grpcText(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	return strings.ReplaceAll(url.PathEscape(s), "%20", " ")
}

// refuseGRPC answers with trailers alone.
func refuseGRPC(w http.ResponseWriter, why *access.Refusal) {
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	for name, values := range grpcStatus(why) {
		h[name] = values
	}
	w.WriteHeader(http.StatusOK)
}
