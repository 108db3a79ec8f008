package journal

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

const benchFrameBytes = 200

// BenchmarkAppendSynced is row 9 of the performance goals: the rate at which n waiters are made durable, against the rate of
// one write and one fdatasync per append, measured alternately in the same run. Metrics: appends/s, p50-ms of one Append,
// and the ratios to the baseline: x-rate and x-p50.
func BenchmarkAppendSynced(b *testing.B) {
	for _, waiters := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("waiters=%d", waiters), func(b *testing.B) { benchSynced(b, waiters) })
	}
}

func benchSynced(b *testing.B, waiters int) {
	j, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	base := newBaseline(b)
	const rounds = 5
	var rates, baseRates, p50s, baseP50s []float64
	for b.Loop() {
		for range rounds {
			r, p := base.run(b, 100*time.Millisecond)
			baseRates, baseP50s = append(baseRates, r), append(baseP50s, p)
			r, p = runWaiters(b, j, waiters, 200*time.Millisecond)
			rates, p50s = append(rates, r), append(p50s, p)
		}
	}
	b.ReportMetric(median(rates), "appends/s")
	b.ReportMetric(median(p50s), "p50-ms")
	b.ReportMetric(median(baseRates), "base-appends/s")
	b.ReportMetric(median(baseP50s), "base-p50-ms")
	b.ReportMetric(median(rates)/median(baseRates), "x-rate")
	b.ReportMetric(median(p50s)/median(baseP50s), "x-p50")
	b.ReportMetric(0, "ns/op")
}

// runWaiters lets n goroutines append one after another for about d, and returns appends per second and the median in ms.
func runWaiters(b *testing.B, j *Journal, n int, d time.Duration) (rate, p50 float64) {
	var wg sync.WaitGroup
	took := make([][]float64, n)
	start := time.Now()
	for w := range n {
		wg.Go(func() {
			frame := make([]byte, benchFrameBytes)
			for time.Since(start) < d {
				t := time.Now()
				if err := j.Append(Synced, frame); err != nil {
					b.Error(err)
					return
				}
				took[w] = append(took[w], ms(time.Since(t)))
			}
		})
	}
	wg.Wait()
	all := slices.Concat(took...)
	return float64(len(all)) / time.Since(start).Seconds(), median(all)
}

type baseline struct {
	file  *os.File
	at    int64
	frame []byte
}

func newBaseline(b *testing.B) *baseline {
	f, err := os.Create(filepath.Join(b.TempDir(), "baseline"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return &baseline{file: f, frame: make([]byte, frameHeaderBytes+benchFrameBytes)}
}

func (s *baseline) run(b *testing.B, d time.Duration) (rate, p50 float64) {
	var took []float64
	start := time.Now()
	for time.Since(start) < d {
		t := time.Now()
		if _, err := s.file.WriteAt(s.frame, s.at); err != nil {
			b.Fatal(err)
		}
		if err := syncData(s.file); err != nil {
			b.Fatal(err)
		}
		s.at += int64(len(s.frame))
		took = append(took, ms(time.Since(t)))
	}
	return float64(len(took)) / time.Since(start).Seconds(), median(took)
}

// BenchmarkAppendWritten is the cost of one Append that waits for the kernel only.
func BenchmarkAppendWritten(b *testing.B) {
	j, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	frame := make([]byte, benchFrameBytes)
	b.ReportAllocs()
	b.SetBytes(benchFrameBytes)
	for b.Loop() {
		if err := j.Append(Written, frame); err != nil {
			b.Fatal(err)
		}
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.SortFunc(v, cmp.Compare)
	return v[len(v)/2]
}
