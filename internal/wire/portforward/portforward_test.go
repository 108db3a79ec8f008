package portforward

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"gatebook/internal/wire/spdy"
	"gatebook/internal/wire/websocket"
	"gatebook/internal/wire/websocket/websockettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// readAll takes all that comes on a stream.
func readAll(s Stream) string {
	var out strings.Builder
	for {
		b, err := s.Next()
		if err != nil {
			return out.String()
		}
		out.Write(b)
	}
}

// overChannelsOf is what two forwarded ports get of a client's message, cut at an offset.
func overChannelsOf(t *testing.T, message []byte, at int) [2]string {
	t.Helper()
	w, r, client := websockettest.Handshake(v4)
	ws, err := websocket.Accept(w, r, v4)
	if err != nil {
		t.Fatal(err)
	}
	var got [2]string
	var reading sync.WaitGroup
	n := 0
	s, err := ServeChannels(ws, v4, []uint16{80, 443}, func(p Pair) {
		i := n
		n++
		reading.Go(func() {
			got[i] = readAll(p.Data)
			p.Reset()
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range [][]byte{websockettest.Message(false, message, at), websockettest.Goodbye()} {
		if _, err := client.Write(m); err != nil {
			break
		}
	}
	reading.Wait()
	s.Close()
	return got
}

// A message reaches the port of its channel, and no other, in any fragments; what no port has a channel for reaches none.
func FuzzChannels(f *testing.F) {
	for _, m := range []string{"\x00to the first", "\x02to the second", "\x01to an error", "\x04to none", "\xffto none", "", "\x00"} {
		f.Add([]byte(m))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		message = message[:min(len(message), 30)]
		var want [2]string
		if len(message) > 0 && (message[0] == 0 || message[0] == 2) {
			want[message[0]/2] = string(message[1:])
		}
		for at := range len(message) + 1 {
			if got := overChannelsOf(t, message, at); got != want {
				t.Fatalf("%q cut at %d: %q, want %q", message, at, got, want)
			}
		}
	})
}

// Streams become pairs of one port, one error and one data each, and never more pairs at once than there may be.
func FuzzPairs(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 1})
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0, 0, 0})
	f.Add([]byte{7, 1, 3, 6, 2, 1, 7, 2, 9})
	f.Fuzz(func(t *testing.T, opened []byte) {
		s := &overSPDY{half: map[string]*Pair{}}
		for i := 0; i+2 < len(opened); i += 3 {
			id, port, kind := fmt.Sprint(opened[i]%4), uint16(opened[i+1]%2+1), []string{typeData, typeError}[opened[i+2]%2]
			before := s.half[id]
			clash := before != nil && (before.Port != port || kind == typeData && before.Data != nil || kind == typeError && before.Error != nil)
			p, err := s.join(id, port, kind, nil)
			switch {
			case (err != nil) != clash:
				t.Fatalf("%v at %d: %v", opened, i, err)
			case p != nil && (p.Port != port || p.Data == nil || p.Error == nil || before == nil || s.half[id] != nil):
				t.Fatalf("%v at %d: %+v", opened, i, p)
			case p == nil && err == nil && s.half[id] == nil:
				t.Fatalf("%v at %d: a stream is lost", opened, i)
			}
		}
		if s.used > MaxPairs || len(s.half) > s.used {
			t.Fatalf("%v: %d used, %d half", opened, s.used, len(s.half))
		}
	})
}

func TestNoMorePairsThanThereMayBe(t *testing.T) {
	s := &overSPDY{half: map[string]*Pair{}}
	for i := range MaxPairs {
		if _, err := s.join(fmt.Sprint(i), 1, typeData, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.join("one more", 1, typeData, nil); err == nil {
		t.Error("one more was taken")
	}
}

// A server that resets a connection's data stream at once is heard first; one that says nothing is not waited for.
func TestRefused(t *testing.T) {
	for name, said := range map[string]string{"with a reason": "connection refused", "silent": ""} {
		t.Run(name, func(t *testing.T) {
			a, b := net.Pipe()
			var mu sync.Mutex
			var text *spdy.Stream
			server, err := spdy.Server(a, func(s *spdy.Stream) error {
				mu.Lock()
				defer mu.Unlock()
				if s.Header().Get(headerType) == typeError {
					text = s
					return nil
				}
				if said != "" {
					if _, err := text.Write([]byte(said)); err != nil {
						t.Error(err)
					}
					text.Reset()
				}
				return errors.New("refused")
			})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			c, err := NewClient(b)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, err = c.Open(80)
			var refused *Refused
			if !errors.As(err, &refused) || refused.Text != said {
				t.Error(err)
			}
		})
	}
}

// Pairs that a client opens over SPDY arrive whole, both ways.
func TestPairsOverSPDY(t *testing.T) {
	a, b := net.Pipe()
	served := make(chan string, 1)
	s, err := ServeSPDY(a, func(p Pair) {
		go func() {
			defer p.Reset()
			got := readAll(p.Data)
			_, err := p.Data.Write([]byte("back"))
			served <- fmt.Sprint(p.Port, got, err, p.Error.CloseWrite(), p.Data.CloseWrite())
			readAll(p.Data)
		}()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := NewClient(b)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := c.Open(8080)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(writer{p.Data}, " forth "); err != nil {
		t.Fatal(err)
	}
	if err := p.Data.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := readAll(p.Data); got != "back" {
		t.Errorf("%q came back", got)
	}
	if got := <-served; got != "8080 forth <nil> <nil> <nil>" {
		t.Errorf("served %s", got)
	}
	p.Reset()
}

type writer struct{ Stream }

func TestChooseWebSocket(t *testing.T) {
	for _, c := range []struct {
		offered string
		want    string
		refused bool
	}{
		{"", "", false}, {Tunnelled, Tunnelled, false}, {v4 + ", " + Tunnelled, Tunnelled, false}, {v4Base64 + "," + v4, v4Base64, false},
		{"v5.channel.k8s.io", "", true}, {"SPDY/3.1", "", true},
	} {
		h := http.Header{}
		if c.offered != "" {
			h.Set("Sec-Websocket-Protocol", c.offered)
		}
		if got, err := ChooseWebSocket(h); got != c.want || (err != nil) != c.refused {
			t.Errorf("%q: %q, %v", c.offered, got, err)
		}
	}
}
