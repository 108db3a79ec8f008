package remotecommand

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/coder/websocket"
)

// DialWebSocket asks a server through rt for WebSocket with exactly the subprotocol named. Either the connection or
// the server's own answer is returned; the answer is one that is no 101, with its body still to be read. mayPong, if
// given, may keep a ping from being answered.
func DialWebSocket(ctx context.Context, rt http.RoundTripper, url string, h http.Header, subprotocol string,
	mayPong func(context.Context, []byte) bool) (*websocket.Conn, *http.Response, error) {
	t := &keepAnswer{rt: rt}
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:     &http.Client{Transport: t},
		HTTPHeader:     h,
		Subprotocols:   []string{subprotocol},
		OnPingReceived: mayPong,
	})
	if t.declined != nil {
		return nil, t.declined, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("asking for websocket: %w", err)
	}
	if got := ws.Subprotocol(); got != subprotocol {
		return nil, nil, errors.Join(fmt.Errorf("asking for websocket: the server chose %q, not %q", got, subprotocol), ws.CloseNow())
	}
	ws.SetReadLimit(-1) // messages are read in pieces
	return ws, nil, nil
}

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
