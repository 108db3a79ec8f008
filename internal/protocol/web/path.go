package web

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"gatebook/internal/access"
)

// checkPath refuses a path that leads elsewhere by its segments, or that is none. doubt says why what passes may be read
// in two ways all the same: services use escaped slashes and the like, so that it is forwarded as it came, but what it
// means is unknown to policy.
func checkPath(u *url.URL) (doubt string, why *access.Refusal) {
	raw := u.EscapedPath()
	switch {
	case u.Opaque != "" || !strings.HasPrefix(raw, "/"):
		return "", malformed("the path does not begin with a slash")
	case u.RawPath != "" && u.RawPath != raw:
		return "", malformed("the path holds characters that must be percent-encoded")
	case !utf8.ValidString(u.Path):
		return "", malformed("the path is not UTF-8")
	case strings.ContainsFunc(u.Path, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return "", malformed("the path holds a control character")
	}
	for _, s := range strings.FieldsFunc(u.Path, func(c rune) bool { return c == '/' || c == '\\' }) {
		s, _, _ = strings.Cut(s, ";")  // what follows is a parameter to some
		for strings.Contains(s, "%") { // some undo escapes twice
			plain, err := url.PathUnescape(s)
			if err != nil || plain == s {
				break
			}
			s = plain
		}
		for _, s := range strings.FieldsFunc(s, func(c rune) bool { return c == '/' || c == '\\' }) {
			if s == "." || s == ".." {
				return "", malformed("the path holds a \".\" or \"..\" segment")
			}
		}
	}
	return doubtful(raw, u.Path), nil
}

// doubtful says what of a path is not read alike by everybody.
func doubtful(raw, plain string) string {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			continue
		}
		c, ok := unhex(raw, i+1)
		if !ok || strings.IndexByte(`/\;%?#`, c) >= 0 || isUnreserved(c) {
			return "the escape " + raw[i:min(i+3, len(raw))] + " in it can be read in two ways"
		}
	}
	switch {
	case strings.ContainsAny(plain, `;\`):
		return "a ; or \\ in it can be read in two ways"
	case strings.Contains(plain, "//"):
		return "an empty segment in it can be read in two ways"
	}
	return ""
}

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func unhex(s string, at int) (byte, bool) {
	if at+2 > len(s) {
		return 0, false
	}
	hi, ok1 := hexDigit(s[at])
	lo, ok2 := hexDigit(s[at+1])
	return hi<<4 | lo, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// readQuery reads the parameters. doubt says why they may be read in two ways: then they are unknown to policy.
func readQuery(u *url.URL) (q url.Values, doubt string, why *access.Refusal) {
	for i := 0; i < len(u.RawQuery); i++ {
		if c := u.RawQuery[i]; c <= ' ' || c >= 0x7f || c == '#' { // RFC 3986, section 3.4
			return nil, "", malformed("the query holds the character %q, which must be percent-encoded", c)
		}
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, "it cannot be read with certainty", nil
	}
	for k, vs := range q {
		for _, s := range append(vs, k) {
			if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
				return nil, "it is not clean UTF-8", nil
			}
		}
	}
	return q, "", nil
}

func malformed(format string, args ...any) *access.Refusal {
	return access.Refuse(access.CodeMalformed, nil, format, args...)
}
