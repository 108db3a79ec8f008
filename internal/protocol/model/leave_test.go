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
