package model

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"gatebook/internal/access"
)

// aPrompt is a request of about that many bytes, in turns of 4 KiB, as an agent's conversation grows.
func aPrompt(size int) string {
	var b strings.Builder
	b.WriteString(`{"model":"claude-x","stream":true,"max_tokens":64000,"messages":[{"role":"user","content":"do it"}`)
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, `,{"role":"assistant","content":[{"type":"tool_use","id":"t%d","name":"Bash","input":{"command":"cat f"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t%d","content":%q}]}`,
			i, i, strings.Repeat("some text that stands in a file\n", 128))
	}
	b.WriteString("]}")
	return b.String()
}

// BenchmarkQuestion reads a request. Memory: what is kept of it, not a copy.
func BenchmarkQuestion(b *testing.B) {
	for _, size := range []int{50 << 10, 1 << 20, 30 << 20} {
		body := []byte(aPrompt(size))
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				var m access.Model
				if _, err := readQuestion(apiMessages, body, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkExchange reads, searches and masks a request: all that is done before it is decided.
func BenchmarkExchange(b *testing.B) {
	w := newWorld(b, nil, func(o *Options) { o.Limits.RequestBodyBytes = 64 << 20 })
	for _, size := range []int{50 << 10, 1 << 20, 30 << 20} {
		body := aPrompt(size)
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest("POST", "/v1/messages", strings.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				if _, why := w.h.newExchange(r, w.by); why != nil {
					b.Fatal(why)
				}
			}
		})
	}
}

// BenchmarkStream relays, reads, masks and records an answer of 10,000 events; per event is what a token costs.
func BenchmarkStream(b *testing.B) {
	const events = 10_000
	one := delta("text_delta", "text", "some words ")
	w := newWorld(b, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", stream)
		for range events {
			io.WriteString(rw, one)
		}
	})
	w.masks.Learn([]byte("kn0wn-S3cret/value+42"))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for b.Loop() {
		r := httptest.NewRequest("POST", "/v1/messages", strings.NewReader(question1))
		r.Header.Set("Content-Type", "application/json")
		w.h.Serve(&discard{header: http.Header{}}, r, w.by)
	}
	runtime.ReadMemStats(&after)
	n := float64(b.N * events)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/event")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/n, "allocs/event")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/n, "B/event")
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Flush()                      {}
