// Package issuer is the embedded OpenID Connect issuer for people, for a first run without a company's identity provider. It is
// off unless asked for.
//
// It has one public client, gatebook-cli, and two flows: authorization code with PKCE (RFC 7636) redirecting to a loopback address
// (RFC 8252), and device authorization (RFC 8628). People are a list in the configuration with bcrypt hashes, or the one
// local operator, who logs in with a code that the terminal shows once.
//
// It guarantees that codes, device codes and refresh tokens are used once; that a login finishes only in the browser that
// began it; that guesses are slow, whoever is asked about; and that what is pending is bounded. The protocol is zitadel/oidc's; of
// its endpoints only those of the two flows are reachable. Logins do not outlive the process; its signing keys do.
package issuer
