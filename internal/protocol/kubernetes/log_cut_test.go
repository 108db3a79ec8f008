package kubernetes

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"gatebook/internal/access"
)

// following is a log of one line that goes on until its reader has gone.
func following(gone chan<- struct{}) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/plain")
		io.WriteString(rw, "one\n")
		http.NewResponseController(rw).Flush()
		<-r.Context().Done()
		gone <- struct{}{}
	}
}

// A log that is followed arrives line by line; it ends when the client goes, and upstream with it.
func TestFollowedLogOverWebSocket(t *testing.T) {
	for _, how := range []string{"goodbye", "broken"} {
		gone := make(chan struct{}, 1)
		w := newWorld(t, following(gone))
		url, served := logServer(t, w)
		ws, _, err := dialLog(t, url+logURI+"&follow=true", "binary.k8s.io")
		must(t, err)
		for _, want := range []string{"", "one\n"} {
			if _, b, err := ws.ReadMessage(); err != nil || string(b) != want {
				t.Fatalf("%s: got %q, %v; want %q", how, b, err, want)
			}
		}
		must(t, ws.WriteMessage(websocket.TextMessage, []byte("this means nothing")))
		if how == "goodbye" {
			must(t, ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")))
		} else {
			must(t, ws.UnderlyingConn().Close())
		}
		<-gone
		<-served
		if o := w.rows()[0].Outcome; o.Truncated != "the client went away" || o.ResponseBytes != 4 {
			t.Errorf("%s: outcome %+v", how, o)
		}
	}
}

// I80: a revocation cuts it, without a goodbye that would make what the client has look whole.
func TestRevokedLogOverWebSocket(t *testing.T) {
	gone := make(chan struct{}, 1)
	w := newWorld(t, following(gone))
	url, served := logServer(t, w)
	ws, _, err := dialLog(t, url+logURI+"&follow=true")
	must(t, err)
	for range 2 {
		_, _, err := ws.ReadMessage()
		must(t, err)
	}
	w.mu.Lock()
	cut := w.cut[0]
	w.mu.Unlock()
	cut(access.Refuse(access.CodeRevoked, nil, "revoked by a test"))
	if _, _, err = ws.ReadMessage(); err == nil || websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseNoStatusReceived, websocket.CloseGoingAway) {
		t.Errorf("after the revocation: %v", err)
	}
	<-gone
	<-served
	if o := w.rows()[0].Outcome; o.Truncated != "revoked by a test" {
		t.Errorf("outcome %+v", o)
	}
}

// I80: a client that reads nothing cannot outlast its revocation by that, nor its own goodbye.
func TestI80CutOfAStuckLogOverWebSocket(t *testing.T) {
	for _, how := range []string{"taken back", "the client went away"} {
		var sent atomic.Int64
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/plain")
			chunk := bytes.Repeat([]byte("a line of a log\n"), 4096)
			for r.Context().Err() == nil {
				n, err := rw.Write(chunk)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		})
		url, served := logServer(t, w)
		ws, _, err := dialLog(t, url+logURI)
		must(t, err)
		for last := int64(-1); sent.Load() == 0 || sent.Load() != last; time.Sleep(300 * time.Millisecond) {
			last = sent.Load() // until nothing goes on any more
		}
		if how == "taken back" {
			w.mu.Lock()
			w.cut[0](access.Refuse(access.CodeRevoked, nil, "taken back"))
			w.mu.Unlock()
		} else {
			must(t, ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")))
		}
		select {
		case <-served:
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s: the log has not ended", how)
		}
		if o := w.rows()[0].Outcome; o.Truncated != how {
			t.Errorf("%s: outcome %+v", how, o)
		}
	}
}

// A log that the upstream breaks off does not look whole, either.
func TestBrokenLogOverWebSocket(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/plain")
		io.WriteString(rw, "one\n")
		http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	})
	url, served := logServer(t, w)
	ws, _, err := dialLog(t, url+logURI+"&follow=true")
	must(t, err)
	var closed *websocket.CloseError
	if got, err := readLog(t, ws, false); got != "one\n" || err == nil || errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure {
		t.Errorf("got %q, %v", got, err)
	}
	<-served
	if o := w.rows()[0].Outcome; !strings.Contains(o.Truncated, "broke off") {
		t.Errorf("outcome %+v", o)
	}
}
