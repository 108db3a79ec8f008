package kubernetes

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatebook/internal/access"
)

// I80: a client that reads nothing cannot outlast its revocation by that.
func TestI80CutOfAStuckDownload(t *testing.T) {
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
	c, err := net.Dial("tcp", strings.TrimPrefix(w.front.URL, "http://"))
	must(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET /api/v1/namespaces/a/pods/p/log HTTP/1.1\r\nHost: x\r\n\r\n")
	must(t, err)
	for last := int64(-1); sent.Load() == 0 || sent.Load() != last; time.Sleep(300 * time.Millisecond) {
		last = sent.Load() // until nothing goes on any more
	}
	w.mu.Lock()
	w.cut[0](access.Refuse(access.CodeRevoked, nil, "taken back"))
	w.mu.Unlock()
	ended := make(chan []access.Record)
	go func() { ended <- w.rows() }()
	select {
	case rows := <-ended:
		if len(rows) != 1 || rows[0].Outcome == nil || rows[0].Outcome.Truncated != "taken back" {
			t.Errorf("recorded %+v", rows)
		}
	case <-time.After(2 * time.Minute):
		t.Error("the request has not ended")
		c.Close()
		<-ended
	}
}

// A watch that is cut says why, as the API server does, where that can be said: between two events, in JSON.
func TestCutWatchSaysWhy(t *testing.T) {
	const event = `{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p"}}}` + "\n"
	for name, c := range map[string]struct {
		media, sent string
		says        bool
	}{
		"between events":      {typeJSON, event, true},
		"before any":          {typeJSON, "", true},
		"in Protobuf":         {typeProtobuf + ";stream=watch", event, false},
		"in the midst of one": {typeJSON, event + event[:20], false},
	} {
		t.Run(name, func(t *testing.T) {
			given := make(chan bool)
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", c.media)
				io.WriteString(rw, c.sent)
				rw.(http.Flusher).Flush()
				close(given)
				<-r.Context().Done()
			})
			w.decide = func(*access.Operation) (access.Decision, []string) { return access.Decision{Effect: access.Allow}, nil } // as it comes, half an event too
			resp, err := http.Get(w.front.URL + "/api/v1/namespaces/a/pods?watch=1")
			must(t, err)
			defer resp.Body.Close()
			<-given
			got := make([]byte, len(c.sent))
			_, err = io.ReadFull(resp.Body, got)
			must(t, err)
			w.mu.Lock()
			w.cut[0](access.Refuse(access.CodeRevoked, nil, "taken back"))
			w.mu.Unlock()
			rest, err := io.ReadAll(resp.Body)
			if !c.says {
				if err == nil || len(rest) > 0 {
					t.Errorf("said %q, %v", rest, err)
				}
				return
			}
			var e struct {
				Type   string
				Object metav1.Status
			}
			if must(t, err); json.Unmarshal(rest, &e) != nil || e.Type != "ERROR" || e.Object.Kind != "Status" || !strings.Contains(e.Object.Message, "taken back") || e.Object.Code < 400 {
				t.Errorf("said %s", rest)
			}
			recorded := w.recorded()
			if out := w.rows()[0].Outcome; !bytes.Contains(recorded, bytes.TrimSpace(rest)) || out.Truncated != "taken back" || out.ResponseBytes != int64(len(c.sent)+len(rest)) {
				t.Errorf("recorded %+v", out)
			}
		})
	}
}
