package kubernetes

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/wire/httpheader"
)

// Headers that a request must not carry on. Each is either about one connection (RFC 9110, section 7.6.1), or names an
// identity or another method, or is the gateway's own to set, or differs from call to call of the same command. What
// is forwarded is in the operation's digest; what is in none of these lists is forwarded.
var (
	claimHeaders = []string{"Authorization", "Cookie", "Forwarded", "Via", "X-Real-Ip", "X-Http-Method-Override",
		"X-Http-Method", "X-Method-Override", "Remote-User"}
	ownHeaders   = []string{"Accept-Encoding", "Content-Length", "Content-Encoding", "Host", "Audit-Id"}
	noiseHeaders = []string{"Kubectl-Session", "Traceparent", "Tracestate", "Baggage", "B3", "Date", "X-Request-Id",
		"X-Cloud-Trace-Context", "Gatebook-Reason"}
	// claimPrefixes are identities that a front proxy would vouch for, addresses and paths that one would add, and the
	// bearer token that the API server takes from a WebSocket's protocols.
	claimPrefixes = []string{"X-Remote-", "X-Forwarded-", "X-B3-", "X-Auth-", "X-Authenticated-", "X-Client-", "X-Ssl-", "Ssl-Client-",
		"X-Webauth-", "X-Original-", "X-Rewrite-", "X-Consumer-", "X-Amzn-Oidc-", "X-Goog-Authenticated-", "X-Ms-Client-Principal",
		"Cf-Access-", "Tailscale-", "Sec-Websocket-", "Impersonate-"}
	// partHeaders ask for a part of an answer, whose bounds could cut a secret so that it is not recognised.
	partHeaders = []string{"Range", "If-Range"}
	// replayHeaders make Go's transport send a change again when its connection breaks (http.Request.isReplayable).
	replayHeaders = []string{"Idempotency-Key", "X-Idempotency-Key"}
	unforwarded   = httpheader.SetOf(httpheader.Connection, claimHeaders, ownHeaders, noiseHeaders, partHeaders, replayHeaders)
	// plainHeaders are those of an answer that hold no value of an object: they are neither masked nor recorded, unless
	// what is behind a proxy path sends them.
	plainHeaders = []string{"Content-Type", "Date", "Audit-Id", "Cache-Control", "Vary", "Etag", "Last-Modified", "Retry-After",
		"X-Content-Type-Options", "X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid"}
	// streamHeaders are those by which one exec over WebSocket differs from the same over SPDY.
	streamHeaders  = []string{"X-Stream-Protocol-Version", "Origin", "Accept", "Content-Type", "Pragma", "Cache-Control"}
	streamPrefixes = []string{"Sec-Websocket-"}
)

// checkHeaders refuses what would make the same request mean something else than it says.
func checkHeaders(h http.Header) *access.Refusal {
	for name := range h {
		if strings.HasPrefix(textproto.CanonicalMIMEHeaderKey(name), "Impersonate-") {
			why := malformed("the request asks to act as somebody else (%s), which the gateway does not pass on", name)
			why.Advice = "Run the command without --as, --as-group and --as-uid: the gateway acts as you."
			return why
		}
	}
	for _, name := range []string{"Content-Type", "Content-Encoding"} {
		if len(h.Values(name)) > 1 {
			return malformed("the request has %d %s headers", len(h.Values(name)), name)
		}
	}
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		why := malformed("the request's body has Content-Encoding %q, which the API server does not read", e)
		why.Advice = "Send the body as it is."
		return why
	}
	return nil
}

// upstreamHeader gives the client's headers as they are forwarded: the same for every request with the same digest.
// Accept is still the client's.
func upstreamHeader(h http.Header) http.Header {
	return httpheader.Forwarded(h, unforwarded, claimPrefixes)
}

// streamHeader is upstreamHeader for an upgrade, without what differs between the protocols of the same stream.
func streamHeader(h http.Header) http.Header {
	out := upstreamHeader(h)
	for name := range out {
		if slices.Contains(streamHeaders, name) || httpheader.HasAnyPrefix(name, streamPrefixes) {
			delete(out, name)
		}
	}
	return out
}

// usualHeaders are those by which the same command differs from client to client, and that change nothing of what it does.
var usualHeaders = []string{"Accept", "Accept-Language", "Cache-Control", "Content-Type", "If-Modified-Since", "If-None-Match",
	"Kubectl-Command", "Pragma", "User-Agent"}

// unsaid writes the other headers that are forwarded, as a comment, so that who approves a command sees all of it.
func unsaid(forwarded http.Header) string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(forwarded)) {
		if !slices.Contains(usualHeaders, name) {
			for _, v := range forwarded[name] {
				out.WriteString(" # " + name + ": " + v)
			}
		}
	}
	return out.String()
}

// answerHeader gives the upstream's headers as they are relayed, without those about its connection, those that would
// lead the client around the gateway, and the length, which masking changes.
func answerHeader(h http.Header, isProxy bool) http.Header {
	out := httpheader.Relayed(h, unrelayed)
	if !isProxy {
		out.Del("Set-Cookie")
	}
	return out
}

var unrelayed = httpheader.SetOf(httpheader.Connection, []string{"Content-Length", "Alt-Svc", "Content-Encoding", "Www-Authenticate", "Location", "Link", "Refresh"})
