package kubernetes

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/recording"
)

const (
	relayBytes = 32 << 10
	// maxErrorBytes bounds an error that is read whole to be masked; a longer one is refused.
	maxErrorBytes = 1 << 20
)

// sink delivers an answer: what the client is given is in the record before it is sent. The status line goes with the
// first byte, so that an answer which turns out not to be maskable, or cannot be recorded, can still be refused.
type sink struct {
	w      http.ResponseWriter
	p      gate.Permit
	status int
	header http.Header
	// tell masks the header when it goes, since what comes before may make values known, and gives what of it is recorded.
	tell   func() (http.Header, error)
	isHead bool
	// limit is how many bytes of the body the client asked for; 0: all.
	limit     int64
	begun     bool
	delivered int64
}

// clientError is a failure to write to the client.
type clientError struct{ error }

func (e *clientError) Unwrap() error { return e.error }

// errEnough says that the client has as much as it asked for.
var errEnough = errors.New("the client asked for no more")

func (s *sink) Write(b []byte) (int, error) {
	if len(b) == 0 || s.isHead {
		return len(b), s.begin()
	}
	var enough error
	if s.limit > 0 && int64(len(b)) >= s.limit-s.delivered {
		b, enough = b[:s.limit-s.delivered], errEnough
	}
	if err := s.p.Record(recording.Body, recording.ToClient, b); err != nil {
		return 0, err
	}
	if err := s.begin(); err != nil {
		return 0, err
	}
	n, err := s.w.Write(b)
	s.delivered += int64(n)
	if err != nil {
		return n, &clientError{err}
	}
	return n, enough
}

func (s *sink) begin() error {
	if s.begun {
		return nil
	}
	told, err := s.tell()
	if err != nil {
		return err
	}
	if len(told) > 0 {
		var lines bytes.Buffer
		if err := told.Write(&lines); err != nil { // a bytes.Buffer takes everything
			return err
		}
		if err := s.p.Record(recording.Header, recording.ToClient, lines.Bytes()); err != nil {
			return err
		}
	}
	s.begun = true
	maps.Copy(s.w.Header(), s.header)
	s.w.WriteHeader(s.status)
	return nil
}

func (s *sink) flush() error {
	if err := s.begin(); err != nil {
		return err
	}
	if err := http.NewResponseController(s.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return &clientError{err}
	}
	return nil
}

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

// keepFraming leaves an answer that is not masked as it came.
func (s *sink) keepFraming(resp *http.Response) {
	for _, name := range []string{"Content-Length", "Content-Encoding"} {
		if v := resp.Header.Get(name); v != "" {
			s.header.Set(name, v)
		}
	}
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
	case x.isOpenAPI():
		return plain{dst}, nil
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
	var lost *clientError
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
			masked, err := x.maskText(v)
			if err != nil {
				return nil, access.Refuse(access.CodeUnmaskable, err, "a header of the answer cannot be masked")
			}
			values[i] = masked
		}
		told[name] = values
	}
	return told, nil
}

func (x *exchange) maskText(s string) (string, error) {
	var out strings.Builder
	t := x.scope.Text(&out)
	if _, err := io.WriteString(t, s); err != nil {
		return "", err
	}
	if err := t.Close(); err != nil {
		return "", err
	}
	return out.String(), nil
}

// sniffer refuses compressed content, in which no value can be recognised, whatever it is called.
type sniffer struct {
	filter
	head []byte
	done bool
}

var compressed = [][]byte{{0x1f, 0x8b}, {'P', 'K', 3, 4}, {0x28, 0xb5, 0x2f, 0xfd}, {'B', 'Z', 'h'}, {0xfd, '7', 'z', 'X', 'Z', 0}}

func (s *sniffer) Write(b []byte) (int, error) {
	if s.done {
		return s.filter.Write(b)
	}
	s.head = append(s.head, b...)
	if len(s.head) < 6 {
		return len(b), nil
	}
	if err := s.release(); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (s *sniffer) release() error {
	if s.done {
		return nil
	}
	s.done = true
	for _, magic := range compressed {
		if bytes.HasPrefix(s.head, magic) {
			return access.Refuse(access.CodeUnmaskable, nil, "the answer is compressed, so that nothing in it can be masked")
		}
	}
	_, err := s.filter.Write(s.head)
	s.head = nil
	return err
}

func (s *sniffer) Flush() error {
	if err := s.release(); err != nil {
		return err
	}
	return s.filter.Flush()
}

func (s *sniffer) Close() error {
	if err := s.release(); err != nil {
		return err
	}
	return s.filter.Close()
}
