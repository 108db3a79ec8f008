package attack

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatebook/test/lab"
)

// The versions of HTTP that a client can speak to the gateway.
const (
	h1 = "http/1.1"
	h2 = "h2"
)

// request goes over the wire as it is: no byte of it is escaped, cleaned or checked.
type request struct {
	method, path string   // method empty: GET
	token        string   // empty: no Authorization
	header       []string // "Name: value", in this order
	body         string
}

// answer of the gateway. code 0: it closed the connection without one.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

// status reads the Status that a refusal is.
func (a answer) status(t *testing.T) metav1.Status {
	t.Helper()
	var s metav1.Status
	if err := json.Unmarshal(a.body, &s); err != nil || s.Kind != "Status" {
		t.Errorf("answered %d with what is no Status: %.300q", a.code, a.body)
	}
	return s
}

// connection is one TLS connection to a gateway, in raw bytes.
type connection struct {
	t     *testing.T
	host  string
	proto string
	net.Conn
	r      *bufio.Reader
	framer *http2.Framer
	stream uint32
}

// over connects to a gateway by h1 or h2.
func over(t *testing.T, g *lab.Gateway, proto string) *connection {
	t.Helper()
	ca, err := os.ReadFile(g.Data("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	host := strings.TrimPrefix(g.URL, "https://")
	raw, err := tls.Dial("tcp", strings.Replace(host, "localhost", "127.0.0.1", 1), &tls.Config{RootCAs: pool, ServerName: "localhost", NextProtos: []string{proto}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	if got := raw.ConnectionState().NegotiatedProtocol; got != proto {
		t.Fatalf("negotiated %q, want %q", got, proto)
	}
	if err := raw.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		t.Fatal(err)
	}
	c := &connection{t: t, host: host, proto: proto, Conn: raw, r: bufio.NewReader(raw), stream: 1}
	if proto == h2 {
		c.write([]byte(http2.ClientPreface))
		c.framer = http2.NewFramer(raw, c.r)
		c.framer.AllowIllegalWrites = true
		c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		if err := c.framer.WriteSettings(); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *connection) write(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatalf("writing to the gateway: %v", err)
	}
}

// do sends a request and reads its answer.
func (c *connection) do(q request) answer {
	c.t.Helper()
	if q.method == "" {
		q.method = "GET"
	}
	if c.proto == h2 {
		return c.doH2(q)
	}
	c.send(q)
	return c.read(q.method)
}

// send writes a request of HTTP/1.1.
func (c *connection) send(q request) {
	c.t.Helper()
	if q.method == "" {
		q.method = "GET"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", q.method, q.path, c.host)
	if q.token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", q.token)
	}
	for _, h := range q.header {
		b.WriteString(h + "\r\n")
	}
	if q.body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(q.body))
	}
	b.WriteString("\r\n" + q.body)
	c.write(b.Bytes())
}

// read reads an answer of HTTP/1.1; a closed connection is answer 0.
func (c *connection) read(method string) answer {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return answer{code: resp.StatusCode, header: resp.Header}
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		body = append(body, "\n(then "+err.Error()+")"...)
	}
	return answer{resp.StatusCode, resp.Header, body}
}

// isClosed reports whether the gateway has ended the connection: no byte comes any more.
func (c *connection) isClosed() bool {
	c.t.Helper()
	if err := c.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		c.t.Fatal(err)
	}
	n, err := c.r.Read(make([]byte, 1))
	var timeout net.Error
	return n == 0 && err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}

func (c *connection) doH2(q request) answer {
	c.t.Helper()
	id := c.stream
	c.stream += 2
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	field := func(name, value string) {
		if err := enc.WriteField(hpack.HeaderField{Name: name, Value: value}); err != nil {
			c.t.Fatal(err)
		}
	}
	field(":method", q.method)
	field(":scheme", "https")
	field(":authority", c.host)
	field(":path", q.path)
	if q.token != "" {
		field("authorization", "Bearer "+q.token)
	}
	for _, h := range q.header {
		name, value, _ := strings.Cut(h, ": ")
		field(strings.ToLower(name), value)
	}
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: q.body == "", EndHeaders: true}); err != nil {
		c.t.Fatal(err)
	}
	if q.body != "" {
		if err := c.framer.WriteData(id, true, []byte(q.body)); err != nil {
			c.t.Fatal(err)
		}
	}
	return c.readH2(id)
}

// readH2 reads the answer on a stream; one that was reset is answer 0.
func (c *connection) readH2(id uint32) answer {
	c.t.Helper()
	a := answer{header: http.Header{}}
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			return answer{body: []byte(err.Error())}
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = c.framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				err = c.framer.WritePing(true, f.Data)
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return answer{body: []byte("reset: " + f.ErrCode.String())}
			}
		case *http2.MetaHeadersFrame:
			for _, h := range f.Fields {
				if h.Name == ":status" {
					a.code, err = strconv.Atoi(h.Value)
				} else {
					a.header.Add(h.Name, h.Value)
				}
			}
		case *http2.DataFrame:
			a.body = append(a.body, f.Data()...)
		}
		if err != nil {
			c.t.Fatal(err)
		}
		if h := f.Header(); h.StreamID == id && h.Flags.Has(http2.FlagDataEndStream) && (h.Type == http2.FrameData || h.Type == http2.FrameHeaders) {
			return a
		}
	}
}
