// Package credential holds what the gateway itself shows to upstreams, and is the one place that dials them. It
// guarantees that nothing is dialled and no credential is read without a valid gate.Permit, that no credential
// header of a client ever goes upstream, and that a redirect is never followed with a credential.
package credential
