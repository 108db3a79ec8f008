// Package remotecommand speaks the Kubernetes protocol of exec and attach at both of its ends, over WebSocket and
// over SPDY/3.1, in all versions that an API server speaks: a connection of five channels.
//
//	channel  0 stdin   1 stdout   2 stderr   3 error (how it ended)   4 resize (of the terminal)
//
//	WebSocket message   | channel | payload …        |     v5: | 255 | channel |  half-closes a channel
//	  base64 variants   | '0'+channel | base64(payload) |
//	SPDY                one stream per channel, opened by the client with the header streamType
//
// It guarantees that a version is agreed exactly as the API server agrees it, that a half-closed stdin arrives as
// one where the version can say so, that channels out of place are never delivered, and that memory is bounded: a
// message of any length is passed on in pieces of at most 256 KiB, and nothing is read before it is wanted.
//
// It does not interpret what the channels carry, dials nothing, and decides nothing.
package remotecommand
