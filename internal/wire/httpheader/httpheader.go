// Package httpheader parts the headers of HTTP that go on from those that do not.
//
// It guarantees that what is about one connection (RFC 9110, section 7.6.1) never leaves it, also where a Connection header
// declares it to be; and that a name is dropped in each of its spellings: a server behind CGI takes an underscore for a dash.
// What else is dropped is each protocol's to say.
package httpheader

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// Connection are the headers about one connection.
var Connection = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Expect"}

// Set holds canonical names.
type Set map[string]bool

// SetOf joins lists.
func SetOf(lists ...[]string) Set {
	out := Set{}
	for _, l := range lists {
		for _, s := range l {
			out[s] = true
		}
	}
	return out
}

// Nominated are those that a Connection header declares to be about one connection.
func Nominated(h http.Header) []string {
	var out []string
	for _, v := range h.Values("Connection") {
		for name := range strings.SplitSeq(v, ",") {
			out = append(out, textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)))
		}
	}
	return out
}

// AsksUpgrade reports whether another protocol is asked for.
func AsksUpgrade(h http.Header) bool {
	return len(h.Values("Upgrade")) > 0 || slices.Contains(Nominated(h), "Upgrade")
}

// HasAnyPrefix reports whether s begins with one of them.
func HasAnyPrefix(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// Forwarded gives a request's headers without those of drop, those that begin with a prefix, and those nominated.
func Forwarded(h http.Header, drop Set, prefixes []string) http.Header {
	nominated := Nominated(h)
	out := make(http.Header, len(h))
	for name, values := range h {
		name = textproto.CanonicalMIMEHeaderKey(name)
		read := name
		if strings.Contains(name, "_") {
			read = textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
		}
		if drop[read] || drop[name] || slices.Contains(nominated, name) || slices.Contains(nominated, read) || HasAnyPrefix(read, prefixes) {
			continue
		}
		out[name] = append(out[name], values...)
	}
	return out
}

// Relayed gives an answer's headers without those of drop, and those nominated.
func Relayed(h http.Header, drop Set) http.Header {
	nominated := Nominated(h)
	out := make(http.Header, len(h))
	for name, values := range h {
		if canonical := textproto.CanonicalMIMEHeaderKey(name); !drop[canonical] && !slices.Contains(nominated, canonical) {
			out[name] = slices.Clone(values)
		}
	}
	return out
}
