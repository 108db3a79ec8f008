package remotecommand

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// webSocketClient is the end that faces an API server over WebSocket, always in version 5. It is coder/websocket's
// since that one rides on any http.RoundTripper.
type webSocketClient struct {
	ws    *websocket.Conn
	pings sync.WaitGroup
	done  chan struct{}
	once  sync.Once

	mu    *sync.Mutex // for writing messages, and for control frames: see connect
	frame []byte
}

// UpgradeWebSocket asks the server, by a GET of url through rt, to speak version 5, and takes the connection. It
// follows no redirect. The answer is what the server said if it declined; its body is then still to be read.
func UpgradeWebSocket(ctx context.Context, rt http.RoundTripper, url string, h http.Header) (Conn, *http.Response, error) {
	c := &webSocketClient{done: make(chan struct{}), mu: new(sync.Mutex)}
	ws, answer, err := DialWebSocket(ctx, rt, url, h, string(V5), c.mayPong)
	if err != nil || ws == nil {
		return nil, answer, err
	}
	c.ws = ws
	c.frame = make([]byte, 1, 1+messageBytes)
	c.pings.Go(c.ping)
	return c, nil, nil
}

// mayPong lets a ping be answered only when no message is being written: coder/websocket ends the connection when an
// answer is stuck for five seconds behind a message that the peer is slow to take.
func (c *webSocketClient) mayPong(context.Context, []byte) bool {
	if !c.mu.TryLock() {
		return false
	}
	c.mu.Unlock()
	return true
}

func (c *webSocketClient) Protocol() Protocol { return V5 }

func (c *webSocketClient) Receive(fn func(Frame) error) error {
	defer c.gone()
	buf := make([]byte, messageBytes)
	for {
		_, r, err := c.ws.Reader(context.Background())
		if err != nil {
			switch websocket.CloseStatus(err) {
			case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
				return nil
			}
			return fmt.Errorf("reading from the websocket: %w", err)
		}
		if err := c.receive(r, buf, fn); err != nil {
			return err
		}
	}
}

func (c *webSocketClient) receive(r io.Reader, buf []byte, fn func(Frame) error) error {
	if _, err := io.ReadFull(r, buf[:1]); err != nil {
		return skipEmpty(err)
	}
	ch := Channel(buf[0])
	for {
		n, err := r.Read(buf)
		if n > 0 && (ch == Stdout || ch == Stderr || ch == Error) {
			if err := fn(Frame{Channel: ch, Data: buf[:n]}); err != nil {
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

func (c *webSocketClient) Send(ch Channel, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 {
		n := min(len(p), messageBytes)
		// One frame for one message: the API server's library does not join fragments.
		c.frame = append(append(c.frame[:0], byte(ch)), p[:n]...)
		if err := c.write(c.frame); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (c *webSocketClient) write(b []byte) error {
	if err := c.ws.Write(context.Background(), websocket.MessageBinary, b); err != nil {
		return fmt.Errorf("writing to the websocket: %w", err)
	}
	return nil
}

func (c *webSocketClient) CloseSend(ch Channel) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write([]byte{closeChannel, byte(ch)})
}

func (c *webSocketClient) gone() { c.once.Do(func() { close(c.done) }) }

// Close does not wait: the gateway is the one who has read all that it wants.
func (c *webSocketClient) Close() { c.Abort() }

func (c *webSocketClient) Abort() {
	c.gone()
	defer c.pings.Wait()
	if err := c.ws.CloseNow(); err != nil {
		return // it was closed already
	}
}

func (c *webSocketClient) ping() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-t.C:
		}
		c.pingOnce()
	}
}

func (c *webSocketClient) pingOnce() {
	if !c.mayPong(context.Background(), nil) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), pingEvery)
	defer cancel()
	if err := c.ws.Ping(ctx); err != nil {
		// An answer that does not come is no reason to end a session: a connection that is broken is noticed by
		// those who read and write.
		return
	}
}
