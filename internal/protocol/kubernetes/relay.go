package kubernetes

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
)

const (
	relayBytes = 32 << 10
	// maxErrorBytes bounds an error that is read whole to be masked; a longer one is refused.
	maxErrorBytes = 1 << 20
)

// filter is a masking writer; mask.JSONWriter and mask.TextWriter are.
type filter interface {
	io.Writer
	Flush() error
	Close() error
	Masked() int64
}

// plain is the filter that hides nothing.
type plain struct{ io.Writer }

func (plain) Flush() error  { return nil }
func (plain) Close() error  { return nil }
func (plain) Masked() int64 { return 0 }

// relay delivers an answer, masked.
func (x *exchange) relay(s *sink, resp *http.Response, m masking, n negotiated, out *access.Outcome) error {
	s.status, s.header = resp.StatusCode, answerHeader(resp.Header, x.k.isProxy)
	s.tell = func() (http.Header, error) {
		x.strikeWarnings(s.header, m)
		return x.maskHeader(s.header, m)
	}
	if s.isHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified {
		return s.begin()
	}
	if resp.StatusCode >= 400 && !m.none() && !x.k.isProxy {
		return x.relayError(s, resp, m, out)
	}
	if m.none() || resp.ContentLength == 0 {
		s.keepFraming(resp)
		return x.pump(s, resp.Body, plain{s}, nil, out)
	}
	var t *transcoder
	var dst io.Writer = s
	if n.answer != "" && resp.StatusCode < 300 {
		t = &transcoder{scheme: x.h.scheme, answer: n.answer, watch: x.k.Verb == "watch", limit: x.h.o.Limits.TranscodeBytes, dst: s}
		if t.watch && t.answer == typeYAML {
			return access.Refuse(access.CodeUnmaskable, nil, "a watch cannot be answered in YAML; ask for %s", typeJSON)
		}
		s.header.Set("Content-Type", t.contentType())
		dst = t
	}
	f, why := x.filterFor(dst, resp, m)
	if why != nil {
		return why
	}
	return x.pump(s, resp.Body, f, t, out)
}

// filterFor chooses how to mask an answer by what it says it is. What cannot be masked with certainty is refused.
func (x *exchange) filterFor(dst io.Writer, resp *http.Response, m masking) (filter, *access.Refusal) {
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, access.Refuse(access.CodeUnmaskable, nil, "the answer is encoded (%s) although it was asked for as it is, and cannot be masked", e)
	}
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case err == nil && (mediaType == typeJSON || strings.HasSuffix(mediaType, "+json")):
		return x.jsonFilter(dst, m), nil
	case m.shape != nil:
		return nil, access.Refuse(access.CodeUnmaskable, nil, "the answer is %q, in which secrets cannot be masked with certainty", mediaType)
	case strings.HasPrefix(mediaType, "text/"), x.k.isProxy, mediaType == "application/yaml", mediaType == "application/openmetrics-text",
		x.k.Subresource == "log" && err != nil:
		return &sniffer{filter: x.scope.Text(dst)}, nil
	}
	return nil, access.Refuse(access.CodeUnmaskable, nil, "the answer is %q, which cannot be masked", resp.Header.Get("Content-Type"))
}

// pump moves an answer through its filter, event by event where the client waits for events.
func (x *exchange) pump(s *sink, body io.Reader, f filter, t *transcoder, out *access.Outcome) error {
	block := x.h.blocks.get()
	buf := block[:]
	events := x.k.Verb == "watch" || queryTrue(x.k.query, "follow")
	interactive := events || x.k.isProxy
	if events { // the API server answers before the first event, too
		if err := s.flush(); err != nil {
			return err
		}
	}
	for {
		n, readErr := body.Read(buf)
		if n > 0 {
			if _, err := f.Write(buf[:n]); err != nil {
				out.Masked = f.Masked()
				return unmaskable(err)
			}
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
			out.Masked = f.Masked()
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
	if t != nil {
		if err := t.Close(); err != nil {
			return unmaskable(err)
		}
	}
	out.Masked = f.Masked()
	x.h.blocks.put(block)
	return s.begin()
}

// unmaskable keeps the errors of the record and of the client apart from those of the masking itself.
func unmaskable(err error) error {
	var why *access.Refusal
	var lost *protocol.ClientError
	if errors.As(err, &why) || errors.As(err, &lost) || errors.Is(err, errEnough) {
		return err
	}
	return access.Refuse(access.CodeUnmaskable, err, "the answer cannot be masked with certainty: %v", err)
}

// maskHeader masks the headers in which an answer may carry values: all that are not plain, and all that a proxied
// server sends. It gives these, which are part of the record.
func (x *exchange) maskHeader(h http.Header, m masking) (http.Header, error) {
	told := http.Header{}
	for name, values := range h {
		if !x.k.isProxy && slices.Contains(plainHeaders, name) {
			continue
		}
		for i, v := range values {
			if !m.known {
				break
			}
			masked, err := maskText(x.scope, v)
			if err != nil {
				return nil, access.Refuse(access.CodeUnmaskable, err, "a header of the answer cannot be masked")
			}
			values[i] = masked
		}
		told[name] = values
	}
	return told, nil
}

func maskText(scope *mask.Scope, s string) (string, error) {
	var out strings.Builder
	t := scope.Text(&out)
	if _, err := io.WriteString(t, s); err != nil {
		return "", err
	}
	if err := t.Close(); err != nil {
		return "", err
	}
	return out.String(), nil
}
