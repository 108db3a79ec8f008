package git

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"gatebook/internal/access"
)

// forwarded are the headers of a client that go on: all that git and LFS say of a request. Any other stays here, whatever it
// is for.
var forwarded = []string{"Accept", "Accept-Language", "Content-Type", "User-Agent"}

// Token takes the token off a request (protocol.Carrier): the password of HTTP Basic, under any user name, as git's
// credential helpers give it, or a bearer token.
func (h *Handler) Token(r *http.Request) string {
	v := r.Header["Authorization"]
	r.Header.Del("Authorization")
	if len(v) != 1 {
		return ""
	}
	scheme, rest, _ := strings.Cut(v[0], " ")
	switch rest = strings.TrimSpace(rest); {
	case strings.EqualFold(scheme, "Bearer"):
		return rest
	case strings.EqualFold(scheme, "Basic"):
		b, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return ""
		}
		_, password, _ := strings.Cut(string(b), ":")
		return password
	}
	return ""
}

// version reads which protocol the client asks for, as git does (protocol.c, determine_protocol_version_server): the
// highest that it names.
func version(h http.Header) (int, *access.Refusal) {
	v := h.Values("Git-Protocol")
	if len(v) > 1 {
		return 0, malformed("the request has %d Git-Protocol headers", len(v))
	}
	out := 0
	for item := range strings.SplitSeq(h.Get("Git-Protocol"), ":") {
		if i := slices.Index([]string{"version=0", "version=1", "version=2"}, item); i > out {
			out = i
		}
	}
	return out, nil
}

// upstreamHeader gives the headers as they are forwarded.
func upstreamHeader(h http.Header, version int) (http.Header, *access.Refusal) {
	out := http.Header{}
	for _, name := range forwarded {
		if v := h.Values(name); len(v) > 1 {
			return nil, malformed("the request has %d %s headers", len(v), name)
		} else if len(v) == 1 {
			out.Set(name, v[0])
		}
	}
	if version > 0 {
		out.Set("Git-Protocol", "version="+string('0'+rune(version)))
	}
	if out.Get("User-Agent") == "" {
		out.Set("User-Agent", "") // none, rather than Go's
	}
	return out, nil
}
