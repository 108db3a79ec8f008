package detect

import "encoding/binary"

// filter finds where matches may begin, all ways in which they may in one scan: at every second position it looks up three
// bytes in a table that fits the processor's cache, upper and lower case being one.
//
//	text:    … x  g  h  p  _  a …
//	looked at:    └──┴──┘              at this position, or
//	               └──┴──┘  two later; either of the two triples that an anchor's four bytes hold is met
type filter struct {
	table   [1 << hashBits / 64]uint64
	buckets []uint16 // number of a list + 1; none where nothing was added
	lists   [][]entry
	anchors []anchor
	longest int // of anchors
}

const hashBits = 16

// entry is an anchor whose chosen bytes begin shift bytes before the triple.
type entry struct {
	anchor uint32
	shift  uint8
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
	for shift := range 2 {
		i := a.chosen + shift
		f.enter(at(i), at(i+1), at(i+2), entry{number, uint8(shift)})
	}
	return true
}

func (f *filter) enter(x, y, z class, e entry) {
	for _, b0 := range x.members() {
		for _, b1 := range y.members() {
			for _, b2 := range z.members() {
				f.put(hash(uint32(b0)|uint32(b1)<<8|uint32(b2)<<16), e)
			}
		}
	}
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
	for {
		// Four at once, so that the processor need not wait for one after the other.
		for ; i+12 <= len(b); i += 8 {
			c := b[i : i+12 : i+12]
			v := binary.LittleEndian.Uint64(c) | 0x2020202020202020
			h0 := uint32(v) << 8 * 0x9e3779b1 >> (32 - hashBits)
			h1 := uint32(v>>16) << 8 * 0x9e3779b1 >> (32 - hashBits)
			h2 := uint32(v>>32) << 8 * 0x9e3779b1 >> (32 - hashBits)
			h3 := (uint32(v>>48)<<8 | uint32(c[8]|0x20)<<24) * 0x9e3779b1 >> (32 - hashBits)
			if (t[h0>>6]>>(h0&63)|t[h1>>6]>>(h1&63)|t[h2>>6]>>(h2&63)|t[h3>>6]>>(h3&63))&1 != 0 {
				break
			}
		}
		for end := i + 8; i < end; i += 2 {
			if i+3 > len(b) {
				return -1
			}
			h := hash(uint32(b[i]) | uint32(b[i+1])<<8 | uint32(b[i+2])<<16)
			if t[h>>6]>>(h&63)&1 != 0 {
				return i
			}
		}
	}
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
