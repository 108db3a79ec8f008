package web

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/mask"
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

// headerMask begins the path of a mask that is not in the body but a header, such as header:X-Api-Key.
const headerMask = "header:"

// tokenNames are those of what an OAuth server answers that is secret.
var tokenNames = []string{"access_token", "refresh_token", "id_token", "client_secret"}

// tokenRules are what is secret by structure in any service's JSON: what an OAuth server answers (RFC 6749, RFC 7591).
// The agent holds no credential of a service, nor is it given one.
func tokenRules() []mask.Rule {
	var out []mask.Rule
	for _, k := range tokenNames {
		out = append(out, mask.Rule{Path: k, Encoding: mask.Text})
	}
	return out
}

// masking is what a decision says is to be hidden in an answer.
type masking struct {
	// shape is nil where no place in JSON is named. strict says that the policy names some: what is not JSON is then refused.
	shape  *mask.Shape
	strict bool
	known  bool
	// headers that are hidden whole.
	headers []string
}

func (m masking) none() bool { return m.shape == nil && !m.known && len(m.headers) == 0 }

func (x *exchange) maskingOf(masks []access.Mask) (masking, error) {
	m := masking{known: access.HidesKnown(masks)}
	var rules []mask.Rule
	var err error
	if x.scope, err = x.scope.Detecting(access.Detectors(masks)); err != nil {
		return m, err
	}
	for _, k := range masks {
		switch k.Name {
		case access.MaskSecrets:
			rules = append(rules, x.h.tokens...)
		}
		for _, p := range k.Paths {
			if name, ok := strings.CutPrefix(p, headerMask); ok {
				m.headers = append(m.headers, textproto.CanonicalMIMEHeaderKey(name))
				continue
			}
			m.strict = true
			rules = append(rules, mask.Rule{Path: p, Encoding: mask.Text})
		}
	}
	if len(rules) == 0 {
		return m, nil
	}
	if m.shape, err = mask.Compile(rules); err != nil {
		return m, fmt.Errorf("compiling the masks of the policy: %w", err)
	}
	return m, nil
}

// maskHeader masks headers, or trailers, in place.
func (x *exchange) maskHeader(h http.Header, m masking) {
	for name, values := range h {
		for i, v := range values {
			switch {
			case slices.Contains(m.headers, textproto.CanonicalMIMEHeaderKey(name)):
				x.h.o.Masks.Learn([]byte(v))
				values[i] = x.scope.Placeholder([]byte(v))
			case m.known:
				values[i] = without(x.scope, v)
			}
		}
	}
}

// sniffer refuses compressed content, in which no value can be recognised, whatever it is called; or, where the target
// says so, lets it through as it is.
type sniffer struct {
	filter
	dst    io.Writer
	opaque bool
	head   []byte
	done   bool
}

// compressed are the first bytes of archives, of compressed files, and of documents that hold such.
var compressed = [][]byte{{0x1f, 0x8b}, {'P', 'K', 3, 4}, {0x28, 0xb5, 0x2f, 0xfd}, {'B', 'Z', 'h'}, {0xfd, '7', 'z', 'X', 'Z', 0},
	{'7', 'z', 0xbc, 0xaf}, {'R', 'a', 'r', '!'}, {0x04, 0x22, 0x4d, 0x18}, {'%', 'P', 'D', 'F', '-'}, {0x78, 0x01}, {0x78, 0x9c}, {0x78, 0xda},
	{'L', 'Z', 'I', 'P'}, {0x1f, 0x9d}, {0x1f, 0xa0}, {0xff, 0x06, 0x00, 0x00, 's', 'N'}, {'M', 'S', 'C', 'F'}, {'P', 'A', 'R', '1'}}

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
	begins := func(magic []byte) bool { return bytes.HasPrefix(s.head, magic) }
	if slices.ContainsFunc(wide, begins) {
		return access.Refuse(access.CodeUnmaskable, nil, "the answer is written in UTF-16 or UTF-32, in which nothing can be masked")
	}
	if slices.ContainsFunc(compressed, begins) {
		if !s.opaque {
			why := access.Refuse(access.CodeUnmaskable, nil, "the answer is compressed, so that nothing in it can be masked")
			why.Advice = "An operator can let such answers through unmasked, by opaque: true of the target."
			return why
		}
		if err := s.filter.Close(); err != nil {
			return err
		}
		s.filter = plain{s.dst}
	}
	_, err := s.filter.Write(s.head)
	s.head = nil
	return err
}

func (s *sniffer) Flush() error {
	if len(s.head) > 0 && len(s.head) < 6 {
		return nil // too little to tell; the rest, or the end, comes
	}
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
