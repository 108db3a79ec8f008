package stream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
	streamspdy "k8s.io/streaming/pkg/httpstream/spdy"

	"gatebook/internal/access"
	"gatebook/internal/protocol/kubernetes/stream"
)

// ports forwards to this machine's own ports, in the place of a container runtime.
type localPorts struct{}

func (localPorts) PortForward(_ context.Context, _, _ string, port int32, s io.ReadWriteCloser) error {
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return errors.New("connection refused by canary-5f1e7a90")
	}
	defer c.Close()
	go func() {
		io.Copy(c, s)
		c.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(s, c)
	return err
}

// echo answers each connection with what it got, when it has got all.
func echo(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b, _ := io.ReadAll(c)
				c.Write(b)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func dialForward(t *testing.T, base, protocol string) httpstream.Connection {
	t.Helper()
	u, err := url.Parse(base + "/api/v1/namespaces/n/pods/p/portforward")
	if err != nil {
		t.Fatal(err)
	}
	config := &rest.Config{Host: base}
	var d httpstream.Dialer
	if protocol == "tunnel" {
		d, err = portforward.NewSPDYOverWebsocketDialerForStreaming(u, config)
	} else {
		var rt http.RoundTripper
		var up spdy.Upgrader
		if rt, up, err = spdy.RoundTripperFor(config); err == nil {
			d = spdy.NewDialerForStreaming(up, &http.Client{Transport: rt}, "POST", u)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	c, got, err := d.Dial("portforward.k8s.io")
	if err != nil || got != "portforward.k8s.io" {
		t.Fatalf("%q, %v", got, err)
	}
	return c
}

// exchange sends b over one forwarded connection, and gives what comes back and the error's text.
func exchange(t *testing.T, c httpstream.Connection, port, id int, b []byte) (string, string) {
	t.Helper()
	h := http.Header{}
	h.Set("port", strconv.Itoa(port))
	h.Set("requestID", strconv.Itoa(id))
	h.Set("streamType", "error")
	e, err := c.CreateStream(h)
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
	h.Set("streamType", "data")
	d, err := c.CreateStream(h)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		io.Copy(d, struct{ io.Reader }{bytes.NewReader(b)})
		d.Close()
	}()
	back, _ := io.ReadAll(d)
	text, _ := io.ReadAll(e)
	return string(back), string(text)
}

// K27: SPDY inside WebSocket is decoded, and recorded both ways, as plain SPDY is, whatever the upstream understands.
func TestForwardIsRecordedBothWays(t *testing.T) {
	const canary = "canary-5f1e7a90"
	for _, upstream := range []string{"apiserver", "runtime"} {
		for _, protocol := range []string{"tunnel", "spdy"} {
			t.Run(upstream+"/"+protocol, func(t *testing.T) {
				noLeaks(t)
				rt := runtime(t, host{}, localPorts{})
				if upstream == "apiserver" {
					rt = apiServer(t, rt)
				}
				g := newGateway(t, rt, hiding(canary))
				port := echo(t)
				c := dialForward(t, g.URL, protocol)
				long := bytes.Repeat([]byte("\x00\x01binary"), 50_000)
				if back, text := exchange(t, c, port, 0, long); back != string(long) || text != "" {
					t.Errorf("%d bytes came back of %d, error %q", len(back), len(long), text)
				}
				if back, _ := exchange(t, c, port, 1, []byte("x="+canary+";")); back != "x="+placeholder+";" {
					t.Errorf("the secret came back as %q", back)
				}
				if _, text := exchange(t, c, 1, 2, nil); !strings.Contains(text, "connection refused by "+placeholder) {
					t.Errorf("error %q", text)
				}
				c.Close()
				got := <-g.outcomes
				if got.Code != 101 || got.Masked != 2 || got.RequestBytes != int64(len(long)+len(canary)+3) || got.Truncated != "" {
					t.Errorf("outcome %+v", got)
				}
				for k, want := range map[string]string{
					fmt.Sprintf("port:%d#1 from-client", port): string(long), fmt.Sprintf("port:%d#1 to-client", port): string(long),
					fmt.Sprintf("port:%d#2 from-client", port): "x=" + placeholder + ";", fmt.Sprintf("port:%d#2 to-client", port): "x=" + placeholder + ";",
				} {
					if g.book.get(k) != want {
						t.Errorf("recorded in %s: %d bytes, want %d", k, len(g.book.get(k)), len(want))
					}
				}
				if e := g.book.get("error to-client"); !strings.Contains(e, "port:1#3: ") || strings.Contains(e, canary) {
					t.Errorf("recorded error %q", e)
				}
			})
		}
	}
}

// Why a port is refused reaches the client also where the server resets the data's stream first, while the client still sends.
func TestARefusalComesAfterTheReset(t *testing.T) {
	for _, protocol := range []string{"tunnel", "spdy"} {
		t.Run(protocol, func(t *testing.T) {
			noLeaks(t)
			sent := make(chan struct{})
			g := newGateway(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"}); err != nil {
					return // a WebSocket was asked for, which the gateway tries first
				}
				var said httpstream.Stream
				c := streamspdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, accepted <-chan struct{}) error {
					if s.Headers().Get("streamType") == "error" {
						said = s
						return nil
					}
					go func() {
						<-accepted
						_ = s.Reset()
						<-sent
						_, _ = io.WriteString(said, "no such port")
						_ = said.Close()
					}()
					return nil
				})
				if c != nil {
					<-c.CloseChan()
				}
			})), stream.Masks{})
			c := dialForward(t, g.URL, protocol)
			time.AfterFunc(100*time.Millisecond, func() { close(sent) }) // until then, what is sent on has failed
			if _, text := exchange(t, c, 1, 0, []byte("hello")); text != "no such port" {
				t.Errorf("the client is told %q", text)
			}
			c.Close()
			<-g.outcomes
		})
	}
}

// The kubelet's own protocol over WebSocket, which clients in other languages speak.
func TestForwardOverChannels(t *testing.T) {
	noLeaks(t)
	g := newGateway(t, apiServer(t, runtime(t, host{}, localPorts{})), stream.Masks{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.CopyN(c, c, 4)
		c.Close()
	}()
	port := l.Addr().(*net.TCPAddr).Port
	d := websocket.Dialer{Subprotocols: []string{"v4.channel.k8s.io"}}
	c, resp, err := d.Dial("ws"+strings.TrimPrefix(g.URL, "http")+fmt.Sprintf("/api/v1/namespaces/n/pods/p/portforward?ports=%d", port), nil)
	if err != nil {
		t.Fatal(err, resp)
	}
	defer c.Close()
	for n := range byte(2) {
		_, b, err := c.ReadMessage()
		if want := binary.LittleEndian.AppendUint16([]byte{n}, uint16(port)); err != nil || !bytes.Equal(b, want) {
			t.Fatalf("%x, %v; want %x", b, err, want)
		}
	}
	c.WriteMessage(websocket.BinaryMessage, []byte("\x00ping"))
	if _, b, err := c.ReadMessage(); err != nil || string(b) != "\x00ping" {
		t.Errorf("%q, %v", b, err)
	}
	if _, b, err := c.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("after the last connection: %q, %v", b, err)
	}
	<-g.outcomes
	if k := fmt.Sprintf("port:%d#1 ", port); g.book.get(k+"from-client") != "ping" || g.book.get(k+"to-client") != "ping" {
		t.Errorf("recorded %q", g.book.bytes)
	}
}

// falling is a Text that panics.
type falling struct{ stream.Text }

func (falling) Write([]byte) (int, error) { panic("the text") }

// I80, and no record, no action; a panic ends the port-forward, and not this process.
func TestForwardIsCut(t *testing.T) {
	for _, protocol := range []string{"tunnel", "spdy"} {
		for name, cut := range map[string]func(*gateway){
			"revoked":            func(g *gateway) { g.cut(access.Refuse(access.CodeRevoked, nil, "revoked")) },
			"not recorded":       func(g *gateway) { g.book.fill(errors.New("no space left")) },
			"input that panics":  func(*gateway) {},
			"output that panics": func(*gateway) {},
		} {
			t.Run(protocol+"/"+name, func(t *testing.T) {
				noLeaks(t)
				masks := stream.Masks{Record: func(dst io.Writer) stream.Text { return literal(dst) }, Digest: digest}
				fall := func(dst io.Writer) stream.Text { return falling{literal(dst)} }
				switch name {
				case "input that panics":
					masks.Record = fall
				case "output that panics":
					masks.Client = fall
				}
				g := newGateway(t, apiServer(t, runtime(t, host{}, localPorts{})), masks)
				c := dialForward(t, g.URL, protocol)
				defer c.Close()
				cut(g)
				if name != "revoked" {
					if back, _ := exchange(t, c, echo(t), 0, []byte("secret")); back != "" {
						t.Errorf("%q came back unrecorded", back)
					}
				}
				if got := <-g.outcomes; got.Truncated == "" {
					t.Errorf("outcome %+v", got)
				}
				<-c.CloseChan()
			})
		}
	}
}
