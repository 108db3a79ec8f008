package web

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/protocol"
)

const relayBytes = 32 << 10

// relay delivers an answer, masked.
func (x *exchange) relay(s *sink, resp *http.Response, m masking, out *access.Outcome) error {
	s.status, s.header = resp.StatusCode, answerHeader(resp.Header, !m.none())
	x.keepLocation(s.header)
	x.maskHeader(s.header, m)
	if s.isHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified {
		if n := resp.Header.Get("Content-Length"); n != "" && s.isHead {
			s.header.Set("Content-Length", n)
		}
		return s.begin()
	}
	if err := x.relayBody(s, resp, m, out); err != nil {
		return err
	}
	t := answerHeader(resp.Trailer, !m.none())
	x.maskHeader(t, m)
	return s.trailers(t)
}

func (x *exchange) relayBody(s *sink, resp *http.Response, m masking, out *access.Outcome) error {
	mediaType := mediaTypeOf(resp.Header.Get("Content-Type"))
	if m.shape == nil && !m.known || resp.ContentLength == 0 {
		for _, name := range []string{"Content-Length", "Content-Encoding"} {
			if v := resp.Header.Get(name); v != "" {
				s.header.Set(name, v)
			}
		}
		return x.pump(s, resp, plain{s}, mediaType, out)
	}
	if why := x.checkReadable(resp); why != nil {
		return why
	}
	s.header.Del("Content-Encoding")
	switch {
	case mediaType == "text/event-stream":
		return x.pumpEvents(s, resp.Body, m, out)
	case isJSON(mediaType) && x.rpc != nil:
		k := &kept{Writer: s}
		err := x.pump(s, resp, x.scope.JSON(k, m.shape, m.known), mediaType, out)
		x.result(k.message, out)
		return err
	case isJSON(mediaType), isJSONLines(mediaType):
		return x.pump(s, resp, x.scope.JSON(s, m.shape, m.known), mediaType, out)
	case mediaType == typeForm && m.shape != nil && !m.strict:
		return x.relayForm(s, resp.Body, m, out)
	case m.strict && resp.StatusCode >= 400:
		return x.withhold(s)
	case m.strict:
		return access.Refuse(access.CodeUnmaskable, nil, "the answer is %q; the policy's masks find their place in JSON alone", mediaType)
	case !m.known:
		return x.pump(s, resp, plain{s}, mediaType, out)
	}
	return x.pump(s, resp, &sniffer{filter: x.scope.Text(s), dst: s, opaque: x.h.o.Opaque}, mediaType, out)
}

// checkReadable refuses an answer in which nothing can be found.
func (x *exchange) checkReadable(resp *http.Response) *access.Refusal {
	for _, name := range []string{"Content-Type", "Content-Encoding"} {
		if n := len(resp.Header.Values(name)); n > 1 {
			return access.Refuse(access.CodeUnmaskable, nil, "the answer has %d %s headers, and cannot be masked", n, name)
		}
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return access.Refuse(access.CodeUnmaskable, nil, "the answer is encoded (%s) although it was asked for as it is, and cannot be masked", e)
	}
	if why := checkCharset(resp.Header.Get("Content-Type")); why != nil {
		return why
	}
	if resp.StatusCode == http.StatusPartialContent || resp.StatusCode == http.StatusIMUsed {
		return access.Refuse(access.CodeUnmaskable, nil, "target %q answered with a part of what it was asked for, which cannot be masked with certainty", x.op.Target.Name)
	}
	return nil
}

// withhold delivers an error's status, and not what it says: it may repeat what the policy hides.
func (x *exchange) withhold(s *sink) error {
	s.header.Set("Content-Type", "text/plain; charset=utf-8")
	_, err := io.WriteString(s, "gatebook: what the service says of this error is withheld, since it is not JSON, in which alone the policy's masks find their place\n")
	return err
}

// pump moves an answer through its filter, at once where nobody knows how long it is.
func (x *exchange) pump(s *sink, resp *http.Response, f filter, mediaType string, out *access.Outcome) error {
	buf := make([]byte, relayBytes)
	interactive := resp.ContentLength < 0
	if mediaType == "text/event-stream" {
		if err := s.flush(); err != nil {
			return err
		}
	}
	for {
		n, readErr := resp.Body.Read(buf)
		if n > 0 {
			if _, err := f.Write(buf[:n]); err != nil {
				return unmaskable(err)
			}
			out.Masked = f.Masked()
			if interactive {
				if err := f.Flush(); err != nil {
					return unmaskable(err)
				}
				if s.begun {
					if err := s.flush(); err != nil {
						return err
					}
				}
			}
		}
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			return access.Refuse(access.CodeUpstream, readErr, "target %q broke off its answer", x.op.Target.Name)
		}
	}
	if err := f.Close(); err != nil {
		return unmaskable(err)
	}
	out.Masked = f.Masked()
	return s.begin()
}

// unmaskable keeps the errors of the record and of the client apart from those of the masking itself.
func unmaskable(err error) error {
	var why *access.Refusal
	var lost *protocol.ClientError
	if errors.As(err, &why) || errors.As(err, &lost) {
		return err
	}
	return access.Refuse(access.CodeUnmaskable, err, "the answer cannot be masked with certainty: %v", err)
}

// keepLocation makes a redirect within the service one within the gateway, below the path by which the client came.
func (x *exchange) keepLocation(h http.Header) {
	to := h.Get("Location")
	if to == "" || x.forwarded {
		return
	}
	u, err := url.Parse(to)
	if err != nil || u.Host != "" && (u.Scheme != "" && u.Scheme != x.h.base.Scheme || !sameHost(u.Host, x.h.base)) || u.Host == "" && !strings.HasPrefix(u.Path, "/") {
		return // leads elsewhere, where the client goes or not; or is relative to where it is
	}
	rest, ok := strings.CutPrefix(u.EscapedPath(), x.h.base.EscapedPath())
	if !ok {
		return
	}
	to = x.prefix() + rest
	if u.RawQuery != "" {
		to += "?" + u.RawQuery
	}
	if u.Fragment != "" {
		to += "#" + u.EscapedFragment()
	}
	h.Set("Location", to)
}

// prefix is the part of the client's path that named the target, and is gone from the request's URL.
func (x *exchange) prefix() string {
	path, _, _ := strings.Cut(x.r.RequestURI, "?")
	prefix, _ := strings.CutSuffix(path, x.r.URL.EscapedPath())
	if prefix == path {
		return ""
	}
	return strings.TrimSuffix(prefix, "/")
}
