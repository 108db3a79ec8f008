package remotecommand

import (
	"context"
	"errors"
	"net/http"
	"time"

	"gatebook/internal/wire/websocket"
)

const closeGrace = time.Second

// webSocketServer is the end that faces a client over WebSocket.
type webSocketServer struct {
	*websocket.Channels
	protocol Protocol
	streams  Streams
}

// AcceptWebSocket answers the client's request with 101 and takes its connection. An error has been answered.
func AcceptWebSocket(w http.ResponseWriter, r *http.Request, p Protocol, s Streams) (Conn, error) {
	ws, err := websocket.Accept(w, r, string(p))
	if err != nil {
		return nil, err
	}
	c := &webSocketServer{Channels: websocket.NewChannels(ws, p.base64()), protocol: p, streams: s}
	if err := c.announce(); err != nil {
		c.Abort()
		return nil, err
	}
	return c, nil
}

// announce tells the client that the connection stands, as the API server does: by an empty message on the lowest
// channel that it writes on.
func (c *webSocketServer) announce() error {
	for _, ch := range []Channel{Stdout, Stderr} {
		if c.streams.has(ch) {
			return c.Channels.Send(byte(ch), nil)
		}
	}
	return c.Channels.Send(byte(Error), nil)
}

func (c *webSocketServer) Protocol() Protocol { return c.protocol }

// Receive drops what comes on a channel that is not for the client to write on, as the API server does.
func (c *webSocketServer) Receive(fn func(Frame) error) error {
	return c.Channels.Receive(func(ch byte, p []byte) error {
		f := Frame{Channel: Channel(ch), Data: p}
		if ch == closeChannel && c.protocol.halfCloses() {
			if len(p) != 1 || p[0] >= channels {
				return errors.New("malformed half-close message")
			}
			f = Frame{Channel: Channel(p[0]), Closed: true}
		}
		if len(p) > 0 && (f.Channel == Stdin && c.streams.Stdin || f.Channel == Resize && c.streams.TTY) {
			return fn(f)
		}
		return nil
	})
}

func (c *webSocketServer) Send(ch Channel, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	return c.Channels.Send(byte(ch), p)
}

// CloseSend does nothing: towards the client, no version half-closes a channel.
func (c *webSocketServer) CloseSend(Channel) error { return nil }

// webSocketClient is the end that faces an API server over WebSocket, always in version 5.
type webSocketClient struct{ *websocket.Client }

// UpgradeWebSocket asks the server, by a GET of url through rt, to speak version 5. Either the connection is returned, or
// the server's own answer, with its body still to be read.
func UpgradeWebSocket(ctx context.Context, rt http.RoundTripper, url string, h http.Header) (Conn, *http.Response, error) {
	ws, answer, err := websocket.Upgrade(ctx, rt, url, h, string(V5))
	if ws == nil {
		return nil, answer, err
	}
	return &webSocketClient{ws}, nil, nil
}

func (c *webSocketClient) Protocol() Protocol { return V5 }

func (c *webSocketClient) Receive(fn func(Frame) error) error {
	return c.Client.Receive(func(ch byte, p []byte) error {
		if f := (Frame{Channel: Channel(ch), Data: p}); len(p) > 0 && (f.Channel == Stdout || f.Channel == Stderr || f.Channel == Error) {
			return fn(f)
		}
		return nil
	})
}

func (c *webSocketClient) Send(ch Channel, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	return c.Client.Send(byte(ch), p)
}

func (c *webSocketClient) CloseSend(ch Channel) error {
	return c.Client.Send(closeChannel, []byte{byte(ch)})
}

// Close does not wait: whoever closes this end has read all that it wants.
func (c *webSocketClient) Close() { c.Abort() }
