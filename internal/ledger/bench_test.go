package ledger

import (
	"fmt"
	"syscall"
	"testing"
)

const benchEntryBytes = 200

// BenchmarkAppend is row 8 of the performance goals: what one entry of 200 bytes costs, its checkpoints included, with a checkpoint after
// so many entries. cpu-us/entry is the process's user and system time; the goal is 1/15 of Tessera POSIX's, bench row 8.
func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 64, 1024, 16384} {
		b.Run(fmt.Sprintf("checkpoint=%d", batch), func(b *testing.B) { benchAppend(b, batch) })
	}
}

func benchAppend(b *testing.B, batch int) {
	k := newKey(b, testOrigin)
	l := openLog(b, b.TempDir(), k)
	entry := make([]byte, benchEntryBytes)
	b.ReportAllocs()
	before, n := cpuSeconds(b), 0
	for b.Loop() {
		entry[0], entry[1], entry[2] = byte(n), byte(n>>8), byte(n>>16)
		if _, err := l.Append(entry); err != nil {
			b.Fatal(err)
		}
		if n++; n%batch == 0 {
			if _, err := l.Checkpoint(); err != nil {
				b.Fatal(err)
			}
		}
	}
	if _, err := l.Checkpoint(); err != nil {
		b.Fatal(err)
	}
	if err := l.Close(); err != nil { // settles
		b.Fatal(err)
	}
	b.ReportMetric((cpuSeconds(b)-before)*1e6/float64(n), "cpu-us/entry")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "durable-entries/s")
}

func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func BenchmarkVerify(b *testing.B) {
	const size = 100_000
	k, dir := newKey(b, testOrigin), b.TempDir()
	l := openLog(b, dir, k)
	for range size {
		if _, err := l.Append(make([]byte, benchEntryBytes)); err != nil {
			b.Fatal(err)
		}
	}
	checkpoint(b, l)
	for b.Loop() {
		if _, err := Verify(dir, k.verifier); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(size*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
