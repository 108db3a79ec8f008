package spdy

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The bounds of frames are found in any split, and a frame that is too large is refused when its header is whole.
func FuzzBoundary(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 2, 'a', 'b', 0, 0, 0, 1, 1, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 1, 0, 0xff, 0xff, 0xff})
	f.Add([]byte{0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:min(len(b), 200)]
		var one boundary
		whole, refused := one.feed(b)
		for at := range len(b) + 1 {
			var two boundary
			part, err := two.feed(b[:at])
			if err == nil && at < len(b) {
				part, err = two.feed(b[at:])
			}
			if (refused == nil) != (err == nil) || refused == nil && (whole != part || one.rest != two.rest || one.have != two.have) {
				t.Fatalf("whole %v %v %+v; split at %d %v %v %+v", whole, refused, one, at, part, err, two)
			}
		}
	})
}

// wire is a peer that has written all that it will, in pieces, and reads everything.
type wire struct{ io.Reader }

func (wire) Write(p []byte) (int, error) { return len(p), nil }
func (wire) Close() error                { return nil }

// captured keeps what one end writes.
type captured struct {
	net.Conn
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (c *captured) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes.Write(p[:n])
	return n, err
}

func (c *captured) written() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.bytes.Bytes())
}

// session is what a client writes that opens a stream, sends, and half-closes.
func session(f testing.TB) []byte {
	f.Helper()
	a, b := net.Pipe()
	incoming := make(chan *Stream, 1)
	server, err := Server(a, func(s *Stream) error { incoming <- s; return nil })
	if err != nil {
		f.Fatal(err)
	}
	end := &captured{Conn: b}
	client, err := Client(end)
	if err != nil {
		f.Fatal(err)
	}
	s, err := client.Open(http.Header{"Streamtype": {"data"}})
	if err != nil {
		f.Fatal(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		s.Write([]byte("input"))
		s.CloseWrite()
	}()
	for r := <-incoming; err == nil; {
		_, err = r.Next()
	}
	<-sent
	b.Close()
	server.Close()
	client.Close()
	return end.written()
}

// Whatever a peer writes, in whatever pieces, the connection can be closed and leaves nothing behind; and what is no
// SPDY opens no stream.
func FuzzServer(f *testing.F) {
	whole := session(f)
	f.Add(whole, 9)
	f.Add(append(bytes.Clone(whole), whole...), 30)
	f.Add([]byte{0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0}, 4)
	f.Add([]byte{0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1}, 8)
	f.Add([]byte{0x80, 3, 0, 4, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 1}, 8)
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 2, 'a', 'b'}, 5)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		at = max(0, min(at, len(b)))
		c, err := Server(wire{io.MultiReader(bytes.NewReader(b[:at]), bytes.NewReader(b[at:]))}, func(s *Stream) error {
			go s.Discard()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		c.Close()
	})
}

// prompt is a peer that sends what comes after its stream's opening when that is answered: who has gone by then cannot be
// answered, and is not served.
type prompt struct {
	opening, rest io.Reader
	answered      chan struct{}
	once          sync.Once
}

func (p *prompt) Read(b []byte) (int, error) {
	if n, err := p.opening.Read(b); err == nil {
		return n, nil
	}
	<-p.answered
	return p.rest.Read(b)
}

func (p *prompt) Write(b []byte) (int, error) {
	p.once.Do(func() { close(p.answered) })
	return len(b), nil
}

func (p *prompt) Close() error {
	p.once.Do(func() { close(p.answered) })
	return nil
}

// A session means the same wherever it is cut.
func TestServerReadsAnySplit(t *testing.T) {
	whole := session(t)
	opening := headerBytes + int(whole[5])<<16 + int(whole[6])<<8 + int(whole[7])
	for at := range whole {
		first, second := whole[:opening], whole[opening:]
		p := &prompt{opening: bytes.NewReader(first), rest: bytes.NewReader(second), answered: make(chan struct{})}
		if at < opening {
			p.opening = io.MultiReader(bytes.NewReader(first[:at]), bytes.NewReader(first[at:]))
		} else {
			p.rest = io.MultiReader(bytes.NewReader(second[:at-opening]), bytes.NewReader(second[at-opening:]))
		}
		got := make(chan string, 1)
		c, err := Server(p, func(s *Stream) error {
			go func() { got <- s.Header().Get("Streamtype") + ": " + all(s) }()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if text := <-got; text != "data: input" {
			t.Errorf("cut at %d: %q", at, text)
		}
		c.Close()
	}
}

// all is what comes on a stream.
func all(s *Stream) string {
	var text strings.Builder
	for {
		b, err := s.Next()
		if err != nil {
			return text.String()
		}
		text.Write(b)
	}
}

func pair(t *testing.T, incoming func(*Stream) error) (client, server *Conn) {
	t.Helper()
	a, b := net.Pipe()
	server, err := Server(a, incoming)
	if err != nil {
		t.Fatal(err)
	}
	if client, err = Client(b); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client, server
}

func TestStreamsCarryBytesAndHalfCloses(t *testing.T) {
	incoming := make(chan *Stream, 1)
	client, _ := pair(t, func(s *Stream) error { incoming <- s; return nil })
	c, err := client.Open(http.Header{"Streamtype": {"data"}})
	if err != nil {
		t.Fatal(err)
	}
	s := <-incoming
	if s.Header().Get("streamType") != "data" {
		t.Errorf("headers %v", s.Header())
	}
	want := bytes.Repeat([]byte("x"), 100_000)
	go func() {
		c.Write(want)
		c.CloseWrite()
	}()
	var got []byte
	for {
		b, err := s.Next()
		if err != nil {
			break
		}
		got = append(got, b...)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d", len(got), len(want))
	}
	go s.Write([]byte("back")) // the other direction is still open
	if b, err := c.Next(); err != nil || string(b) != "back" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestRefusedStream(t *testing.T) {
	client, _ := pair(t, func(*Stream) error { return io.ErrUnexpectedEOF })
	if _, err := client.Open(http.Header{"Streamtype": {"data"}}); err == nil {
		t.Error("the stream was opened")
	}
}

func TestWriteToResetStreamFails(t *testing.T) {
	incoming := make(chan *Stream, 1)
	client, _ := pair(t, func(s *Stream) error { incoming <- s; return nil })
	c, err := client.Open(http.Header{"Streamtype": {"data"}})
	if err != nil {
		t.Fatal(err)
	}
	(<-incoming).Reset()
	if _, err := c.Next(); err != io.EOF { // the reset has arrived
		t.Fatal(err)
	}
	for {
		if _, err := c.Write([]byte("x")); err != nil {
			return
		}
	}
}

// A connection that nobody reads, in the middle of writes on both sides, ends when it is closed.
func TestCloseWhileStuck(t *testing.T) {
	incoming := make(chan *Stream, 1)
	client, server := pair(t, func(s *Stream) error { incoming <- s; return nil })
	c, err := client.Open(http.Header{"Streamtype": {"data"}})
	if err != nil {
		t.Fatal(err)
	}
	s := <-incoming
	done := make(chan struct{}, 2)
	for _, x := range []*Stream{c, s} {
		go func() {
			for {
				if _, err := x.Write(make([]byte, 32<<10)); err != nil {
					done <- struct{}{}
					return
				}
			}
		}()
	}
	server.Close()
	client.Close()
	<-done
	<-done
}

// A frame that announces 16 MiB ends the connection before anything of it is read.
func TestTooLargeFrameEndsTheConnection(t *testing.T) {
	a, b := net.Pipe()
	server, err := Server(a, func(*Stream) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	defer b.Close()
	if _, err := b.Write([]byte{0, 0, 0, 1, 0, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	<-server.Done()
}
