package server

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/protocol"
)

// reader is a handler that answers with the body, some time after it has read it.
type reader struct {
	seen
	wait time.Duration
}

func (h reader) Serve(w http.ResponseWriter, r *http.Request, _ protocol.Caller) {
	b, err := io.ReadAll(r.Body)
	var why *access.Refusal
	if errors.As(err, &why) {
		http.Error(w, why.Message, http.StatusRequestTimeout)
		return
	}
	select {
	case <-time.After(h.wait):
	case <-r.Context().Done():
		return
	}
	_, _ = w.Write(b)
}

const bodyTime = 600 * time.Millisecond

func startReader(t *testing.T, http2 bool) (*http.Client, string) {
	_, c, url := start(t, reader{wait: 2 * bodyTime}, func(o *Options) { o.BodyTimeout = bodyTime })
	if tr, ok := c.Transport.(*http.Transport); ok && !http2 {
		tr.ForceAttemptHTTP2 = false
	}
	return c, url
}

func post(t *testing.T, c *http.Client, url, auth string, body io.Reader) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest("POST", url+"/t/prod/x", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", auth)
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// stuck is a body of which one byte comes, and then nothing.
func stuck() io.Reader {
	r, w := io.Pipe()
	go w.Write([]byte("a")) // it ends as the client closes the body
	return r
}

// A body that does not come is refused by the limit's name, also before anybody is known to have sent it. One that came
// in time leaves the request, and the connection, all the time that they need.
func TestBodyHasItsTime(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		c, url := startReader(t, http2)
		if resp, text := post(t, c, url, "Bearer good", stuck()); resp.StatusCode != http.StatusRequestTimeout || !strings.Contains(text, "limits.bodyTimeout, 600ms") {
			t.Errorf("%s: answered %d %q", resp.Proto, resp.StatusCode, text)
		}
		if resp, _ := post(t, c, url, "Bearer bad", stuck()); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: answered %d", resp.Proto, resp.StatusCode)
		}
		for range 2 {
			if resp, text := post(t, c, url, "Bearer good", strings.NewReader("whole")); resp.StatusCode != http.StatusOK || text != "whole" || (resp.ProtoMajor == 2) != http2 {
				t.Errorf("%s: answered %d %q", resp.Proto, resp.StatusCode, text)
			}
		}
	}
}

// Whoever is refused cannot hold the connection by the rest of a body that nobody wants.
func TestUnwantedBodyEndsTheConnection(t *testing.T) {
	c, url := startReader(t, false)
	tr, ok := c.Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), tr.TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /t/prod/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\na"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("%+v %v", resp, err)
	}
	resp.Body.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Errorf("the connection goes on: %v", err)
	}
}
