// Package identity turns a bearer token into an access.Principal, and takes principals back.
//
// It guarantees that a principal comes from a token whose signature, issuer, audience, authorised party and times were
// all checked against one configured issuer; that no issuer can produce a name or group that belongs to another, nor one that
// begins with "system:" unless it is a Kubernetes cluster; that an issuer's keys are fetched at most once in ten seconds
// whatever arrives; that an issuer which cannot be reached keeps its known keys for a bounded time and then refuses; and
// that a revocation or the end of a token reaches every registered live operation at once.
//
// It knows nothing of HTTP requests, targets, policy or storage. What it refuses is an *access.Refusal, whose message is
// safe for the client and never holds any part of a token that was not verified beyond its issuer, key id and algorithm.
package identity
