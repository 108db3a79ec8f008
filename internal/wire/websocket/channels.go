package websocket

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Channels is a connection whose messages begin with the number of a channel: as an octet, or in the base64 variants as
// a digit, with the rest in base64 (k8s.io/streaming/pkg/httpstream/wsstream).
type Channels struct {
	*Server
	base64 bool

	mu  sync.Mutex
	buf []byte
}

// NewChannels takes over s.
func NewChannels(s *Server, inBase64 bool) *Channels { return &Channels{Server: s, base64: inBase64} }

// Receive passes what the client sends to fn, a long message in several pieces, which are valid until fn returns. The
// first has at least two bytes unless the message has fewer, also none: so a message of one byte is known as one however
// it is cut. It returns nil when the client said goodbye, fn's error, or why the connection broke.
func (c *Channels) Receive(fn func(channel byte, p []byte) error) error {
	defer c.left.Store(true)
	buf := make([]byte, MessageBytes)
	for {
		r, err := c.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.message(r, buf, fn); err != nil {
			return err
		}
	}
}

func (c *Channels) message(r io.Reader, buf []byte, fn func(byte, []byte) error) error {
	channel, err := first(r, buf)
	if errors.Is(err, io.EOF) {
		return nil // an empty message means nothing
	}
	if err != nil {
		return err
	}
	if c.base64 {
		channel -= '0'
		r = base64.NewDecoder(base64.StdEncoding, &endsInPadding{r: r})
	}
	return pieces(r, buf, func(p []byte) error { return fn(channel, p) })
}

// endsInPadding is base64 behind whose padding nothing comes. encoding/base64 itself takes more there, or does not, by how it
// is cut.
type endsInPadding struct {
	r      io.Reader
	padded bool
}

var errBehindPadding = errors.New("something follows the padding of base64")

func (e *endsInPadding) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	for _, c := range b[:n] {
		switch {
		case c == '=':
			e.padded = true
		case e.padded && c != '\r' && c != '\n':
			return 0, errBehindPadding
		}
	}
	return n, err
}

// first reads the octet that names the channel.
func first(r io.Reader, buf []byte) (byte, error) {
	if _, err := io.ReadFull(r, buf[:1]); err != nil {
		return 0, fmt.Errorf("reading a message: %w", err)
	}
	return buf[0], nil
}

// pieces passes on the rest of a message, of which there is at least one piece.
func pieces(r io.Reader, buf []byte, fn func([]byte) error) error {
	n, err := read(r, buf, 2)
	for {
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return fmt.Errorf("reading a message: %w", err)
		}
		if err := fn(buf[:n]); err != nil || ended {
			return err
		}
		if n, err = read(r, buf, 1); n == 0 && errors.Is(err, io.EOF) {
			return nil
		}
	}
}

// read reads at least so many bytes, unless r ends before. Unlike io.ReadAtLeast it keeps r's own error: a message in
// base64 that is cut short ends in io.ErrUnexpectedEOF, and is none.
func read(r io.Reader, buf []byte, least int) (n int, err error) {
	for n < least && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

// Send sends p on a channel, in as many messages as it needs, at least one. It does not retain p.
func (c *Channels) Send(channel byte, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		n := min(len(p), MessageBytes)
		if err := c.send(channel, p[:n]); err != nil {
			return err
		}
		if p = p[n:]; len(p) == 0 {
			return nil
		}
	}
}

func (c *Channels) send(channel byte, p []byte) error {
	if !c.base64 {
		return c.Message(false, []byte{channel}, p)
	}
	c.buf = base64.StdEncoding.AppendEncode(c.buf[:0], p)
	return c.Message(true, []byte{'0' + channel}, c.buf)
}
