package kubernetes

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	case <-time.After(20 * time.Second):
		t.Error("the request has not ended")
		c.Close()
		<-ended
	}
}
