package web

import (
	"io"
	"net/url"
	"slices"
	"strings"

	"gatebook/internal/access"
)

// maxForm bounds an answer that is a form, in bytes; a longer one cannot be masked.
const maxForm = 256 << 10

// relayForm delivers a form, as some OAuth servers answer with, without its tokens.
func (x *exchange) relayForm(s *sink, body io.Reader, m masking, out *access.Outcome) error {
	raw, err := io.ReadAll(io.LimitReader(body, maxForm+1))
	switch {
	case err != nil:
		return access.Refuse(access.CodeUpstream, err, "target %q broke off its answer", x.op.Target.Name)
	case len(raw) > maxForm:
		return access.Refuse(access.CodeUnmaskable, nil, "the answer is a form of more than %d bytes, which cannot be masked", maxForm)
	}
	pairs := strings.Split(string(raw), "&")
	hidden := int64(0)
	for i, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		if !slices.Contains(tokenNames, unescaped(name)) || value == "" {
			continue
		}
		v := []byte(unescaped(value))
		x.h.o.Masks.Learn(v)
		pairs[i] = name + "=" + x.scope.Placeholder(v)
		hidden++
	}
	var f filter = plain{s}
	if m.known {
		f = x.scope.Text(s)
	}
	if err := maskWhole(f, []byte(strings.Join(pairs, "&"))); err != nil {
		return unmaskable(err)
	}
	out.Masked = hidden + f.Masked()
	return s.begin()
}

// unescaped is a part of a form, as it is where its escapes cannot be read.
func unescaped(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}
