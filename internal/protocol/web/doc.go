// Package web is the protocol of HTTP services: as a reverse proxy of one service, and as the HTTP proxy through which
// clients reach hosts that a target names.
//
// It guarantees that a request which could be read in two ways is refused, or what is doubtful in it is unknown to policy;
// that a service is sent what was decided on and nothing else: compression is undone first; that what policy hides leaves
// in no body, header, trailer, event or message, or the answer is refused; that neither side's credentials pass; and that
// every operation it was permitted is ended once, with what the client was given.
//
// It refuses to know where records go, who approves, and how a caller proved who they are.
package web
