package portforward

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"gatebook/internal/guard"
	"gatebook/internal/wire/websocket"
)

// The subprotocols of a kubelet's port-forward over WebSocket.
const (
	v4       = "v4.channel.k8s.io"
	v4Base64 = "v4.base64.channel.k8s.io"
)

// ChooseWebSocket agrees on a subprotocol: SPDY inside wherever it is offered, since the API server's own end then
// answers, and the client's first choice of the others. None offered is v4 without a name.
func ChooseWebSocket(h http.Header) (string, error) {
	var offered []string
	for _, f := range h["Sec-Websocket-Protocol"] {
		for t := range strings.SplitSeq(f, ",") {
			if t = strings.TrimSpace(t); t != "" {
				offered = append(offered, t)
			}
		}
	}
	switch {
	case len(offered) == 0:
		return "", nil
	case slices.Contains(offered, Tunnelled):
		return Tunnelled, nil
	}
	for _, o := range offered {
		if o == v4 || o == v4Base64 {
			return o, nil
		}
	}
	return "", fmt.Errorf("the client offers the protocols %q, and of these none is known here: %q", offered, []string{Tunnelled, v4, v4Base64})
}

// overChannels is a connection with a pair of channels for each port that the query named.
type overChannels struct {
	ws    *websocket.Channels
	ports []*channel // the data channels
	read  sync.WaitGroup
	pairs sync.WaitGroup
}

// ServeChannels takes over a WebSocket connection under one of the v4 subprotocols, and calls open once for each port.
func ServeChannels(s *websocket.Server, subprotocol string, ports []uint16, open func(Pair)) (Server, error) {
	c := &overChannels{ws: websocket.NewChannels(s, subprotocol == v4Base64)}
	for i, port := range ports {
		name := binary.LittleEndian.AppendUint16(nil, port)
		data, text := c.channel(2*i), c.channel(2*i+1)
		for _, ch := range []*channel{data, text} {
			if err := c.ws.Send(ch.n, name); err != nil {
				c.ws.Abort()
				return nil, err
			}
		}
		c.ports = append(c.ports, data)
	}
	c.read.Go(c.demux)
	for i, port := range ports {
		c.pairs.Add(1)
		text := c.channel(2*i + 1)
		open(Pair{Port: port, Data: &whole{channel: c.ports[i], done: c.pairs.Done}, Error: text})
	}
	// The protocol can say that a connection has ended only by ending all: when the last has.
	c.read.Go(func() {
		c.pairs.Wait()
		c.ws.Close()
	})
	return c, nil
}

func (c *overChannels) Done() <-chan struct{} { return c.ws.Done() }

func (c *overChannels) Close() {
	c.ws.Abort()
	c.read.Wait()
}

// demux hands each message to its channel. A port that is not read holds up the others: the protocol has no other way.
func (c *overChannels) demux() {
	err := guard.Call(func() error {
		return c.ws.Receive(func(n byte, p []byte) error {
			if n%2 != 0 || int(n/2) >= len(c.ports) || len(p) == 0 {
				return nil // only data channels are for the client to write on, and nothing is nothing
			}
			c.ports[n/2].put(p)
			return nil
		})
	})
	if err != nil {
		c.ws.Abort()
	}
}

func (c *overChannels) channel(n int) *channel {
	return &channel{c: c, n: byte(n), in: make(chan []byte), over: make(chan struct{})}
}

// channel is a Stream on one channel.
type channel struct {
	c    *overChannels
	n    byte
	in   chan []byte
	over chan struct{}
	once sync.Once
}

// put waits until p is taken, or nobody wants it any more.
func (ch *channel) put(p []byte) {
	select {
	case ch.in <- append([]byte(nil), p...):
	case <-ch.over:
	case <-ch.c.ws.Done():
	}
}

func (ch *channel) Next() ([]byte, error) {
	select {
	case p := <-ch.in:
		return p, nil
	case <-ch.over:
	case <-ch.c.ws.Done():
	}
	return nil, io.EOF
}

func (ch *channel) Write(p []byte) (int, error) {
	if err := ch.c.ws.Send(ch.n, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (ch *channel) CloseWrite() error { return nil }
func (ch *channel) Reset()            { ch.once.Do(func() { close(ch.over) }) }

// whole is a pair's data channel, with which the pair ends.
type whole struct {
	*channel
	end  sync.Once
	done func()
}

func (w *whole) Reset() {
	w.channel.Reset()
	w.end.Do(w.done)
}
