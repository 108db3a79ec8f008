package web

import (
	"net/http"
	"net/textproto"
	"slices"

	"gatebook/internal/access"
	"gatebook/internal/wire/httpheader"
)

// Headers that a request must not carry on. Each is either about one connection (RFC 9110, section 7.6.1), or names an
// identity or another method, or is the gateway's own to set, or differs from call to call of the same command. What is
// forwarded is in the operation's digest; what is in none of these lists is forwarded.
var (
	claimHeaders = []string{"Authorization", "Cookie", "Forwarded", "Via", "X-Real-Ip", "X-Http-Method-Override",
		"X-Http-Method", "X-Method-Override", "Remote-User", "True-Client-Ip", "Client-Ip", "X-Host", "X-Api-Version-Override",
		"X-Forwarded", "Forwarded-For", "X-Originating-Ip", "X-Cluster-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip", "X-Scheme", "X-Url-Scheme", "Front-End-Https",
		"X-Script-Name", "Script-Name", "Proxy" /* CGI's HTTP_PROXY */}
	ownHeaders   = []string{"Accept-Encoding", "Connect-Accept-Encoding", "Content-Length", "Content-Encoding", "Host", "Content-Digest", "Repr-Digest", "Content-Md5", "Digest"}
	noiseHeaders = []string{"Traceparent", "Tracestate", "Baggage", "B3", "Date", "X-Request-Id", "X-Correlation-Id", "X-Cloud-Trace-Context", "X-Amzn-Trace-Id", "Uber-Trace-Id",
		"Sentry-Trace", "Grpc-Timeout" /* what is left of it; who has waited enough goes */, "Gatebook-Reason"}
	// claimPrefixes are identities that a front proxy would vouch for, and addresses and paths that one would add.
	claimPrefixes = []string{"X-Remote-", "X-Forwarded-", "X-B3-", "X-Auth-Request-", "X-Authenticated-", "X-Client-", "X-Ssl-", "Ssl-Client-",
		"X-Webauth-", "X-Original-", "X-Rewrite-", "X-Consumer-", "X-Amzn-Oidc-", "X-Goog-Authenticated-", "X-Goog-Iap-", "X-Envoy-", "X-Datadog-", "X-Ms-Client-Principal",
		"Cf-Access-", "Tailscale-", "Impersonate-", "Sec-Websocket-", "Grpc-Encoding", "Grpc-Accept-Encoding"}
	unforwarded = httpheader.SetOf(httpheader.Connection, claimHeaders, ownHeaders, noiseHeaders)
	// unrelayed are headers of an answer that are about the upstream's connection, would lead the client round the gateway,
	// hand out what only the gateway may hold, or say something of bytes that masking changes.
	unrelayed = httpheader.SetOf(httpheader.Connection, []string{"Content-Length", "Alt-Svc", "Www-Authenticate", "Set-Cookie", "Set-Cookie2", "Authentication-Info",
		"Proxy-Authentication-Info", "Strict-Transport-Security", "Public-Key-Pins", "Clear-Site-Data"})
	// ofBytes are headers of an answer that describe its bytes.
	ofBytes         = []string{"Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Accept-Ranges", "Content-Range", "X-Goog-Hash"}
	ofBytesPrefixes = []string{"X-Amz-Checksum-", "X-Checksum-"}
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
	return httpheader.Forwarded(h, unforwarded, claimPrefixes)
}

// answerHeader gives the upstream's headers as they are relayed.
func answerHeader(h http.Header, masked bool) http.Header {
	out := httpheader.Relayed(h, unrelayed)
	for name := range out {
		if canonical := textproto.CanonicalMIMEHeaderKey(name); masked && (slices.Contains(ofBytes, canonical) || httpheader.HasAnyPrefix(canonical, ofBytesPrefixes)) {
			delete(out, name)
		}
	}
	return out
}
