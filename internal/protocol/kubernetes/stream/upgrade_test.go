package stream

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
)

// K4: only one upgrade, to WebSocket or SPDY/3.1, is understood; whatever else speaks of an upgrade is refused.
func TestK4ReadUpgrade(t *testing.T) {
	const ws = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	for head, want := range map[string]Kind{
		"GET / HTTP/1.1\r\n":                                                                              None,
		"GET / HTTP/1.1\r\nConnection: keep-alive\r\n":                                                    None,
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + ws:                            WebSocket,
		"GET / HTTP/1.1\r\nConnection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n" + ws:                WebSocket,
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: http://gw\r\n" + ws:       WebSocket,
		"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n":            SPDY,
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: spdy/3.1\r\n":                                  SPDY,
		"GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n": -1,
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: raw\r\n":                                       -1,
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3\r\n":                                    -1,
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n" + ws:                       -1,
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n" + ws:            -1,
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n" + ws:      -1,
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\n":                                                       -1,
		"GET / HTTP/1.1\r\nUpgrade: websocket\r\n" + ws:                                                   -1,
		"GET / HTTP/1.1\r\n" + ws:                                                                       -1,
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade:\r\n":                                         -1,
		"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + ws:                          -1,
		"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n" + ws:    -1,
		"PUT / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n":           -1,
		"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 4\r\n":          -1,
		"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nTransfer-Encoding: chunked\r\n": -1,
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n": -1,
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n": -1,
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://evil.example\r\n" + ws:                     WebSocket, // Origin means nothing where no credential is ambient
	} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "Host: gw\r\n\r\n")))
		if err != nil {
			t.Fatalf("%q: %v", head, err)
		}
		kind, why := ReadUpgrade(r)
		if refused := why != nil; refused != (want == -1) || !refused && kind != want {
			t.Errorf("%q: kind %d, %v; want %d", head, kind, why, want)
		}
	}
}
