// Package gate is the one way from a client to an upstream. Admit decides an operation by policy, waits for a person
// where policy says so, records it durably, and only then gives out a Permit, without which package credential dials
// nothing. It guarantees that an operation which got a permit is in the journal with its decision and its whole
// request; that one which did not is recorded as refused; that an approval is used at most once, by the operation it
// was given for, judged again under the policy in force at that moment, and never for a client that has gone.
package gate
