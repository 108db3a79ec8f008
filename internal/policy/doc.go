// Package policy decides: from rules and one operation it makes an access.Decision, with the rules that said so.
//
// It is pure. A decision depends on nothing but the operation and the rules, takes no lock, reads no clock and does no
// input or output, so that the same operation is decided the same way tomorrow, offline, or in a test. It guarantees:
//
//   - Rules are unordered: deny over approve over allow, and nothing met is deny.
//   - What could not be read is unknown, never empty. A rule whose outcome depends on an unknown, or whose condition
//     fails, counts as met where it denies or asks, as not met where it allows, and its masks and risk count either way.
//   - A misspelt field, an unknown key, a wrong type is found when the policy is loaded, with file, line and column.
//   - No rule can hang: a condition's cost is bounded, and one that goes beyond has failed.
//
// A Set is immutable and safe for concurrent use. The language is described in docs/design/policy.md, the fields and
// functions in docs/reference/policy.md.
package policy
