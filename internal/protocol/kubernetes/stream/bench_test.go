package stream_test

import (
	"fmt"
	"io"
	goruntime "runtime"
	"testing"

	client "k8s.io/client-go/tools/remotecommand"

	"gatebook/internal/mask"
	"gatebook/internal/protocol/kubernetes/stream"
)

// meter counts what it is given, and looks at the heap, when half has come and at the end.
type meter struct {
	n, half int64
	heap    []float64
}

func (m *meter) Write(p []byte) (int, error) {
	before := m.n
	m.n += int64(len(p))
	if before < m.half && m.n >= m.half {
		m.look()
	}
	return len(p), nil
}

// look measures what is alive, in KiB: of client, gateway and runtime together, as all are this process.
func (m *meter) look() {
	goruntime.GC()
	var s goruntime.MemStats
	goruntime.ReadMemStats(&s)
	m.heap = append(m.heap, float64(s.HeapAlloc)/1024)
}

// BenchmarkLongOutput sends b.N MiB through one exec, masked. grown-KiB is how much more is alive at its end than at its
// half: nothing of it may depend on the length. A stream of 10 GiB: -benchtime 10240x.
func BenchmarkLongOutput(b *testing.B) {
	for _, protocol := range []string{"ws/v5.channel.k8s.io", "spdy/v4.channel.k8s.io"} {
		b.Run(protocol, func(b *testing.B) {
			e, err := mask.New(mask.Options{Key: make([]byte, 32)})
			if err != nil {
				b.Fatal(err)
			}
			e.Learn([]byte("correct-horse-battery-staple"))
			f := func(dst io.Writer) stream.Text { return e.Scope("session").Text(dst) }
			g := newGateway(b, apiServer(b, runtime(b, host{}, nil)), stream.Masks{Client: f, Record: f, Digest: digest})
			g.book.forgetful = true
			m := &meter{half: int64(b.N) << 19}
			o := client.StreamOptions{Stdout: m}
			b.SetBytes(1 << 20)
			b.ResetTimer()
			command := fmt.Sprintf("yes 'a line of output, as a program writes it' | head -c %d", int64(b.N)<<20)
			if err := executor(b, g.URL, protocol, "pod", o, "sh", "-c", command).StreamWithContext(b.Context(), o); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			m.look()
			if m.n != int64(b.N)<<20 {
				b.Fatalf("%d bytes came of %d MiB", m.n, b.N)
			}
			b.ReportMetric(m.heap[1]-m.heap[0], "grown-KiB")
			<-g.outcomes
		})
	}
}
