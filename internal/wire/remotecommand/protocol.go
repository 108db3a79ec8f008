package remotecommand

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"gatebook/internal/wire/spdy"
)

// Channel is one of the five channels, with its number in WebSocket messages.
type Channel byte

const (
	Stdin Channel = iota
	Stdout
	Stderr
	Error  // how the command ended; a Status in JSON from version 4 on, a text before
	Resize // {"Width":80,"Height":24}, a stream of JSON objects

	channels     = 5
	closeChannel = 255 // version 5: the next octet names a channel that is half-closed
)

var channelNames = [channels]string{"stdin", "stdout", "stderr", "error", "resize"}

// String is the channel's name in the streamType header.
func (c Channel) String() string {
	if int(c) < len(channelNames) {
		return channelNames[c]
	}
	return fmt.Sprintf("channel %d", byte(c))
}

// Streams says which channels a command uses; the error channel is always there, and resize comes with TTY.
type Streams struct{ Stdin, Stdout, Stderr, TTY bool }

// has reports whether the channel is in use. A terminal has no stderr of its own.
func (s Streams) has(c Channel) bool {
	switch c {
	case Stdin:
		return s.Stdin
	case Stdout:
		return s.Stdout
	case Stderr:
		return s.Stderr && !s.TTY
	case Resize:
		return s.TTY
	}
	return c == Error
}

// Protocol is a version of the protocol, as it is named when it is agreed. The empty one is version 1 over WebSocket
// for clients that name none.
type Protocol string

const (
	V5       Protocol = "v5.channel.k8s.io"
	V4       Protocol = "v4.channel.k8s.io"
	V3       Protocol = "v3.channel.k8s.io"
	V2       Protocol = "v2.channel.k8s.io"
	V1       Protocol = "channel.k8s.io"
	V4Base64 Protocol = "v4.base64.channel.k8s.io"
	V1Base64 Protocol = "base64.channel.k8s.io"
)

// StatusInJSON reports whether the error channel carries a Status in JSON. Before version 4 it is a text, and empty
// on success.
func (p Protocol) StatusInJSON() bool { return p == V5 || p == V4 || p == V4Base64 }

func (p Protocol) base64() bool     { return p == V4Base64 || p == V1Base64 }
func (p Protocol) halfCloses() bool { return p == V5 }
func (p Protocol) resizes() bool    { return p != V1 && p != V2 }

var (
	// webSocketProtocols is what kube-apiserver 1.36 (v5) and the kubelets behind it (the others) accept.
	webSocketProtocols = []Protocol{V5, V4, V4Base64, V1, V1Base64}
	spdyProtocols      = []Protocol{V4, V3, V2, V1}
)

// ChooseWebSocket agrees on a version with a client that asks for WebSocket: v5 wherever it is offered, since the API
// server's own end then answers, and the client's first choice otherwise.
func ChooseWebSocket(h http.Header) (Protocol, error) {
	offered := tokens(h["Sec-Websocket-Protocol"])
	if len(offered) == 0 {
		return "", nil
	}
	if slices.Contains(offered, string(V5)) {
		return V5, nil
	}
	return choose(offered, webSocketProtocols)
}

// ChooseSPDY agrees on a version with a client that asks for SPDY/3.1: the client's first choice of those known.
func ChooseSPDY(h http.Header) (Protocol, error) {
	return choose(tokens(h[spdy.VersionHeader]), spdyProtocols)
}

func choose(offered []string, known []Protocol) (Protocol, error) {
	for _, o := range offered {
		if slices.Contains(known, Protocol(o)) {
			return Protocol(o), nil
		}
	}
	return "", fmt.Errorf("the client offers the protocols %q, and of these none is known here: %q", offered, known)
}

// tokens splits a header that may come in several fields, each a list.
func tokens(fields []string) []string {
	var out []string
	for _, f := range fields {
		for t := range strings.SplitSeq(f, ",") {
			if t = strings.Trim(t, " \t"); t != "" {
				out = append(out, t)
			}
		}
	}
	return out
}

// Frame is what one end received on a channel: octets, or that the peer half-closed it.
type Frame struct {
	Channel Channel
	// Data is valid until the function it is passed to returns.
	Data []byte
	// Closed says that nothing more will come on the channel; Data is then empty.
	Closed bool
}

// Conn is one end of a connection. Its methods are safe for concurrent use, Receive for one caller.
type Conn interface {
	Protocol() Protocol
	// Receive passes what the peer sends to fn, in order for each channel, and from several goroutines for several
	// channels; while fn does not return, nothing more is read of that channel, or of any over WebSocket. It
	// returns nil when the peer has ended the connection or, on the client's end over SPDY, all its channels;
	// otherwise fn's error, or why the connection broke. After an error of fn on the server's end, fn may still be
	// at work for the other channel, until Close or Abort.
	Receive(fn func(Frame) error) error
	// Send sends p whole, in messages of at most 32 KiB. It does not retain p.
	Send(c Channel, p []byte) error
	// CloseSend half-closes a channel, where the version can say so.
	CloseSend(c Channel) error
	// Close ends the connection in an orderly way, giving the peer a second to read what was sent.
	Close()
	// Abort ends it at once, and makes every other call return. Both may be called any number of times.
	Abort()
}
