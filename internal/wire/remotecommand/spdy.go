package remotecommand

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"gatebook/internal/guard"
	"gatebook/internal/wire/spdy"
)

const (
	streamType    = "streamType"
	streamTimeout = 30 * time.Second
)

// overSPDY is either end over SPDY: one stream for each channel in use.
type overSPDY struct {
	conn     *spdy.Conn
	protocol Protocol
	server   bool
	streams  [channels]*spdy.Stream // nil where the channel is not in use
	mu       [channels]sync.Mutex
	discard  sync.WaitGroup
}

// AcceptSPDY answers the client's request with 101, takes its connection, and waits until the client has opened the
// streams that the command needs. An error before the 101 could be sent is answered by nobody.
func AcceptSPDY(w http.ResponseWriter, p Protocol, s Streams) (Conn, error) {
	rwc, err := spdy.Upgrade(w, string(p))
	if err != nil {
		return nil, err
	}
	return serveSPDY(rwc, p, s)
}

func serveSPDY(rwc io.ReadWriteCloser, p Protocol, s Streams) (Conn, error) {
	in := newIntake(p, s)
	conn, err := spdy.Server(rwc, in.accept)
	if err != nil {
		return nil, err
	}
	t := time.NewTimer(streamTimeout)
	defer t.Stop()
	select {
	case <-in.complete:
	case <-conn.Done():
		err = errors.New("the client went away before it had opened its streams")
	case <-t.C:
		err = errors.New("the client did not open its streams in time")
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	c := &overSPDY{conn: conn, protocol: p, server: true, streams: in.streams}
	c.drain(Stdout, Stderr, Error)
	return c, nil
}

// intake collects the streams that a client opens, each once.
type intake struct {
	want     Streams
	protocol Protocol
	complete chan struct{}

	mu      sync.Mutex
	streams [channels]*spdy.Stream
	missing int
}

func newIntake(p Protocol, s Streams) *intake {
	in := &intake{want: s, protocol: p, complete: make(chan struct{})}
	for ch := range Channel(channels) {
		if in.expects(ch) {
			in.missing++
		}
	}
	return in
}

func (in *intake) expects(ch Channel) bool {
	return in.want.has(ch) && (ch != Resize || in.protocol.resizes())
}

func (in *intake) accept(s *spdy.Stream) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	name := s.Header().Get(streamType)
	for ch := range Channel(channels) {
		if ch.String() != name || !in.expects(ch) || in.streams[ch] != nil {
			continue
		}
		in.streams[ch] = s
		if in.missing--; in.missing == 0 {
			close(in.complete)
		}
		return nil
	}
	return fmt.Errorf("stream of type %q is not expected", name)
}

// ClientSPDY takes a connection that a server has just upgraded to SPDY/3.1 and version p, and opens the streams that
// the command needs. It owns rwc.
func ClientSPDY(rwc io.ReadWriteCloser, p Protocol, s Streams) (Conn, error) {
	conn, err := spdy.Client(rwc)
	if err != nil {
		return nil, err
	}
	c := &overSPDY{conn: conn, protocol: p}
	for _, ch := range []Channel{Error, Stdin, Stdout, Stderr, Resize} {
		if !s.has(ch) || ch == Resize && !p.resizes() {
			continue
		}
		if c.streams[ch], err = conn.Open(http.Header{http.CanonicalHeaderKey(streamType): {ch.String()}}); err != nil {
			conn.Close()
			return nil, err
		}
	}
	c.drain(Stdin, Resize)
	return c, nil
}

// drain reads what nobody should send, so that it cannot hold up the rest.
func (c *overSPDY) drain(chs ...Channel) {
	for _, ch := range chs {
		if s := c.streams[ch]; s != nil {
			c.discard.Go(s.Discard)
		}
	}
}

func (c *overSPDY) Protocol() Protocol { return c.protocol }

func (c *overSPDY) Receive(fn func(Frame) error) error {
	if c.server {
		return c.receiveFromClient(fn)
	}
	var wg sync.WaitGroup
	failed := make(chan error, channels)
	for _, ch := range []Channel{Stdout, Stderr, Error} {
		if s := c.streams[ch]; s != nil {
			wg.Go(func() {
				if err := guard.Call(func() error { return pass(ch, s, fn) }); err != nil {
					failed <- err
					c.conn.Abort() // so that the other readers return, too
				}
			})
		}
	}
	wg.Wait()
	return oneOf(failed)
}

// receiveFromClient lasts until the client hangs up, or fn fails. Then what the client still sends is discarded, so
// that it can read to its end what it is told of the failure.
func (c *overSPDY) receiveFromClient(fn func(Frame) error) error {
	var readers sync.WaitGroup
	failed := make(chan error, channels)
	for _, ch := range []Channel{Stdin, Resize} {
		s := c.streams[ch]
		if s == nil {
			continue
		}
		readers.Add(1)
		c.discard.Go(func() {
			defer readers.Done()
			if err := guard.Call(func() error { return pass(ch, s, fn) }); err != nil {
				failed <- err
				s.Discard()
			}
		})
	}
	select {
	case err := <-failed:
		return err
	case <-c.conn.Done():
	}
	readers.Wait()
	return oneOf(failed)
}

// oneOf gives an error if there is one.
func oneOf(failed <-chan error) error {
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func pass(ch Channel, s *spdy.Stream, fn func(Frame) error) error {
	for {
		b, err := s.Next()
		if err != nil {
			return fn(Frame{Channel: ch, Closed: true})
		}
		if err := fn(Frame{Channel: ch, Data: b}); err != nil {
			return err
		}
	}
}

func (c *overSPDY) Send(ch Channel, p []byte) error {
	s := c.streams[ch]
	if s == nil || len(p) == 0 {
		return nil
	}
	c.mu[ch].Lock()
	defer c.mu[ch].Unlock()
	if _, err := s.Write(p); err != nil {
		return fmt.Errorf("writing to the %s stream: %w", ch, err)
	}
	return nil
}

func (c *overSPDY) CloseSend(ch Channel) error {
	s := c.streams[ch]
	if s == nil {
		return nil
	}
	c.mu[ch].Lock()
	defer c.mu[ch].Unlock()
	if err := s.CloseWrite(); err != nil {
		return fmt.Errorf("closing the %s stream: %w", ch, err)
	}
	return nil
}

func (c *overSPDY) Close() {
	if c.server {
		// The client hangs up when it has read the ends of its streams.
		t := time.NewTimer(closeGrace)
		defer t.Stop()
		select {
		case <-c.conn.Done():
		case <-t.C:
		}
	}
	c.Abort()
}

func (c *overSPDY) Abort() {
	c.conn.Close()
	c.discard.Wait()
}
