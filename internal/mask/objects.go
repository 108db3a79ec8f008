package mask

import (
	"io"
	"slices"
)

const (
	// batch is how much of settled objects is passed on at once. Within that an object is hidden also what those after
	// it make known.
	batch = 256 << 10
	// maxAhead is how much is held for an object to end: more than the largest that an API server stores, with its
	// metadata. Of a longer one the rest is searched as it passes.
	maxAhead = 4 << 20
)

// Objects is JSON with known values looked for, in which nothing of an object goes out before all of it was read: what its
// fields make known is hidden in all of it, also where it stands before them. An object is a document, and each element of
// an array that the document has under one of the keys lists.
//
// Elements are passed on some 256 KiB at a time, or with Flush; a document with its last byte or soon after. At most 4 MiB are held.
func (s *Scope) Objects(dst io.Writer, shape *Shape, lists ...string) *JSONWriter {
	w := s.JSON(dst, shape, true)
	w.p.ahead, w.p.lists = true, lists
	return w
}

// noteKey notes which field of the document comes next.
func (p *parser) noteKey(key []byte) {
	if p.ahead && len(p.stack) == 1 {
		p.inList = slices.ContainsFunc(p.lists, func(l string) bool { return l == string(key) })
	}
}

// settleObject notes that an object or array has ended at position end of the piece.
func (p *parser) settleObject(end int) {
	if p.ahead && len(p.stack) == 2 && p.inList && p.stack[0].object && !p.stack[1].object {
		p.settled = len(p.out) + end - p.from
	}
}

// settleDocument notes that a document has ended, and what stands after it.
func (p *parser) settleDocument() {
	if p.ahead && p.between() {
		p.settled = len(p.out)
	}
}

// ready gives how much of out may be passed on, searched. all says that nothing need be waited for but objects.
func (p *parser) ready(all bool) int {
	if !p.ahead {
		return len(p.out)
	}
	if p.settled < batch && !all && !p.between() {
		if len(p.out) < maxAhead {
			return 0
		}
		p.letGo()
	}
	p.settled = p.sweep(p.settled)
	return p.settled
}

// gone drops the first n bytes of out.
func (p *parser) gone(n int) {
	p.out = p.out[:copy(p.out, p.out[n:])]
	p.shift(n, -n)
	p.swept = max(0, p.swept-n)
}

// letGo settles what was read of an object that is too long. A string that it ends in is searched from now on as it
// passes, from its start.
func (p *parser) letGo() {
	if p.inside && p.skipped {
		p.sweep(p.open)
		text := append(p.room[:0], p.out[p.open:]...)
		p.ownStream().reset()
		p.stream.prime(p.before, true)
		p.out, p.room, p.skipped = p.stream.write(p.out[:p.open], text), text, false
	}
	p.settled = len(p.out)
}
