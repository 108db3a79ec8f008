// Package login gets tokens for people and workloads on the client's side: by browser (authorization code with PKCE on a loopback
// address), by device code, from a cache that renews them, or from a service account's file. It gives them to kubectl in the
// form of a credential plugin.
//
// It guarantees that a code is only accepted with the state, the nonce and the verifier of this very login, that tokens are kept
// in files that nobody else can read and that are replaced whole, and that of several processes only one renews a token.
//
// It knows nothing of the gateway beyond the issuer's URL.
package login
