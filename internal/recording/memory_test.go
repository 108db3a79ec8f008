package recording

import (
	"runtime"
	"testing"

	"gatebook/internal/access"
)

// A stream of any length is recorded with no allocation per chunk, and sealed with memory that does not grow with it:
// what sealing allocates, in all, for eight times the bytes is about the same.
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
	if large > small+1<<20 {
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
