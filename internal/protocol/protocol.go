// Package protocol is what every protocol offers to the server. A protocol decodes requests into operations, asks
// the gate, forwards, masks and refuses in its own words; it knows nothing of storage, approval or identity.
package protocol

import (
	"context"
	"net"
	"net/http"
	"strings"

	"gatebook/internal/access"
)

// Caller is who sends a request: established by the server from the credential, never by the protocol.
type Caller struct {
	Principal access.Principal
	Session   access.SessionID
	// Address is the client's host:port as the gateway saw it.
	Address string
	// Trace is the W3C traceparent that came with the credential or in the request's header. The client's word.
	Trace string
}

// IsTrace reports whether s has the form of a traceparent (W3C Trace Context, section 3.2): nothing else that a client puts
// in its place is believed, or recorded.
func IsTrace(s string) bool {
	return len(s) == 55 && s[2] == '-' && s[35] == '-' && s[52] == '-' && strings.Trim(s, "0123456789abcdef-") == ""
}

// Handler serves one target of a protocol that rides on HTTP. It is safe for concurrent use.
type Handler interface {
	// Serve answers one request of an authenticated caller. The request's URL is as the target would see it:
	// a prefix that named the target is gone, from Path and RawPath alike; the credential is gone from its headers.
	Serve(w http.ResponseWriter, r *http.Request, by Caller)
	// Refuse answers, in the protocol's own words, a request that was refused before it reached Serve.
	Refuse(w http.ResponseWriter, r *http.Request, why *access.Refusal)
}

// Carrier is a Handler whose clients show their token elsewhere than in a bearer Authorization header.
type Carrier interface {
	// Token gives the token and takes it off the request, so that nothing of it is forwarded. Empty: there is none, or
	// more than one that differ.
	Token(r *http.Request) string
}

// Conversant is a Handler whose clients name the conversation that a request belongs to.
type Conversant interface {
	// Conversation is the client's word; empty where it does not say.
	Conversation(r *http.Request) string
}

// Door lets in the clients of a protocol that does not ride on HTTP.
type Door struct {
	// Authenticate turns a token, as it came, into a caller, or gives an *access.Refusal. The caller's address is left
	// to the protocol.
	Authenticate func(ctx context.Context, token string) (Caller, error)
	// Watch cuts ctx, with an *access.Refusal as its cause, when the token is taken back, until ctx ends.
	Watch func(ctx context.Context, token string, cut context.CancelCauseFunc)
}

// ConnHandler serves the connections of a protocol that does not ride on HTTP. It is safe for concurrent use.
type ConnHandler interface {
	// ServeConn speaks with one client until either leaves or ctx ends, and then closes conn.
	ServeConn(ctx context.Context, conn net.Conn, d Door)
}
