package recording

import "sync"

// maxChunk is the most payload or stream bytes in one frame.
const maxChunk = 64 << 10

// batch is a group of frames on its way to the journal. Its memory is used again and again, so that a stream chunk
// costs no allocation.
type batch struct {
	arena  []byte
	ends   []int
	frames [][]byte
}

// batches is a pool of them: as many as appends are under way, not as many as operations are open.
type batches struct{ pool sync.Pool }

func (p *batches) get() *batch {
	if b, ok := p.pool.Get().(*batch); ok {
		return b
	}
	return &batch{arena: make([]byte, 0, maxChunk+1<<10)}
}

// maxKept is the largest arena that goes back to the pool: one of a large request's is left to the collector.
const maxKept = 1 << 20

func (p *batches) put(b *batch) {
	if cap(b.arena) <= maxKept {
		b.reset()
		p.pool.Put(b)
	}
}

func (b *batch) reset() {
	clear(b.frames)
	b.arena, b.ends, b.frames = b.arena[:0], b.ends[:0], b.frames[:0]
}

// end says that what was appended to arena since the last end is one frame.
func (b *batch) end() { b.ends = append(b.ends, len(b.arena)) }

// group gives the frames. They share the arena's memory until the next append to it.
func (b *batch) group() [][]byte {
	b.frames = b.frames[:0]
	start := 0
	for _, end := range b.ends {
		b.frames = append(b.frames, b.arena[start:end:end])
		start = end
	}
	return b.frames
}
