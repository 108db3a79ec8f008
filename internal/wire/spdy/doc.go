// Package spdy carries SPDY/3.1 connections in the way that Kubernetes uses them for exec, attach and port-forward:
// one side opens streams, each with headers that say what it is for, and both sides half-close them. The framing is
// moby/spdystream's; this package adds what a gateway between two strangers needs. It guarantees that
//
//   - memory is bounded: a frame that announces more than MaxFrame octets ends the connection before it is read, and
//     what is not consumed is not read from the network;
//   - a write to a stream that the peer has reset is an error, not silence;
//   - Close returns only when every goroutine of the connection has ended.
//
// It knows nothing of what a stream carries, dials nothing, and decides nothing.
package spdy
