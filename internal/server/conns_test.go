package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"gatebook/internal/protocol"
)

// keyed shows its token in a header of its own, and tells the trace.
type keyed struct{ seen }

func (keyed) Token(r *http.Request) string {
	v := r.Header.Get("X-Api-Key")
	r.Header.Del("X-Api-Key")
	return v
}

func (keyed) Serve(w http.ResponseWriter, r *http.Request, by protocol.Caller) {
	_, _ = io.WriteString(w, by.Principal.Name+" "+by.Trace+" "+r.Header.Get("X-Api-Key")+" "+r.Header.Get("Authorization"))
}

const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestCarriers(t *testing.T) {
	_, c, url := start(t, keyed{})
	for _, x := range []struct{ key, header, want string }{
		{"good", "", "ada   "},
		{"good~" + trace, "", "ada " + trace + "  "},
		{"good", trace, "ada " + trace + "  "},
		{"good~" + trace, "00-other", "ada " + trace + "  "}, // what came with the credential goes first
		{"bad~" + trace, "", "Unauthenticated\n"},
		{"~good", "", "Unauthenticated\n"},
		{"", "", "Unauthenticated\n"},
	} {
		r, err := http.NewRequest("GET", url+"/t/prod/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", x.key)
		if x.header != "" {
			r.Header.Set("Traceparent", x.header)
		}
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(b) != x.want {
			t.Errorf("%+v: %q, %v", x, b, err)
		}
	}
}

// echo lets in whoever says the token, and echoes until it is cut.
type echo struct{}

func (echo) ServeConn(ctx context.Context, c net.Conn, d protocol.Door) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	in := bufio.NewScanner(c)
	for first := true; in.Scan(); first = false {
		if first {
			by, err := d.Authenticate(ctx, in.Text())
			if err != nil {
				fmt.Fprintln(c, "no")
				return
			}
			fmt.Fprintln(c, by.Principal.Name, by.Session, by.Trace)
			continue
		}
		if in.Text() == "panic" {
			panic("asked to")
		}
		fmt.Fprintln(c, in.Text())
	}
}

func TestServeConns(t *testing.T) {
	s, _, _ := start(t, seen{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.ServeConns(l, echo{}) }()
	say := func(lines ...string) (net.Conn, []string) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		in := bufio.NewScanner(c)
		var out []string
		for _, line := range lines {
			fmt.Fprintln(c, line)
			in.Scan()
			out = append(out, in.Text())
		}
		return c, out
	}
	if _, got := say("bad"); got[0] != "no" {
		t.Errorf("got %q", got)
	}
	if _, got := say("good~"+trace, "panic"); got[0] != "ada S "+trace || got[1] != "" {
		t.Errorf("got %q", got)
	}
	open, got := say("good", "hello")
	if got[1] != "hello" {
		t.Errorf("got %q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	s.Shutdown(ctx) // waits for what runs, then cuts it
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n, err := open.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes after the shutdown", n)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("a connection is accepted after the shutdown")
	}
}

var _ protocol.Carrier = keyed{}
