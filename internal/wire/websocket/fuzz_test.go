package websocket_test

import (
	"encoding/base64"
	"io"
	"testing"

	"gatebook/internal/wire/websocket"
	"gatebook/internal/wire/websocket/websockettest"
)

func accept(t *testing.T) (*websocket.Server, func(...[]byte)) {
	t.Helper()
	w, r, client := websockettest.Handshake("")
	s, err := websocket.Accept(w, r, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Abort)
	return s, func(messages ...[]byte) {
		go func() {
			for _, m := range append(messages, websockettest.Goodbye()) {
				if _, err := client.Write(m); err != nil {
					return // it was refused before
				}
			}
		}()
	}
}

// received is what came on the channel of a message: the bytes, and whether it was refused.
func received(t *testing.T, inBase64 bool, message []byte, cuts ...int) (channel byte, got string, err error) {
	t.Helper()
	s, send := accept(t)
	send(websockettest.Message(inBase64, message, cuts...))
	calls := 0
	err = websocket.NewChannels(s, inBase64).Receive(func(n byte, p []byte) error {
		if calls++; calls == 1 && len(message) > 2 && len(p) == 1 && !inBase64 {
			t.Errorf("the first piece of %q, cut at %v, has one byte", message, cuts)
		}
		channel = n
		got += string(p)
		return nil
	})
	return channel, got, err
}

// A message says the same in any fragments.
func FuzzChannels(f *testing.F) {
	f.Add([]byte("\x00input"), false)
	f.Add([]byte("\xff\x00"), false)
	f.Add([]byte("\xff"), false)
	f.Add([]byte("\xff\x00\x01"), false)
	f.Add([]byte{}, true)
	f.Add([]byte("0aW5wdXQ="), true)
	f.Add([]byte("0aW5w\r\ndXQ"), true)
	f.Add([]byte("/AA=="), true)
	f.Add([]byte("00"), true)
	f.Add([]byte("0000=0000"), true)
	f.Add([]byte("0AA==\r\n"), true)
	f.Fuzz(func(t *testing.T, message []byte, inBase64 bool) {
		message = message[:min(len(message), 40)] // every cut is tried
		channel, got, err := received(t, inBase64, message)
		switch {
		case len(message) == 0:
			if got != "" || err != nil {
				t.Errorf("an empty message is %q, %v", got, err)
			}
		case !inBase64:
			if err != nil || channel != message[0] || got != string(message[1:]) {
				t.Errorf("%q is %q on channel %d, %v", message, got, channel, err)
			}
		default:
			want, bad := base64.StdEncoding.DecodeString(string(message[1:]))
			if (bad == nil) != (err == nil) || bad == nil && (got != string(want) || channel != message[0]-'0') {
				t.Errorf("%q is %q on channel %d, %v", message, got, channel, err)
			}
		}
		for at := range len(message) + 1 {
			c, g, e := received(t, inBase64, message, at)
			if (e == nil) != (err == nil) || e == nil && (c != channel || g != got) {
				t.Errorf("%q cut at %d: %q on channel %d, %v; whole %q on channel %d, %v", message, at, g, c, e, got, channel, err)
			}
		}
	})
}

// A tunnel is one stream, whatever its messages and their fragments.
func FuzzTunnel(f *testing.F) {
	f.Add([]byte("bytes of a stream"), 4)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		stream = stream[:min(len(stream), 40)]
		cut = max(0, min(cut, len(stream)))
		for at := range len(stream) + 1 {
			s, send := accept(t)
			send(websockettest.Message(false, stream[:at], min(cut, at)), websockettest.Message(false, nil), websockettest.Message(false, stream[at:], max(0, cut-at)))
			if got, err := io.ReadAll(websocket.Tunnel(s)); err != nil || string(got) != string(stream) {
				t.Errorf("%q in messages cut at %d: %q, %v", stream, at, got, err)
			}
		}
	})
}
