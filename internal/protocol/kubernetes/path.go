package kubernetes

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"gatebook/internal/access"
)

// checkPath refuses a path that two readers could read differently: with empty, "." or ".." segments, with escapes of
// characters that need none (RFC 3986, section 6.2.2.2) or that separate or end paths somewhere, or not UTF-8. What
// passes decodes to one string, and is forwarded as it came.
func checkPath(u *url.URL) *access.Refusal {
	raw := u.EscapedPath()
	switch {
	case u.Opaque != "" || !strings.HasPrefix(raw, "/"):
		return malformed("the path does not begin with a slash")
	case u.RawPath != "" && u.RawPath != raw:
		return malformed("the path holds characters that must be percent-encoded")
	case !utf8.ValidString(u.Path):
		return malformed("the path is not UTF-8")
	}
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '%' {
			var ok bool
			if c, ok = unhex(raw, i+1); !ok || isUnreserved(c) || !mayEscape(c) {
				return malformed("the path holds the escape %q, which can be read in two ways", raw[i:min(i+3, len(raw))])
			}
			i += 2
			continue
		}
		if c == ';' || c == '\\' || c <= ' ' || c >= 0x7f {
			return malformed("the path holds the character %q, which can be read in two ways", c)
		}
	}
	return checkSegments(u.Path)
}

func checkSegments(path string) *access.Refusal {
	if path == "/" {
		return nil
	}
	for _, s := range strings.Split(strings.TrimSuffix(path[1:], "/"), "/") {
		if s == "" || s == "." || s == ".." {
			return malformed("the path holds an empty, \".\" or \"..\" segment")
		}
	}
	return nil
}

// mayEscape reports whether c may stand as an escape: not what ends or separates segments, not a second escape, and
// no control character.
func mayEscape(c byte) bool {
	return c != '/' && c != ';' && c != '\\' && c != '%' && c >= ' ' && c != 0x7f
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

// parseQuery reads the query as the API server does, but refuses what that would silently drop.
func parseQuery(u *url.URL) (url.Values, *access.Refusal) {
	for i := 0; i < len(u.RawQuery); i++ {
		if c := u.RawQuery[i]; c <= ' ' || c >= 0x7f || c == '#' { // RFC 3986, section 3.4
			return nil, malformed("the query holds the character %q, which must be percent-encoded", c)
		}
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, malformed("the query cannot be read: %v", err)
	}
	for k, vs := range q {
		for _, s := range append(vs, k) {
			if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
				return nil, malformed("the query is not clean UTF-8")
			}
		}
	}
	return q, nil
}

func malformed(format string, args ...any) *access.Refusal {
	return access.Refuse(access.CodeMalformed, nil, format, args...)
}
