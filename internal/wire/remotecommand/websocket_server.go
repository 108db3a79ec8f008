package remotecommand

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	messageBytes = 32 << 10 // what is sent in one message, and read in one piece
	closeGrace   = time.Second
	pingEvery    = 20 * time.Second
	pingWait     = time.Second
)

// webSocketServer is the end that faces a client over WebSocket. It is gorilla/websocket's since that one gives up
// answering a ping while a write is stuck, where coder/websocket gives up the connection: a user who pauses the
// output would lose the session.
type webSocketServer struct {
	ws       *websocket.Conn
	protocol Protocol
	streams  Streams
	done     chan struct{} // closed when the peer is gone or Receive has ended
	once     sync.Once
	pings    sync.WaitGroup

	mu    sync.Mutex // for writing messages
	frame []byte     // the encoded message, base64 variants only
}

// AcceptWebSocket answers the client's request with 101 and takes its connection. The error has been answered.
func AcceptWebSocket(w http.ResponseWriter, r *http.Request, p Protocol, s Streams) (Conn, error) {
	u := websocket.Upgrader{
		ReadBufferSize: messageBytes, WriteBufferSize: messageBytes + 1024,
		HandshakeTimeout: 10 * time.Second,
	}
	if p != "" {
		u.Subprotocols = []string{string(p)}
	}
	ws, err := u.Upgrade(w, r, nil)
	if err != nil {
		return nil, fmt.Errorf("upgrading to websocket: %w", err)
	}
	c := &webSocketServer{ws: ws, protocol: p, streams: s, done: make(chan struct{})}
	c.pings.Go(c.ping)
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
			return c.message(ch, nil)
		}
	}
	return c.message(Error, nil)
}

func (c *webSocketServer) Protocol() Protocol { return c.protocol }

func (c *webSocketServer) Receive(fn func(Frame) error) error {
	defer c.gone()
	buf := make([]byte, messageBytes)
	for {
		_, r, err := c.ws.NextReader()
		if err != nil {
			return orderly(err)
		}
		if err := c.receive(r, buf, fn); err != nil {
			return err
		}
	}
}

// receive passes on one message. A client may write on stdin and resize only; what comes on another channel is
// dropped, as the API server does.
func (c *webSocketServer) receive(r io.Reader, buf []byte, fn func(Frame) error) error {
	if _, err := io.ReadFull(r, buf[:1]); err != nil {
		return skipEmpty(err)
	}
	if buf[0] == closeChannel && c.protocol.halfCloses() {
		n, err := io.ReadFull(r, buf[:2])
		if n != 1 || !errors.Is(err, io.ErrUnexpectedEOF) || buf[0] >= channels {
			return errors.New("malformed half-close message")
		}
		return c.deliver(Frame{Channel: Channel(buf[0]), Closed: true}, fn)
	}
	ch := buf[0]
	if c.protocol.base64() {
		ch -= '0'
		r = base64.NewDecoder(base64.StdEncoding, r)
	}
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := c.deliver(Frame{Channel: Channel(ch), Data: buf[:n]}, fn); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a message: %w", err)
		}
	}
}

func (c *webSocketServer) deliver(f Frame, fn func(Frame) error) error {
	if f.Channel == Stdin && c.streams.Stdin || f.Channel == Resize && c.streams.TTY {
		return fn(f)
	}
	return nil
}

func skipEmpty(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("reading a message: %w", err)
}

// orderly turns the ways in which a peer says goodbye into nil.
func orderly(err error) error {
	if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived) {
		return nil
	}
	return fmt.Errorf("reading from the websocket: %w", err)
}

func (c *webSocketServer) Send(ch Channel, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), messageBytes)
		if err := c.message(ch, p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (c *webSocketServer) message(ch Channel, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	kind, first := websocket.BinaryMessage, byte(ch)
	if c.protocol.base64() {
		kind, first = websocket.TextMessage, byte(ch)+'0'
		c.frame = base64.StdEncoding.AppendEncode(c.frame[:0], p)
		p = c.frame
	}
	w, err := c.ws.NextWriter(kind)
	if err != nil {
		return fmt.Errorf("writing to the websocket: %w", err)
	}
	if _, err := w.Write([]byte{first}); err != nil {
		return fmt.Errorf("writing to the websocket: %w", err)
	}
	if _, err := w.Write(p); err != nil {
		return fmt.Errorf("writing to the websocket: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("writing to the websocket: %w", err)
	}
	return nil
}

// CloseSend does nothing: towards the client, no version half-closes a channel.
func (c *webSocketServer) CloseSend(Channel) error { return nil }

func (c *webSocketServer) gone() { c.once.Do(func() { close(c.done) }) }

func (c *webSocketServer) Close() {
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := c.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(closeGrace)); err == nil {
		// The client answers with its own close, which Receive reads.
		t := time.NewTimer(closeGrace)
		defer t.Stop()
		select {
		case <-c.done:
		case <-t.C:
		}
	}
	c.Abort()
}

func (c *webSocketServer) Abort() {
	c.gone()
	defer c.pings.Wait()
	if err := c.ws.Close(); err != nil {
		return // it was closed already
	}
}

func (c *webSocketServer) ping() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-t.C:
		}
		if err := c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(pingWait)); err != nil && !timedOut(err) {
			return
		}
	}
}

// timedOut tells a connection that is only busy from one that is broken.
func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
