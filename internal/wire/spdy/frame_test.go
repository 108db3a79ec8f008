package spdy

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The bounds of frames are found in any split, and a frame that is too large is refused when its header is whole.
func FuzzBoundary(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 2, 'a', 'b', 0, 0, 0, 1, 1, 0, 0, 0}, 9)
	f.Add([]byte{0, 0, 0, 1, 0, 0xff, 0xff, 0xff}, 3)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		at = max(0, min(at, len(b)))
		var one, two boundary
		whole, err1 := one.feed(b)
		part, err2 := two.feed(b[:at])
		if err2 == nil && at < len(b) {
			part, err2 = two.feed(b[at:])
		}
		if (err1 == nil) != (err2 == nil) || err1 == nil && (len(b) > 0 && whole != part || one.rest != two.rest || one.have != two.have) {
			t.Fatalf("whole %v %v %+v; split at %d %v %v %+v", whole, err1, one, at, part, err2, two)
		}
	})
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
