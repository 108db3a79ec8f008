package remotecommand

import (
	"encoding/base64"
	"slices"
	"testing"

	"gatebook/internal/wire/websocket/websockettest"
)

// received is what a client's messages, cut where they are, mean: bytes by channel, and half-closes.
func received(t *testing.T, p Protocol, s Streams, messages ...[]byte) (data [channels]string, closed []Channel, err error) {
	t.Helper()
	w, r, client := websockettest.Handshake(string(p))
	c, err := AcceptWebSocket(w, r, p, s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Abort()
	go func() {
		for _, m := range append(messages, websockettest.Goodbye()) {
			if _, err := client.Write(m); err != nil {
				return // it was refused before
			}
		}
	}()
	err = c.Receive(func(f Frame) error {
		if f.Closed {
			closed = append(closed, f.Channel)
		}
		data[f.Channel] += string(f.Data)
		return nil
	})
	return data, closed, err
}

// A client's message means the same in any fragments, comes on no channel that is not the client's to write on, and
// half-closes only in version 5, and only where it says exactly that.
func FuzzReceive(f *testing.F) {
	for _, m := range []string{"\x00input", "\x04{\"Width\":1}", "\x01output", "\x03status", "\xff\x00", "\xff\x04", "\xff", "\xff\x09", "\xff\x00\x00", "\x05", "", "\x00"} {
		f.Add([]byte(m), uint8(0), true)
		f.Add([]byte(m), uint8(1), false)
	}
	f.Add([]byte("0aW5wdXQ="), uint8(2), true)
	f.Add([]byte("0aW5wd"), uint8(2), true)
	f.Add([]byte("/AA=="), uint8(2), true)
	f.Fuzz(func(t *testing.T, message []byte, version uint8, tty bool) {
		message = message[:min(len(message), 40)] // every cut is tried
		p := webSocketProtocols[int(version)%len(webSocketProtocols)]
		s := Streams{Stdin: true, Stdout: true, TTY: tty}
		var data [channels]string
		var closed []Channel
		refused := false
		if len(message) > 0 {
			ch, rest := message[0], string(message[1:])
			if p.base64() {
				b, err := base64.StdEncoding.DecodeString(rest)
				ch, rest, refused = ch-'0', string(b), err != nil
			}
			switch {
			case ch == 255 && p == V5:
				if refused = len(rest) != 1 || rest[0] > 4; !refused && (rest[0] == 0 || rest[0] == 4 && tty) {
					closed = []Channel{Channel(rest[0])}
				}
			case ch == 0 || ch == 4 && tty:
				data[ch] = rest
			}
		}
		for at := range len(message) + 1 {
			d, c, err := received(t, p, s, websockettest.Message(p.base64(), message, at))
			if (err != nil) != refused || !refused && (d != data || !slices.Equal(c, closed)) {
				t.Fatalf("%s: %q cut at %d: %q, closed %v, %v; want %q, closed %v, refused %v", p, message, at, d, c, err, data, closed, refused)
			}
		}
	})
}
