package websocket

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

// Client is the end that faces an API server. Its methods are safe for concurrent use, those that read for one caller.
type Client struct {
	ws    *websocket.Conn
	pings sync.WaitGroup
	done  chan struct{}
	once  sync.Once
	mu    sync.Mutex // for writing messages; see mayPong
	frame []byte
}

// Upgrade asks a server, by a GET of url through rt, for WebSocket with exactly the subprotocol named. Either the
// connection is returned, or the server's own answer where that is not 101, with its body still to be read. It follows
// no redirect.
func Upgrade(ctx context.Context, rt http.RoundTripper, url string, h http.Header, subprotocol string) (*Client, *http.Response, error) {
	c, declined, err := Open(ctx, rt, url, h, []string{subprotocol})
	if c == nil {
		return nil, declined, err
	}
	if got := c.Subprotocol(); got != subprotocol {
		c.Abort()
		return nil, nil, fmt.Errorf("asking for websocket: the server chose %q, not %q", got, subprotocol)
	}
	return c, nil, nil
}

// Open is Upgrade for any of the subprotocols, or none, as the server chooses.
func Open(ctx context.Context, rt http.RoundTripper, url string, h http.Header, subprotocols []string) (*Client, *http.Response, error) {
	c := &Client{done: make(chan struct{}), frame: make([]byte, 0, 1+MessageBytes)}
	keep := &keepAnswer{rt: rt}
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:     &http.Client{Transport: keep},
		HTTPHeader:     h,
		Subprotocols:   subprotocols,
		OnPingReceived: c.mayPong,
	})
	if keep.declined != nil {
		return nil, keep.declined, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("asking for websocket: %w", err)
	}
	c.ws = ws
	ws.SetReadLimit(-1) // messages are read in pieces
	c.pings.Go(c.ping)
	return c, nil, nil
}

// Subprotocol is the one that the server chose; empty: none.
func (c *Client) Subprotocol() string { return c.ws.Subprotocol() }

// keepAnswer keeps an answer that is no 101 from coder/websocket, which would read some of it, and from http.Client,
// which would follow it.
type keepAnswer struct {
	rt       http.RoundTripper
	declined *http.Response
}

var errDeclined = errors.New("the server declined the upgrade")

func (k *keepAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := k.rt.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		k.declined = resp
		return nil, errDeclined
	}
	return resp, nil
}

// Receive passes what the server sends to fn, as Channels.Receive does.
func (c *Client) Receive(fn func(channel byte, p []byte) error) error {
	defer c.gone()
	buf := make([]byte, MessageBytes)
	for {
		r, err := c.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		channel, err := first(r, buf)
		if errors.Is(err, io.EOF) {
			continue
		}
		if err != nil {
			return err
		}
		if err := pieces(r, buf, func(p []byte) error { return fn(channel, p) }); err != nil {
			return err
		}
	}
}

func (c *Client) next() (io.Reader, error) {
	_, r, err := c.ws.Reader(context.Background())
	if err == nil {
		return r, nil
	}
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
		return nil, io.EOF
	}
	return nil, fmt.Errorf("reading from the websocket: %w", err)
}

// Send sends p on a channel, in as many messages as it needs, at least one. It does not retain p.
func (c *Client) Send(channel byte, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		n := min(len(p), MessageBytes)
		// One frame for one message: the API server's library does not join fragments.
		c.frame = append(append(c.frame[:0], channel), p[:n]...)
		if err := c.ws.Write(context.Background(), websocket.MessageBinary, c.frame); err != nil {
			return fmt.Errorf("writing to the websocket: %w", err)
		}
		if p = p[n:]; len(p) == 0 {
			return nil
		}
	}
}

// Tunnel takes over c as a stream of bytes.
func (c *Client) Tunnel() io.ReadWriteCloser { return &clientTunnel{c, messages{next: c.next}} }

type clientTunnel struct {
	*Client
	messages
}

func (t *clientTunnel) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.ws.Write(context.Background(), websocket.MessageBinary, p); err != nil {
		return 0, fmt.Errorf("writing to the websocket: %w", err)
	}
	return len(p), nil
}

func (t *clientTunnel) Close() error {
	t.Abort()
	return nil
}

func (c *Client) gone() { c.once.Do(func() { close(c.done) }) }

// Abort ends the connection at once, and makes every other call return. It may be called any number of times.
func (c *Client) Abort() {
	c.gone()
	defer c.pings.Wait()
	if err := c.ws.CloseNow(); err != nil {
		return // it was closed already
	}
}

// mayPong lets a ping be answered only when no message is being written: coder/websocket ends the connection when an
// answer is stuck for five seconds behind a message that the server is slow to take.
func (c *Client) mayPong(context.Context, []byte) bool {
	if !c.mu.TryLock() {
		return false
	}
	c.mu.Unlock()
	return true
}

func (c *Client) ping() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-t.C:
		}
		if c.mayPong(context.Background(), nil) {
			c.pingOnce()
		}
	}
}

func (c *Client) pingOnce() {
	ctx, cancel := context.WithTimeout(context.Background(), pingEvery)
	defer cancel()
	if err := c.ws.Ping(ctx); err != nil {
		// An answer that does not come is no reason to end a session: a connection that is broken is noticed by
		// those who read and write.
		return
	}
}
