package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// ends are where requests end in b, as framing has it, b coming in the pieces that cut says; bad reports that it did not like
// what comes then.
func ends(b []byte, cut func(left int) int) (out []int, bad bool) {
	var f framing
	was := start
	for at := 0; at < len(b); {
		n := cut(len(b) - at)
		for i := range n { // byte by byte, to see each end
			if f.part != other && f.follow(b[at+i:at+i+1]) == 0 {
				return out, true
			}
			if (f.part == start || f.part == other) && was != f.part {
				out = append(out, at+i+1)
			}
			was = f.part
		}
		at += n
	}
	return out, false
}

// netHTTP are where requests end in what net/http reads of b behind a reader, which gives at most piece bytes at once.
func netHTTP(b []byte, piece int) (out []int) {
	in := bytes.NewReader(b)
	r := &reader{r: &pieces{in, piece}}
	counted := &counter{r: r}
	buf := bufio.NewReaderSize(counted, 4<<10)
	for {
		req, err := http.ReadRequest(buf)
		if err != nil {
			return out
		}
		if _, err := io.Copy(io.Discard, io.LimitReader(req.Body, 1<<20)); err != nil {
			return out
		}
		out = append(out, counted.n-buf.Buffered())
		if req.Method == "CONNECT" || req.Header.Get("Upgrade") != "" {
			return out
		}
	}
}

type pieces struct {
	r   io.Reader
	max int
}

func (p *pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.max)]) }

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}

const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func post(header, body string) string {
	return "POST / HTTP/1.1\r\nHost: x\r\n" + header + "\r\n" + body
}

var fine = []string{
	get, get + get,
	post("Content-Length: 5\r\n", "hello") + get, post("content-LENGTH:0\r\n", "") + get,
	post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\nA;x=\"y\"\r\n0123456789\r\n00\r\n\r\n") + get,
	post("TRANSFER-ENCODING:\tChunked \r\n", "0\r\nX-Sum: 1\r\n\r\n") + get,
	"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n\x16\x03\x01\n",
	"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\n",
	"GET / HTTP/1.0\r\n\r\n" + get, post("X: \xff\xfe\t\"\r\n", "") + get,
}

var doubtful = map[string]string{
	"length and chunks":     post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
	"chunks and length":     post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n"),
	"the same length twice": post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
	"two lengths":           post("Content-Length: 5\r\nContent-Length: 0\r\n", "hello"),
	"a list of lengths":     post("Content-Length: 5, 5\r\n", "hello"),
	"a signed length":       post("Content-Length: +5\r\n", "hello"),
	"an empty length":       post("Content-Length:\r\n", ""),
	"a huge length":         post("Content-Length: 9223372036854775808\r\n", ""),
	"two encodings":         post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
	"other encodings":       post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
	"identity":              post("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", "hello"),
	"chunks in HTTP/1.0":    "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"a folded header":       post("X: a\r\n b\r\n", ""),
	"a folded first header": "GET / HTTP/1.1\r\n Host: x\r\n\r\n",
	"a folded length":       post("X: a\r\n\tContent-Length: 5\r\n", "hello"),
	"space before a colon":  post("Content-Length : 5\r\n", "hello"),
	"no colon":              post("Content-Length\r\n", ""),
	"no name":               post(": x\r\n", ""),
	"a name in Latin-1":     post("X\xe4: x\r\n", ""),
	"CR in a value":         post("X: a\rContent-Length: 5\r\n", "hello"),
	"CR CR LF":              post("X: a\r\r\n", ""),
	"NUL in a value":        post("X: a\x00\r\n", ""),
	"VT before an encoding": post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"),
	"a bare LF":             "GET / HTTP/1.1\nHost: x\r\n\r\n",
	"a bare LF in a head":   post("X: a\n", ""),
	"a bare LF at its end":  "GET / HTTP/1.1\r\nHost: x\r\n\n",
	"a bare LF before it":   "\n" + get,
	"CONNECT with a body":   "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\nContent-Length: 5\r\n\r\nhello",
	"CONNECT with chunks":   "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"bare LFs in chunks":    post("Transfer-Encoding: chunked\r\n", "5\nhello\n0\n\n"),
	"a bare LF behind one":  post("Transfer-Encoding: chunked\r\n", "5\r\nhello\n0\r\n\r\n"),
	"a bare LF in an ext.":  post("Transfer-Encoding: chunked\r\n", "5;a\nhello\r\n0\r\n\r\n"),
	"CR in an extension":    post("Transfer-Encoding: chunked\r\n", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
	"a chunk too long":      post("Transfer-Encoding: chunked\r\n", "5\r\nhello!!\r\n0\r\n\r\n"),
	"a chunk of 0x5":        post("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n"),
	"a chunk of -5":         post("Transfer-Encoding: chunked\r\n", "-5\r\nhello\r\n0\r\n\r\n"),
	"a chunk with a space":  post("Transfer-Encoding: chunked\r\n", "5 \r\nhello\r\n0\r\n\r\n"),
	"no size":               post("Transfer-Encoding: chunked\r\n", "\r\nhello\r\n0\r\n\r\n"),
	"a huge chunk":          post("Transfer-Encoding: chunked\r\n", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
	"a length at the end":   post("Transfer-Encoding: chunked\r\n", "0\r\nContent-Length: 5\r\n\r\n"),
	"a folded trailer":      post("Transfer-Encoding: chunked\r\n", "0\r\nX: a\r\n b\r\n\r\n"),
	"a bare LF at the end":  post("Transfer-Encoding: chunked\r\n", "0\r\nX: a\r\n\n"),
}

// H69: what is framed in one way comes through as it is, and what could be framed in two is no request, nor what follows it; however
// the bytes arrive.
func TestH69Framing(t *testing.T) {
	for _, s := range fine {
		want, bad := ends([]byte(s), func(int) int { return 1 })
		if bad || len(want) == 0 {
			t.Errorf("%q: ends %v, bad: %v", s, want, bad)
		}
		for piece := 1; piece <= len(s); piece++ {
			if got := netHTTP([]byte(s), piece); !slices.Equal(got, want) {
				t.Errorf("%q in pieces of %d: net/http sees ends at %v, want %v", s, piece, got, want)
			}
			r := &reader{r: &pieces{strings.NewReader(s), piece}}
			b, err := io.ReadAll(r)
			r.free.Store(true)
			rest, err2 := io.ReadAll(r)
			if err != nil || err2 != nil || string(b)+string(rest) != s || len(rest) > 0 && len(b) != want[len(want)-1] {
				t.Fatalf("%q came through as %q, %v", s, b, err)
			}
		}
	}
	for name, s := range doubtful {
		for piece := 1; piece <= len(s); piece++ {
			if got := netHTTP([]byte(s+get), piece); len(got) > 0 {
				t.Errorf("%s, in pieces of %d: net/http sees ends at %v", name, piece, got)
			}
			if got := netHTTP([]byte(get+s+get), piece); len(got) != 1 {
				t.Errorf("%s behind another, in pieces of %d: net/http sees ends at %v", name, piece, got)
			}
		}
	}
}

// What net/http takes for requests are those that this package saw, and no others, wherever the input is split.
func FuzzFraming(f *testing.F) {
	for _, s := range fine {
		f.Add([]byte(s), 3)
	}
	for _, s := range doubtful {
		f.Add([]byte(s+get), 7)
	}
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		if len(b) > 1<<12 {
			return
		}
		want, bad := ends(b, func(int) int { return 1 })
		for _, n := range []int{1 + (piece&0xff)%max(1, len(b)), max(1, len(b))} {
			at := 0
			var whole framing
			broken := false
			for at < len(b) && !broken {
				k := min(n, len(b)-at)
				broken = whole.follow(b[at:at+k]) < k && whole.part != other
				at += k
			}
			if broken != bad {
				t.Fatalf("in pieces of %d it is bad: %v, byte by byte %v", n, broken, bad)
			}
			got := netHTTP(b, n)
			if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
				t.Fatalf("net/http sees ends at %v, this package at %v", got, want)
			}
		}
	})
}

func BenchmarkHead(b *testing.B) {
	head := []byte(strings.Replace(get, "\r\n\r\n", "\r\nAuthorization: Bearer "+strings.Repeat("x", 900)+"\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n", 1))
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	var f framing
	for b.Loop() {
		if f.follow(head) != len(head) {
			b.Fatal("it is good")
		}
	}
}
