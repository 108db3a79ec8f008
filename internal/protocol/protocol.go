// Package protocol is what every protocol offers to the server. A protocol decodes requests into operations, asks
// the gate, forwards, masks and refuses in its own words; it knows nothing of storage, approval or identity.
package protocol

import (
	"net/http"

	"gatebook/internal/access"
)

// Caller is who sends a request: established by the server from the credential, never by the protocol.
type Caller struct {
	Principal access.Principal
	Session   access.SessionID
	// Address is the client's host:port as the gateway saw it.
	Address string
}

// Handler serves one target of a protocol that rides on HTTP. It is safe for concurrent use.
type Handler interface {
	// Serve answers one request of an authenticated caller. The request's URL is as the target would see it:
	// a prefix that named the target is gone, from Path and RawPath alike; the credential is gone from its headers.
	Serve(w http.ResponseWriter, r *http.Request, by Caller)
	// Refuse answers, in the protocol's own words, a request that was refused before it reached Serve.
	Refuse(w http.ResponseWriter, r *http.Request, why *access.Refusal)
}
