package stream

import (
	"encoding/base64"
	"net/http"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/wire/spdy"
)

// Kind is what a client asks a connection to become.
type Kind int

const (
	None Kind = iota // no upgrade
	WebSocket
	SPDY
)

// ReadUpgrade says what a request asks for. Only one upgrade, to WebSocket (RFC 6455, section 4.2.1) or SPDY/3.1, over
// HTTP/1.1 and without a body, is understood; anything else that speaks of an upgrade is refused, since what followed
// could not be decoded.
func ReadUpgrade(r *http.Request) (Kind, *access.Refusal) {
	wanted := headerTokens(r.Header["Upgrade"])
	asked := false
	for _, t := range headerTokens(r.Header["Connection"]) {
		asked = asked || strings.EqualFold(t, "upgrade")
	}
	switch {
	case len(r.Header["Upgrade"]) == 0 && !asked && !hasWebSocketHeaders(r.Header):
		return None, nil
	case r.ProtoMajor != 1 || r.ProtoMinor != 1:
		return None, malformed("an upgrade is asked for over %s", r.Proto)
	case !asked || len(wanted) == 0:
		return None, malformed("the headers Connection and Upgrade contradict each other")
	case len(wanted) != 1 || len(r.Header["Upgrade"]) != 1:
		return None, malformed("more than one upgrade is asked for: %q", wanted)
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return None, malformed("a request that asks for an upgrade has a body")
	}
	switch strings.ToLower(wanted[0]) {
	case "websocket":
		return WebSocket, checkWebSocket(r)
	case strings.ToLower(spdy.Token):
		if r.Method != http.MethodPost && r.Method != http.MethodGet {
			return None, malformed("an upgrade to SPDY/3.1 by method %s", r.Method)
		}
		return SPDY, nil
	}
	return None, malformed("an upgrade to %q is not understood; WebSocket and SPDY/3.1 are", wanted[0])
}

// checkWebSocket refuses what could not be accepted, before anything is asked of the upstream. Origin is not looked at,
// nor does the API server: it protects what a browser sends by itself (cookies, Basic, certificates), and none of that
// is a credential here. Who asks holds a bearer token, which no page can put into the header of a WebSocket.
func checkWebSocket(r *http.Request) *access.Refusal {
	h := r.Header
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(h.Get("Sec-Websocket-Key")))
	switch {
	case r.Method != http.MethodGet:
		return malformed("an upgrade to WebSocket by method %s", r.Method)
	case len(h["Sec-Websocket-Version"]) != 1 || h.Get("Sec-Websocket-Version") != "13":
		return malformed("WebSocket version %q is not 13", h["Sec-Websocket-Version"])
	case len(h["Sec-Websocket-Key"]) != 1 || err != nil || len(key) != 16:
		return malformed("the WebSocket key is not one of 16 octets in base64")
	}
	return nil
}

// Protocols are the subprotocols that a client of a WebSocket offers, in its order (RFC 6455, section 11.3.4).
func Protocols(h http.Header) []string { return headerTokens(h["Sec-Websocket-Protocol"]) }

func hasWebSocketHeaders(h http.Header) bool {
	return len(h["Sec-Websocket-Key"]) > 0 || len(h["Sec-Websocket-Version"]) > 0
}

func headerTokens(fields []string) []string {
	var out []string
	for _, f := range fields {
		for t := range strings.SplitSeq(f, ",") {
			if t = strings.TrimSpace(t); t != "" {
				out = append(out, t)
			}
		}
	}
	return out
}

func malformed(format string, args ...any) *access.Refusal {
	return access.Refuse(access.CodeMalformed, nil, format, args...)
}
