package recording

import (
	"bytes"
	"fmt"
	"syscall"
	"testing"
	"time"

	"gatebook/internal/access"
)

func startBench(b *testing.B, d Durability) (*book, *Operation) {
	bk := newBook(b)
	bk.segmentBytes = 64 << 20
	bk.mustStart(func(o *Options) { o.Durability, o.Index = d, nil })
	return bk, begin(b, bk, "s", "kubectl exec web -- cat big", "")
}

// cpu gives the process's processor time so far: on a shared machine the only figure that holds.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkWrite is the hot path: a chunk of a stream, hashed and journaled.
func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{256, 4 << 10, 32 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			bk, o := startBench(b, Power)
			data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			written, began, n := 0, cpu(b), 0
			for b.Loop() {
				n++
				if err := o.Write(Stdout, ToClient, data); err != nil {
					b.Fatal(err)
				}
				if written += size; written > 1<<30 { // keep the disk small
					b.StopTimer()
					at := cpu(b)
					if err := bk.Seal(); err != nil {
						b.Fatal(err)
					}
					began += cpu(b) - at
					written = 0
					b.StartTimer()
				}
			}
			b.ReportMetric((cpu(b)-began).Seconds()/(float64(n)*float64(size)/1e9), "cpu-s/GB")
			end(b, o, access.Outcome{})
		})
	}
}

// BenchmarkOperation is a small read: begin and end, no payload.
func BenchmarkOperation(b *testing.B) {
	bk, _ := startBench(b, Power)
	op := operation(bk, "s", "kubectl get pods")
	b.ReportAllocs()
	for b.Loop() {
		o, err := bk.Begin(op, access.Decision{Effect: access.Allow}, nil, nil, false)
		if err != nil {
			b.Fatal(err)
		}
		end(b, o, access.Outcome{Code: 200})
	}
}

// BenchmarkSeal is the way from the journal to the archive: read, compress, encrypt, write, sync.
func BenchmarkSeal(b *testing.B) {
	bk, o := startBench(b, Crash)
	line := []byte(`{"level":"info","ts":"2026-03-01T12:00:00Z","msg":"request served","path":"/api/v1/pods","code":200,"ms":12}` + "\n")
	data := bytes.Repeat(line, maxChunk/len(line))
	const chunks = 500
	b.SetBytes(int64(chunks * len(data)))
	b.ReportAllocs()
	var used time.Duration
	n := 0
	for b.Loop() {
		n++
		b.StopTimer()
		for range chunks {
			if err := o.Write(Stdout, ToClient, data); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		at := cpu(b)
		if err := bk.Seal(); err != nil {
			b.Fatal(err)
		}
		used += cpu(b) - at
	}
	b.ReportMetric(used.Seconds()/(float64(n)*float64(chunks*len(data))/1e9), "cpu-s/GB")
	end(b, o, access.Outcome{})
}
