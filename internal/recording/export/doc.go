// Package export derives other formats from a recording: asciicast for terminals, Kubernetes audit events, JSON lines.
//
// It guarantees that nothing is added: every value comes from a frame. Terminal output is neutralised, since a player in
// a browser or a terminal will act on it. Each writer takes the events of one session in order, and is for one goroutine.
package export
