package recording

import (
	"runtime"
	"testing"

	"gatebook/internal/access"
)

// A stream of any length is recorded with no allocation per chunk, and sealed with memory that does not grow with it:
// eight times the bytes, 14 MiB more, make it allocate less than half of these more, in all. (It is far less; under the
// race detector, pools forget.)
func TestMemoryDoesNotGrowWithTheStream(t *testing.T) {
	b := newBook(t)
	b.segmentBytes = 64 << 20
	b.mustStart(func(o *Options) { o.Index = nil })
	o := begin(t, b, "s", "c", "")
	chunk := make([]byte, 32<<10)
	if n := testing.AllocsPerRun(200, func() { write32(t, o, chunk) }); n > 4 { // the journal's, for a batch's waiters
		t.Errorf("%v allocations per chunk", n)
	}
	allocated := func(chunks int) uint64 {
		for range chunks {
			write32(t, o, chunk)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := b.Seal(); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	allocated(1)
	small, large := allocated(64), allocated(512)
	if large > small+7<<20 {
		t.Errorf("sealing 16 MiB allocates %d bytes, 2 MiB %d", large, small)
	}
	end(t, o, access.Outcome{})
}

func write32(t *testing.T, o *Operation, chunk []byte) {
	t.Helper()
	if err := o.Write(Stdout, ToClient, chunk); err != nil {
		t.Fatal(err)
	}
}
