package web

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"gatebook/internal/access"
)

// Headers that a request must not carry on. Each is either about one connection (RFC 9110, section 7.6.1), or names an
// identity or another method, or is the gateway's own to set, or differs from call to call of the same command. What is
// forwarded is in the operation's digest; what is in none of these lists is forwarded.
var (
	connectionHeaders = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Expect"}
	claimHeaders = []string{"Authorization", "Cookie", "Forwarded", "Via", "X-Real-Ip", "X-Http-Method-Override",
		"X-Http-Method", "X-Method-Override", "Remote-User", "True-Client-Ip", "X-Host", "X-Api-Version-Override"}
	ownHeaders   = []string{"Accept-Encoding", "Content-Length", "Content-Encoding", "Host", "Content-Digest", "Content-Md5", "Digest"}
	noiseHeaders = []string{"Traceparent", "Tracestate", "Baggage", "B3", "Date", "X-Request-Id", "X-Cloud-Trace-Context", "Gatebook-Reason"}
	// claimPrefixes are identities that a front proxy would vouch for, and addresses and paths that one would add.
	claimPrefixes = []string{"X-Remote-", "X-Forwarded-", "X-B3-", "X-Auth-Request-", "X-Authenticated-", "X-Client-", "X-Ssl-", "Ssl-Client-",
		"X-Webauth-", "X-Original-", "X-Rewrite-", "X-Consumer-", "X-Amzn-Oidc-", "X-Goog-Authenticated-", "X-Ms-Client-Principal",
		"Cf-Access-", "Tailscale-", "Impersonate-", "Sec-Websocket-", "Grpc-Encoding", "Grpc-Accept-Encoding"}
	unforwarded = setOf(connectionHeaders, claimHeaders, ownHeaders, noiseHeaders)
	// unrelayed are headers of an answer that are about the upstream's connection, would lead the client round the gateway,
	// hand out what only the gateway may hold, or say something of bytes that masking changes.
	unrelayed = setOf(connectionHeaders, []string{"Content-Length", "Alt-Svc", "Www-Authenticate", "Set-Cookie", "Set-Cookie2", "Authentication-Info",
		"Proxy-Authentication-Info", "Strict-Transport-Security", "Public-Key-Pins", "Clear-Site-Data"})
	// ofBytes are headers of an answer that describe its bytes.
	ofBytes = []string{"Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Accept-Ranges", "Content-Range"}
)

// checkHeaders refuses what would make the same request mean something else than it says.
func checkHeaders(h http.Header) *access.Refusal {
	for _, name := range []string{"Content-Type", "Content-Encoding", "Host"} {
		if len(h.Values(name)) > 1 {
			return malformed("the request has %d %s headers", len(h.Values(name)), name)
		}
	}
	return nil
}

// upstreamHeader gives the client's headers as they are forwarded.
func upstreamHeader(h http.Header) http.Header {
	nominated := nominatedHeaders(h)
	out := make(http.Header, len(h))
	for name, values := range h {
		name = textproto.CanonicalMIMEHeaderKey(name)
		// The service may take an underscore for a dash, as CGI does.
		read := name
		if strings.Contains(name, "_") {
			read = textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
		}
		if unforwarded[read] || slices.Contains(nominated, name) || hasAnyPrefix(read, claimPrefixes) {
			continue
		}
		out[name] = append(out[name], values...)
	}
	return out
}

// nominatedHeaders are those that a Connection header declares to be about one connection.
func nominatedHeaders(h http.Header) []string {
	var out []string
	for _, v := range h.Values("Connection") {
		for name := range strings.SplitSeq(v, ",") {
			out = append(out, textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)))
		}
	}
	return out
}

func hasAnyPrefix(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// answerHeader gives the upstream's headers as they are relayed.
func answerHeader(h http.Header, masked bool) http.Header {
	nominated := nominatedHeaders(h)
	out := make(http.Header, len(h))
	for name, values := range h {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		if unrelayed[canonical] || slices.Contains(nominated, canonical) || masked && slices.Contains(ofBytes, canonical) {
			continue
		}
		out[name] = slices.Clone(values)
	}
	return out
}

func setOf(lists ...[]string) map[string]bool {
	out := map[string]bool{}
	for _, l := range lists {
		for _, s := range l {
			out[s] = true
		}
	}
	return out
}
