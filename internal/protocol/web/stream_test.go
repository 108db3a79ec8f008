package web

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"gatebook/internal/access"
)

// dialSocket opens a WebSocket through the gateway.
func (w *world) dialSocket(t *testing.T, h http.Header, protocols ...string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), w.front.URL+"/live?x=1", &websocket.DialOptions{HTTPClient: overHTTP1(w), HTTPHeader: h, Subprotocols: protocols})
	must(t, err)
	t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(1 << 20)
	return c
}

// overHTTP1 is the client of the gateway that speaks HTTP/1.1 alone.
func overHTTP1(w *world) *http.Client {
	tr := w.front.Client().Transport.(*http.Transport).Clone()
	tr.ForceAttemptHTTP2 = false
	tr.TLSClientConfig.NextProtos = []string{"http/1.1"}
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetHTTP1(true)
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// echo is a service that sends back each message, and what it was asked with first.
func echo(t *testing.T) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(rw, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}, InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		ctx := context.Background()
		c.Write(ctx, websocket.MessageText, []byte(r.RequestURI+" "+r.Header.Get("Authorization")+" "+c.Subprotocol()+" "+r.Header.Get("X-Own")))
		for {
			kind, b, err := c.Read(ctx)
			if err != nil {
				return
			}
			if string(b) == "bye" {
				c.Close(4001, "so long "+secret)
				return
			}
			c.Write(ctx, kind, b)
		}
	}
}

func TestWebSocket(t *testing.T) {
	w := newWorld(t, echo(t))
	c := w.dialSocket(t, http.Header{"X-Own": {"1"}}, "other", "chat")
	read := func() (websocket.MessageType, string) {
		t.Helper()
		kind, b, err := c.Read(t.Context())
		must(t, err)
		return kind, string(b)
	}
	if _, s := read(); s != "/base/live?x=1 Bearer upstream-token chat 1" || c.Subprotocol() != "chat" {
		t.Errorf("the service was asked %q", s)
	}
	for _, s := range []string{"hello", "", `{"access_token":"from-the-service-1"}`, strings.Repeat("x", 60_000), "the " + secret} {
		must(t, c.Write(t.Context(), websocket.MessageText, []byte(s)))
		kind, got := read()
		switch {
		case kind != websocket.MessageText, strings.Contains(got, secret), strings.Contains(got, "from-the-service"), !strings.Contains(got, "gbm-") && got != s:
			t.Errorf("%q came back as %.100q", s, got)
		}
	}
	must(t, c.Write(t.Context(), websocket.MessageBinary, []byte{0, 1, 2}))
	if kind, got := read(); kind != websocket.MessageBinary || got != "\x00\x01\x02" {
		t.Errorf("%q", got)
	}
	must(t, c.Write(t.Context(), websocket.MessageText, []byte("bye")))
	_, _, err := c.Read(t.Context())
	if websocket.CloseStatus(err) != 4001 || strings.Contains(err.Error(), secret) {
		t.Errorf("%v", err)
	}
	rec := w.recorded()
	if strings.Contains(rec, secret) || !strings.Contains(rec, "hello") || !strings.Contains(rec, "the gbm-") {
		t.Error("the record is not what was delivered")
	}
	if o := w.rows()[0].Outcome; o == nil || o.Code != 101 || o.Truncated != "" || o.RequestBytes < 60_000 || o.ResponseBytes < 60_000 || o.Masked != 2 {
		t.Errorf("%+v", o)
	}
}

// A masked value that comes back, a message beyond the limit and a revocation end a WebSocket.
func TestWebSocketEnds(t *testing.T) {
	for name, x := range map[string]struct {
		send func(*world, *websocket.Conn)
		code websocket.StatusCode
	}{
		"placeholder": {func(w *world, c *websocket.Conn) {
			c.Write(t.Context(), websocket.MessageText, []byte(w.h.o.Masks.Scope(caller.Session).Placeholder([]byte(secret))))
		}, 1008},
		"too long": {func(w *world, c *websocket.Conn) { c.Write(t.Context(), websocket.MessageText, make([]byte, 1<<17)) }, 1009},
		"revoked":  {func(w *world, c *websocket.Conn) { w.Revoke() }, 1008},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, echo(t))
			c := w.dialSocket(t, nil)
			_, _, err := c.Read(t.Context())
			must(t, err)
			x.send(w, c)
			if _, b, err := c.Read(t.Context()); websocket.CloseStatus(err) != x.code {
				t.Errorf("%q %v", b, err)
			}
			if o := w.rows()[0].Outcome; o == nil || o.Truncated == "" {
				t.Errorf("%+v", o)
			}
		})
	}
}

// What a service answers to an upgrade that it declines is an answer like others; other upgrades are refused.
func TestUpgradesDeclined(t *testing.T) {
	w := newWorld(t, reply(403, "text/plain", "not here, "+secret))
	_, resp, err := websocket.Dial(t.Context(), w.front.URL+"/live", &websocket.DialOptions{HTTPClient: overHTTP1(w)})
	if err == nil || resp.StatusCode != 403 {
		t.Fatalf("%v %+v", err, resp)
	}
	b, _ := io.ReadAll(resp.Body)
	if !strings.HasPrefix(string(b), "not here, gbm-") {
		t.Errorf("%q", b)
	}
	before := len(w.sent)
	for _, kv := range [][]string{{"Upgrade", "h2c"}, {"Upgrade", "websocket"}, {"Upgrade", "websocket, h2c", "Sec-Websocket-Version", "13"}, {"X", "1"}} {
		r, err := http.NewRequest("GET", w.front.URL+"/live", nil)
		must(t, err)
		r.Header.Set("Connection", "Upgrade")
		for i := 0; i < len(kv); i += 2 {
			r.Header.Set(kv[i], kv[i+1])
		}
		resp, err := overHTTP1(w).Do(r)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != 400 || len(w.sent) != before {
			t.Errorf("%q: %d", kv, resp.StatusCode)
		}
	}
}

func framed(s string) string {
	b := make([]byte, 5)
	binary.BigEndian.PutUint32(b[1:], uint32(len(s)))
	return string(b) + s
}

// grpcEcho sends back each message, and ends with status 0.
func grpcEcho(limit int) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/grpc")
		rw.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		for {
			m, err := readMessage(r.Body, limit)
			if err != nil {
				break
			}
			rw.Write(m)
			rw.(http.Flusher).Flush()
		}
		rw.Header().Set("Grpc-Status", "0")
		rw.Header().Set("Grpc-Message", "as "+r.Header.Get("Authorization")+r.Header.Get("Te"))
	}
}

func (w *world) call(body io.Reader, kv ...string) answer {
	w.t.Helper()
	r, err := http.NewRequest("POST", w.front.URL+"/a.B/C", io.NopCloser(body))
	must(w.t, err)
	r.Header.Set("Content-Type", "application/grpc")
	for i := 0; i < len(kv); i += 2 {
		r.Header.Set(kv[i], kv[i+1])
	}
	return w.send(r)
}

func TestGRPC(t *testing.T) {
	w := newWorld(t, grpcEcho(1<<20))
	a := w.call(strings.NewReader(framed("hello")))
	if a.body != framed("hello") || a.trailer.Get("Grpc-Status") != "0" || a.trailer.Get("Grpc-Message") != "as Bearer upstream-tokentrailers" {
		t.Errorf("%+v", a)
	}
	if g := w.op().Web.GRPC; *g != (access.GRPC{Service: "a.B", Method: "C"}) || !unreadable(w.op(), "web.body") || w.op().Web.Bytes != 10 {
		t.Errorf("%+v", w.op().Web)
	}
	a = w.call(strings.NewReader(framed("a") + framed("the "+secret) + framed("b")))
	if a.body != framed("a") || a.trailer.Get("Grpc-Status") != "7" || a.broken != nil {
		t.Errorf("a message with a secret: %+v", a)
	}
	w.upstream = func(rw http.ResponseWriter, r *http.Request) { // headers that are the trailers, too
		rw.Header().Set("Content-Type", "application/grpc")
		rw.Header().Set("Grpc-Status", "5")
		rw.Header().Set("Grpc-Message", "no "+secret)
	}
	a = w.call(strings.NewReader(framed("x")), "Grpc-Timeout", "1S")
	if a.header.Get("Grpc-Status") != "5" || !strings.HasPrefix(a.header.Get("Grpc-Message"), "no gbm-") || a.header.Get("Content-Length") != "0" || w.last().Header.Get("Grpc-Timeout") != "" {
		t.Errorf("trailers alone: %+v, asked with %v", a, w.last().Header)
	}
	w.upstream = grpcEcho(1 << 20)
	r, wr := io.Pipe()
	go func() {
		for i := range 3 {
			fmt.Fprint(wr, framed(fmt.Sprint("part ", i)))
			time.Sleep(200 * time.Millisecond)
		}
		wr.Close()
	}()
	a = w.call(r)
	if a.body != framed("part 0")+framed("part 1")+framed("part 2") || a.trailer.Get("Grpc-Status") != "0" || !w.op().Web.GRPC.Stream {
		t.Errorf("a stream: %+v", a)
	}
	w.upstream = func(rw http.ResponseWriter, r *http.Request) { // a failure behind messages, and then no status at all
		rw.Header().Set("Content-Type", "application/grpc")
		io.WriteString(rw, framed("some"))
		rw.(http.Flusher).Flush()
		if r.Header.Get("X-Fail") != "" {
			rw.Header().Set(http.TrailerPrefix+"Grpc-Status", "13")
			rw.Header().Set(http.TrailerPrefix+"Grpc-Message", "out of "+secret)
		}
	}
	w.call(strings.NewReader(framed("x")), "X-Fail", "1")
	w.call(strings.NewReader(framed("x")))
	rec := w.recorded()
	if strings.Contains(rec, secret) || !strings.Contains(rec, "part 2") || !strings.Contains(rec, "the gbm-") {
		t.Error("the record is not what was sent")
	}
	rows := w.rows()
	for i, want := range map[int]string{0: "|", 2: "grpc-status 5: no gbm-", 4: "grpc-status 13: out of gbm-", 5: "|the service ended its answer without a status"} {
		o := rows[i].Outcome
		if got := o.Message + "|" + o.Truncated; !strings.HasPrefix(got, want) || want == "|" && got != want {
			t.Errorf("call %d ended with %q, want %q", i, got, want)
		}
	}
}

// H73: a message takes memory as it comes, not as it says that it will.
func TestH73GRPCLengths(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := readMessage(strings.NewReader("\x00\x00\x3f\xff\xff"), 4<<20); err == nil {
			t.Fatal("it is whole")
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		t.Errorf("100 lengths took %d bytes", n)
	}
}

// A call that is refused ends with a status of gRPC, and nothing of it goes on.
func TestGRPCRefused(t *testing.T) {
	w := newWorld(t, grpcEcho(1<<20))
	packed := "\x01" + framed("zzz")[1:]
	for name, x := range map[string]struct {
		body, status string
		kv           []string
	}{
		"compressed":  {packed, "3", nil},
		"encoding":    {framed("a"), "3", []string{"Grpc-Encoding", "gzip"}},
		"cut":         {framed("abc")[:6], "3", nil},
		"long":        {framed(strings.Repeat("x", 1<<17)), "8", nil},
		"placeholder": {framed(w.h.o.Masks.Scope(caller.Session).Placeholder([]byte(secret))), "9", nil},
	} {
		if a := w.call(strings.NewReader(x.body), x.kv...); a.code != 200 || a.header.Get("Grpc-Status") != x.status || w.last() != nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
	w.decide = func(*access.Operation) access.Decision { return access.Decision{Effect: access.Deny, Reason: "no ü"} }
	if a := w.call(strings.NewReader(framed("a"))); a.header.Get("Grpc-Status") != "7" || !strings.HasPrefix(a.header.Get("Grpc-Message"), "gatebook: no %C3%BC") {
		t.Errorf("%+v", a)
	}
}

// hears is a service that takes one message, and says that it is fine.
func hears(t *testing.T, to chan<- string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(rw, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		_, b, err := c.Read(context.Background())
		if err != nil {
			t.Error(err)
		}
		to <- string(b)
		c.Write(context.Background(), websocket.MessageText, []byte("fine"))
		c.Read(context.Background())
	}
}
