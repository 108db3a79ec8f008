package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"gatebook/internal/access"
	"gatebook/internal/recording"
	"gatebook/internal/wire/portforward"
	"gatebook/internal/wire/spdy"
	"gatebook/internal/wire/websocket"
)

// maxChannelPorts is how many ports the channels of one WebSocket can name.
const maxChannelPorts = 127

// Forward serves a port-forward and returns how it ended. ports are those that the request names; where it names any,
// no other is forwarded to. Over SPDY a client names ports only as it goes.
func (s Session) Forward(ctx context.Context, w http.ResponseWriter, r *http.Request, ports []uint16) access.Outcome {
	protocol, why := s.forwardProtocol(r, ports)
	if why != nil {
		return s.refuse(w, r, why)
	}
	upstream, answer, err := s.upstreamForward(ctx)
	if upstream == nil {
		return s.decline(w, r, answer, err)
	}
	f := &forward{Session: s, upstream: upstream, ports: ports, ended: make(chan struct{})}
	client, err := f.accept(w, r, protocol)
	if err != nil {
		f.stop(err)
		f.closeAll(nil)
		return notAccepted(err)
	}
	f.wait(ctx, client)
	f.closeAll(client)
	return f.outcome()
}

// forwardProtocol agrees with the client on how it speaks, before anything is asked of the upstream.
func (s Session) forwardProtocol(r *http.Request, ports []uint16) (string, *access.Refusal) {
	if s.Kind == SPDY {
		if !slices.Contains(headerTokens(r.Header[spdy.VersionHeader]), portforward.Protocol) {
			return "", malformed("the client offers the protocols %q, and not %q", r.Header[spdy.VersionHeader], portforward.Protocol)
		}
		return portforward.Protocol, nil
	}
	protocol, err := portforward.ChooseWebSocket(r.Header)
	switch {
	case err != nil:
		return "", malformed("%v", err)
	case protocol != portforward.Tunnelled && (len(ports) == 0 || len(ports) > maxChannelPorts):
		return "", malformed("a port-forward over WebSocket channels names 1 to %d ports, not %d", maxChannelPorts, len(ports))
	}
	return protocol, nil
}

// upstreamForward connects to the API server by SPDY within WebSocket, or where that is not known to it by SPDY.
func (s Session) upstreamForward(ctx context.Context) (*portforward.Client, *http.Response, error) {
	var rwc io.ReadWriteCloser
	ws, answer, err := websocket.Upgrade(ctx, s.Upstream, s.absolute(), s.Header, portforward.Tunnelled)
	switch {
	case ws != nil:
		rwc = ws.Tunnel()
	case fallBack(answer, err):
		if rwc, answer, err = s.upgradeSPDY(ctx, portforward.Protocol); rwc == nil {
			return nil, answer, err
		}
	default:
		return nil, answer, err
	}
	c, err := portforward.NewClient(rwc)
	return c, nil, err
}

// forward is a port-forward under way.
type forward struct {
	Session
	upstream *portforward.Client
	ports    []uint16
	pairs    sync.WaitGroup

	mu    sync.Mutex
	ended chan struct{} // closed by stop
	over  bool
	cause error
	count uint64
	sum   access.Outcome
}

func (f *forward) accept(w http.ResponseWriter, r *http.Request, protocol string) (portforward.Server, error) {
	if f.Kind == SPDY {
		rwc, err := spdy.Upgrade(w, protocol)
		if err != nil {
			return nil, err
		}
		return portforward.ServeSPDY(rwc, f.open)
	}
	ws, err := websocket.Accept(w, r, protocol)
	if err != nil {
		return nil, err
	}
	if protocol == portforward.Tunnelled {
		return portforward.ServeSPDY(websocket.Tunnel(ws), f.open)
	}
	return portforward.ServeChannels(ws, protocol, f.ports, f.open)
}

// wait lasts until either end is gone, ctx ends, or something failed.
func (f *forward) wait(ctx context.Context, client portforward.Server) {
	select {
	case <-ctx.Done():
		if err := cutBy(ctx); !errors.Is(err, errClientGone) {
			f.stop(err)
		}
	case <-client.Done():
	case <-f.upstream.Done():
		f.stop(access.Refuse(access.CodeUpstream, nil, "the target ended the connection"))
	case <-f.ended:
	}
	f.stop(nil)
}

// stop ends the whole for the first reason given; nil is none. No pair begins afterwards.
func (f *forward) stop(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.over {
		f.over, f.cause = true, err
		close(f.ended)
	}
}

// closeAll ends both connections and waits for all pairs. The upstream goes first, so that nothing more flows.
func (f *forward) closeAll(client portforward.Server) {
	f.upstream.Close()
	if client != nil {
		client.Close()
	}
	f.pairs.Wait()
}

func (f *forward) outcome() access.Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.sum
	out.Code, out.ExitCode = http.StatusSwitchingProtocols, -1
	if f.cause != nil {
		if f.Failed != nil {
			f.Failed(f.cause)
		}
		out.Truncated = failure(f.cause).Message
		out.Message = out.Truncated
	}
	return out
}

// open takes a pair that the client has opened.
func (f *forward) open(client portforward.Pair) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		client.Reset()
		return
	}
	f.count++
	name := recording.PortStream(int64(client.Port), f.count)
	f.pairs.Go(func() {
		f.failBook(guarded(func() error {
			f.serve(client, name)
			return nil
		}))
	})
}

// serve carries one connection to its end. An error of it is told on its error stream; only the book's ends the whole.
func (f *forward) serve(client portforward.Pair, name recording.Stream) {
	defer client.Reset()
	var upstream portforward.Pair
	var err error
	if len(f.ports) > 0 && !slices.Contains(f.ports, client.Port) {
		err = malformed("port %d is not one that the request names: %d", client.Port, f.ports)
	} else if upstream, err = f.upstream.Open(client.Port); err != nil {
		err = access.Refuse(access.CodeUpstream, err, "the target did not take a connection to port %d", client.Port)
	}
	if err != nil {
		f.tell(client, name, refusal(err))
		return
	}
	defer upstream.Reset()
	c := &connection{f: f, client: client, upstream: upstream, name: name}
	c.run()
}

// refusal is what a client is told of a connection that did not come about: the target's own words where it has any.
func refusal(err error) string {
	var said *portforward.Refused
	if errors.As(err, &said) && said.Text != "" {
		return said.Text
	}
	return failure(err).Message
}

// tell writes an error to the client, recorded first, and ends both of its streams.
func (f *forward) tell(client portforward.Pair, name recording.Stream, text string) {
	masked, err := maskString(&text, f.Masks)
	if err == nil && text != "" {
		err = record(f.Book, recording.Status, recording.ToClient, fmt.Appendf(nil, "%s: %s\n", name, text))
	}
	if err == nil && text != "" {
		if _, err := client.Error.Write([]byte(text)); err != nil {
			return // the client has gone
		}
	}
	f.failBook(err)
	f.add(0, int64(len(text)), masked)
	for _, s := range []portforward.Stream{client.Error, client.Data} {
		if err := s.CloseWrite(); err != nil {
			return // the client has gone
		}
	}
}

func (f *forward) add(in, out, masked int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sum.RequestBytes += in
	f.sum.ResponseBytes += out
	f.sum.Masked += masked
}

// failBook ends the whole where bytes could not be recorded. Other errors are one connection's own.
func (f *forward) failBook(err error) {
	var why *access.Refusal
	if errors.As(err, &why) {
		f.stop(err)
	}
}

// connection is one forwarded TCP connection. Its bytes are masked as text is: a known secret on its way to the client
// is replaced by a placeholder of another length, so that a binary protocol which carries one may break. Policy decides
// whether known values are masked at all.
type connection struct {
	f        *forward
	client   portforward.Pair
	upstream portforward.Pair
	name     recording.Stream
}

// run lasts until the upstream has ended both of its streams: a client that has sent all may still want the answer.
func (c *connection) run() {
	in := toUpstream(c.f.Book, c.name, c.f.Masks, func(b []byte) error {
		_, err := c.upstream.Data.Write(b)
		return err
	}, c.f.failBook)
	out := toClient(c.f.Book, c.name, c.f.Masks, func(b []byte) error {
		_, err := c.client.Data.Write(b)
		return err
	})
	var sending, receiving sync.WaitGroup
	var text strings.Builder
	forget := func() bool { return true }
	sending.Go(func() {
		err := guarded(func() error { return c.carry(c.client.Data, in, c.upstream.Data) })
		if errors.Is(err, spdy.ErrReset) { // the upstream has more to say
			forget = c.upstream.ResetData()
		} else if err != nil {
			c.f.failBook(err)
			c.upstream.Reset()
		}
	})
	receiving.Go(func() {
		if err := guarded(func() error { return c.carry(c.upstream.Data, out, c.client.Data) }); err != nil {
			c.f.failBook(err)
			c.upstream.Reset() // the client no longer wants it
		}
	})
	receiving.Go(func() { c.f.failBook(guarded(func() error { return collect(c.upstream.Error, &text) })) })
	receiving.Wait()
	c.f.tell(c.client, c.name, text.String())
	c.client.Reset()
	c.upstream.Reset()
	sending.Wait()
	forget()
	in.abandon()
	sent, _ := in.tally()
	received, masked := out.tally()
	c.f.add(sent, received, masked)
}

// carry passes on one direction until it is half-closed, and then half-closes it further on.
func (c *connection) carry(from portforward.Stream, l *lane, to portforward.Stream) error {
	for {
		b, err := from.Next()
		if err != nil {
			break
		}
		if err := l.write(b); err != nil {
			l.abandon()
			return err
		}
	}
	if err := l.close(); err != nil {
		return err
	}
	return to.CloseWrite()
}

// collect reads an error's text, and forgets what is longer than any can be.
func collect(from portforward.Stream, text *strings.Builder) error {
	for {
		b, err := from.Next()
		if err != nil {
			return nil // it has ended
		}
		text.Write(b[:min(len(b), portforward.MaxReason-text.Len())])
	}
}
