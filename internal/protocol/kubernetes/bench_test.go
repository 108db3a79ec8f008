package kubernetes

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
)

// What a request costs before it reaches the gate: a read without a body, and a write of 1 KiB.
func BenchmarkExchange(b *testing.B) {
	masks, err := mask.New(mask.Options{Key: bytes.Repeat([]byte{7}, 32)})
	must(b, err)
	shapes, err := compileShapes()
	must(b, err)
	h := &Handler{o: Options{Target: access.Target{Name: "t"}, Masks: masks, Now: time.Now, Limits: Limits{}.withDefaults()}, shapes: shapes}
	for _, c := range []struct{ name, method, uri, body string }{
		{"get", "GET", "/api/v1/namespaces/a/pods/p", ""},
		{"create", "POST", "/api/v1/namespaces/a/configmaps", `{"kind":"ConfigMap","metadata":{"name":"c"},"data":{"k":"` + strings.Repeat("v ", 512) + `"}}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := http.NewRequest(c.method, c.uri, strings.NewReader(c.body))
				must(b, err)
				r.Header = header("Accept", typeJSON, "User-Agent", "kubectl/v1.36", "Content-Type", typeJSON)
				if _, why := h.newExchange(r, protocol.Caller{Session: "s"}); why != nil {
					b.Fatal(why)
				}
			}
		})
	}
}
