package model

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A client that leaves in the midst of an answer: what it had is on record, the provider is let go, and it counts.
func TestLeavingInAStream(t *testing.T) {
	gone := make(chan bool, 1)
	const text = "some words that were said before"
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		chunks(delta("text_delta", "text", text))(rw, r)
		<-r.Context().Done()
		gone <- true
	})
	ctx, leave := contextOf(t)
	r, err := http.NewRequestWithContext(ctx, "POST", w.front.URL+"/v1/messages", strings.NewReader(question1))
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultTransport.RoundTrip(r)
	must(t, err)
	if _, err := io.ReadFull(resp.Body, make([]byte, 50)); err != nil {
		t.Fatal(err)
	}
	leave()
	resp.Body.Close()
	<-gone
	book := string(w.recorded())
	out := w.rows()[0].Outcome
	if a := out.Answer; out.Truncated != "the client went away" || a == nil || !a.Estimated || a.OutputTokens != int64(len(text))/4 || a.InputTokens != int64(len(question1))/4 || !strings.Contains(book, text) {
		t.Errorf("%+v %+v", out, a)
	}
}

// A stream that ends as HTTP has it, and does not say that it was all, goes on as it came, and the record says that it broke off.
func TestStreamThatDoesNotEnd(t *testing.T) {
	for name, c := range map[string]struct {
		path string
		flow string
		last string // of the events, without which it is not whole
	}{
		"messages":  {"/v1/messages", "messages.sse", "event: message_stop"},
		"chat":      {"/v1/chat/completions", "chat.sse", `"finish_reason":"`},
		"responses": {"/v1/responses", "responses.sse", "event: response.completed"},
	} {
		t.Run(name, func(t *testing.T) {
			whole := flow(t, c.flow)
			at := strings.LastIndex(whole, c.last)
			if at < 0 {
				t.Fatalf("no %q", c.last)
			}
			if at = strings.LastIndex(whole[:at], "\n\n"); at < 0 {
				t.Fatal("nothing comes before it")
			}
			for _, said := range []string{whole, whole[:at+2]} {
				w := newWorld(t, chunks(said))
				got := w.do("POST", c.path, question1)
				out := w.rows()[0].Outcome
				if got.broken != nil || got.body != said || (out.Truncated == "") != (said == whole) {
					t.Errorf("of %d bytes of %d the client got %d, %v; on record: truncated %q", len(said), len(whole), len(got.body), got.broken, out.Truncated)
				}
			}
		})
	}
}
