package spdy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/moby/spdystream"
	"github.com/moby/spdystream/spdy"

	"gatebook/internal/guard"
)

const (
	pingEvery   = 20 * time.Second
	openTimeout = 30 * time.Second
	openPoll    = 100 * time.Millisecond
)

// Conn is one connection. It is safe for concurrent use.
type Conn struct {
	raw    *framed
	sc     *spdystream.Connection
	served chan struct{} // closed when every frame read has been dealt with
	pings  sync.WaitGroup

	mu      sync.Mutex
	streams map[*Stream]struct{}
	closed  bool
}

// Server takes the listening end of a connection that has just been upgraded, and owns rwc. It calls incoming for
// each stream that the peer opens, from several goroutines; an error refuses the stream. incoming must not block.
func Server(rwc io.ReadWriteCloser, incoming func(*Stream) error) (*Conn, error) {
	return start(rwc, true, incoming)
}

// Client takes the opening end of a connection that has just been upgraded, and owns rwc.
func Client(rwc io.ReadWriteCloser) (*Conn, error) {
	return start(rwc, false, func(*Stream) error { return errors.New("this end opens the streams") })
}

func start(rwc io.ReadWriteCloser, server bool, incoming func(*Stream) error) (*Conn, error) {
	raw := newFramed(rwc)
	sc, err := spdystream.NewConnectionWithOptions(raw, server,
		spdy.WithMaxControlFramePayloadSize(16<<10), spdy.WithMaxHeaderFieldSize(8<<10), spdy.WithMaxHeaderCount(32))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting spdy: %w", err), raw.Close())
	}
	c := &Conn{raw: raw, sc: sc, served: make(chan struct{}), streams: map[*Stream]struct{}{}}
	go func() {
		defer close(c.served)
		sc.Serve(func(s *spdystream.Stream) { c.incoming(s, incoming) })
	}()
	c.pings.Go(c.ping)
	return c, nil
}

func (c *Conn) incoming(raw *spdystream.Stream, accept func(*Stream) error) {
	s := &Stream{c: c, s: raw}
	// spdystream calls from goroutines of its own, in which a panic would end the process.
	if !c.add(s) || guard.Call(func() error { return accept(s) }) != nil {
		s.Reset()
		return
	}
	if err := raw.SendReply(http.Header{}, false); err != nil {
		s.Reset()
	}
}

// add reports false once the connection is being closed.
func (c *Conn) add(s *Stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.streams[s] = struct{}{}
	return true
}

func (c *Conn) remove(s *Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, s)
}

// Open opens a stream and waits, for 30 seconds at most, until the peer has accepted it. The error is ErrReset where the
// peer has reset it instead.
func (c *Conn) Open(header http.Header) (*Stream, error) {
	raw, err := c.sc.CreateStream(header, nil, false)
	if err != nil {
		return nil, fmt.Errorf("opening a spdy stream: %w", err)
	}
	s := &Stream{c: c, s: raw}
	if !c.add(s) {
		s.Reset()
	}
	deadline := time.Now().Add(openTimeout)
	for {
		// spdystream does not end the wait when the connection ends, so it is asked again and again.
		err := raw.WaitTimeout(openPoll)
		if err == nil {
			return s, nil
		}
		if errors.Is(err, spdystream.ErrReset) {
			s.Reset()
			return nil, fmt.Errorf("opening a spdy stream: %w", ErrReset)
		}
		if !errors.Is(err, spdystream.ErrTimeout) {
			s.Reset()
			return nil, fmt.Errorf("opening a spdy stream: %w", err)
		}
		select {
		case <-c.served:
			return nil, errors.New("opening a spdy stream: the connection ended")
		default:
		}
		if time.Now().After(deadline) {
			c.Abort()
		}
	}
}

// Done is closed when the connection has ended, from either side.
func (c *Conn) Done() <-chan bool { return c.sc.CloseChan() }

// Close ends the connection at once and waits for its goroutines. What was written before is on its way; a caller
// that wants the peer to have read it half-closes its streams and waits for Done first.
func (c *Conn) Close() {
	c.Abort()
	<-c.served
	c.pings.Wait()
}

// Abort ends the connection at once and waits for nothing.
func (c *Conn) Abort() {
	// The network goes first: the writes of resets that follow must not wait for a peer that reads nothing.
	c.raw.drop()
	c.mu.Lock()
	c.closed = true
	streams := c.streams
	c.streams = map[*Stream]struct{}{}
	c.mu.Unlock()
	for s := range streams {
		s.drop()
	}
}

// ping keeps an idle connection alive through what stands between.
func (c *Conn) ping() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-c.Done():
			return
		case <-t.C:
		}
		if _, err := c.sc.Ping(); err != nil {
			return
		}
	}
}
