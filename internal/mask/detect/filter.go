package detect

import "encoding/binary"

// filter finds where matches may begin, all ways in which they may in one scan: at every second position it looks up three
// bytes in a table that fits the processor's cache, upper and lower case being one.
//
//	text:    … x  g  h  p  _  a …
//	looked at:    └──┴──┘              at this position, or
//	               └──┴──┘  two later; either of the two triples that an anchor's four bytes hold is met
type filter struct {
	table [1 << hashBits / 64]uint64
	// fours are all four bytes of anchors, by which most of what the triples let through is sorted out; wide are triples of
	// anchors whose four bytes may be too many.
	fours   [1 << fourBits / 64]uint64
	wide    [1 << hashBits / 64]uint64
	buckets []uint16 // number of a list + 1; none where nothing was added
	lists   [][]entry
	anchors []anchor
	longest int // of anchors
}

const (
	hashBits = 16
	fourBits = 18
	// maxFours is how many four bytes an anchor may have to be sorted out by them.
	maxFours = 1 << 14
)

// entry is an anchor whose chosen bytes begin shift bytes before the triple.
type entry struct {
	anchor uint32
	shift  uint8
	// of the eight bytes from the chosen ones on, in lower case, those that mask has must be as in want.
	mask, want uint64
}

// may reports whether e's anchor may be where it was found, by a triple at position i.
func (e *entry) may(b []byte, i int) bool {
	i -= int(e.shift)
	return i < 0 || i+8 > len(b) || (binary.LittleEndian.Uint64(b[i:])|0x2020202020202020)&e.mask == e.want
}

// anchor is one way in which matches of some rules begin.
type anchor struct {
	bytes []class
	// chosen is where in bytes the four stand by which it is found.
	chosen int
	name   bool // all of a name, of rules of the assigned form
	rules  []uint32
}

// fold is what makes upper and lower case of letters one.
const fold = 0x20202020

func hashFour(w uint32) uint32 { return (w | fold) * 0x85ebca6b >> (32 - fourBits) }

func hash(w uint32) uint32 { return (w | fold) << 8 * 0x9e3779b1 >> (32 - hashBits) }

// maxTriples is how many triples of bytes may lead to an anchor: with more, it would be found everywhere.
const maxTriples = 12000

// add puts in an anchor, and reports whether it can be found.
func (f *filter) add(a anchor) bool {
	any := afterName
	if !a.name {
		any = class{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	}
	at := func(i int) class {
		c := any
		if i < len(a.bytes) {
			c = a.bytes[i]
		}
		for b := byte('A'); b <= 'Z'; b++ {
			if c.has(b) {
				c.add(b | 0x20)
			}
		}
		var folded class
		for b := range 256 {
			if c.has(byte(b)) {
				folded.add(byte(b) | 0x20)
			}
		}
		return folded
	}
	best := maxTriples + 1
	for i := 0; i+2 <= len(a.bytes) && (i == 0 || i+4 <= len(a.bytes)); i++ {
		x, y, z, w := at(i), at(i+1), at(i+2), at(i+3)
		if n := x.size()*y.size()*z.size() + y.size()*z.size()*w.size(); n < best {
			best, a.chosen = n, i
		}
	}
	if best > maxTriples {
		return false
	}
	if f.buckets == nil {
		f.buckets = make([]uint16, 1<<hashBits)
	}
	number := uint32(len(f.anchors))
	f.anchors = append(f.anchors, a)
	f.longest = max(f.longest, len(a.bytes))
	four := [4]class{at(a.chosen), at(a.chosen + 1), at(a.chosen + 2), at(a.chosen + 3)}
	wide := four[0].size()*four[1].size()*four[2].size()*four[3].size() > maxFours
	var mask, want uint64
	for i := range 8 {
		if c := at(a.chosen + i); c.size() == 1 {
			mask |= 0xff << (8 * i)
			want |= uint64(c.members()[0]) << (8 * i)
		}
	}
	for shift := range 2 {
		each(four[shift:shift+3], func(w uint32) {
			f.put(hash(w), entry{number, uint8(shift), mask, want})
			if h := hash(w); wide {
				f.wide[h>>6] |= 1 << (h & 63)
			}
		})
	}
	if !wide {
		each(four[:], func(w uint32) { h := hashFour(w); f.fours[h>>6] |= 1 << (h & 63) })
	}
	return true
}

// each gives all words that are made of one byte of each class, the first lowest.
func each(classes []class, fn func(w uint32)) {
	if len(classes) == 0 {
		fn(0)
		return
	}
	first := classes[0].members()
	each(classes[1:], func(w uint32) {
		for _, b := range first {
			fn(w<<8 | uint32(b))
		}
	})
}

func (f *filter) put(h uint32, e entry) {
	f.table[h>>6] |= 1 << (h & 63)
	n := &f.buckets[h]
	if *n == 0 {
		f.lists = append(f.lists, nil)
		*n = uint16(len(f.lists))
	}
	list := &f.lists[*n-1]
	for _, have := range *list {
		if have == e {
			return
		}
	}
	*list = append(*list, e)
}

// next gives the first position of b, of i, i+2, i+4 and so on, whose three bytes an anchor holds; -1 where none is.
func (f *filter) next(b []byte, i int) int {
	t := &f.table
	// Four at once, so that the processor need not wait for one after the other.
	for ; i+12 <= len(b); i += 8 {
		c := b[i : i+12 : i+12]
		v := binary.LittleEndian.Uint64(c) | 0x2020202020202020
		h0 := uint32(v) << 8 * 0x9e3779b1 >> (32 - hashBits)
		h1 := uint32(v>>16) << 8 * 0x9e3779b1 >> (32 - hashBits)
		h2 := uint32(v>>32) << 8 * 0x9e3779b1 >> (32 - hashBits)
		h3 := (uint32(v>>48)<<8 | uint32(c[8]|0x20)<<24) * 0x9e3779b1 >> (32 - hashBits)
		w0, w1, w2, w3 := t[h0>>6]>>(h0&63), t[h1>>6]>>(h1&63), t[h2>>6]>>(h2&63), t[h3>>6]>>(h3&63)
		if (w0|w1|w2|w3)&1 == 0 {
			continue
		}
		switch {
		case w0&1 != 0 && f.holds(b, i, h0):
			return i
		case w1&1 != 0 && f.holds(b, i+2, h1):
			return i + 2
		case w2&1 != 0 && f.holds(b, i+4, h2):
			return i + 4
		case w3&1 != 0 && f.holds(b, i+6, h3):
			return i + 6
		}
	}
	for ; i+3 <= len(b); i += 2 {
		h := hash(uint32(b[i]) | uint32(b[i+1])<<8 | uint32(b[i+2])<<16)
		if t[h>>6]>>(h&63)&1 != 0 && f.holds(b, i, h) {
			return i
		}
	}
	return -1
}

// holds sorts out of what the triple at position i let through, whose hash is h, what has no anchor's four bytes.
func (f *filter) holds(b []byte, i int, h uint32) bool {
	if i == 0 || i+4 > len(b) || f.wide[h>>6]>>(h&63)&1 != 0 {
		return true
	}
	x, y := hashFour(binary.LittleEndian.Uint32(b[i:])), hashFour(binary.LittleEndian.Uint32(b[i-1:]))
	return (f.fours[x>>6]>>(x&63)|f.fours[y>>6]>>(y&63))&1 != 0
}

// at gives the list of what may begin around the triple at position i.
func (f *filter) at(b []byte, i int) []entry {
	n := f.buckets[hash(uint32(b[i])|uint32(b[i+1])<<8|uint32(b[i+2])<<16)]
	if n == 0 {
		return nil
	}
	return f.lists[n-1]
}

// begins reports whether a begins at position i.
func (a *anchor) begins(b []byte, i int) bool {
	if i < 0 || len(b)-i < len(a.bytes) {
		return false
	}
	b = b[i : i+len(a.bytes)]
	for j := a.chosen; j < len(b); j++ { // these say no soonest
		if !a.bytes[j].has(b[j]) {
			return false
		}
	}
	for j := range a.chosen {
		if !a.bytes[j].has(b[j]) {
			return false
		}
	}
	return true
}
