package mask

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"sync/atomic"
)

const (
	// windowBytes is how many characters the filter looks at, at each position of a stream.
	windowBytes = 8
	// shortBytes is from how many characters on the start of a value is noticed at all; see stream.flush.
	shortBytes = 4
	// maxPattern is the longest pattern; a longer value is kept as several, of pieceBytes and the rest.
	maxPattern = 512
	pieceBytes = 256
	levels     = 6 // prefixes of 8, 16, … 256 bytes
	// maxForms is in how many ways eight characters of a pattern's start may be written: raw, hexadecimal in both
	// cases, and base64 at three alignments in two alphabets.
	maxForms      = 9
	firstCapacity = 1024
	// filterBits is the filter's size per pattern, up to maxFilterBits in all.
	filterBits    = 512
	maxFilterBits = 1 << 24
)

// record is all that is kept of one pattern.
type record struct {
	MAC     digest
	Size    uint16
	More    bool // a further piece of a longer value
	Forms   uint8
	Tags    [levels]uint32
	Windows [maxForms]uint32
	Shorts  [maxForms]uint32
}

// firstOwn is, for a value with 0, 1 or 2 bytes before it in its triple, the first base64 character that depends on
// nothing but the value. It comes after 0, 4 or 2 of the value's bits.
var (
	firstOwn  = [3]int{0, 2, 3}
	ownMissed = [3]uint{0, 4, 2}
)

// form is one way in which the start of a pattern may be written.
type form [windowBytes]byte

// forms lists the ways in which the start of v, of at least eight bytes, may be written.
func forms(v []byte) (out [maxForms]form, n int) {
	add := func(text []byte) {
		f := form(text)
		for i := range n {
			if out[i] == f {
				return
			}
		}
		out[n] = f
		n++
	}
	add(v[:8])
	var buf [12]byte
	add(hex.AppendEncode(buf[:0], v[:4]))
	for i, c := range buf[:8] {
		if c >= 'a' {
			buf[i] = c - 'a' + 'A'
		}
	}
	add(buf[:8])
	var in [10]byte
	copy(in[2:], v[:8])
	for phase, first := range firstOwn {
		for _, enc := range [2]*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			text := enc.AppendEncode(buf[:0], in[2-phase:][:[3]int{6, 9, 9}[phase]])
			add(text[first:][:windowBytes])
		}
	}
	return out, n
}

// newRecord describes the pattern v, of windowBytes to maxPattern bytes. buf is scratch.
func (k *keys) newRecord(v []byte, more bool, buf *[keyBytes + maxPattern]byte) record {
	r := record{Size: uint16(len(v)), More: more}
	r.MAC = k.digestOf(append(buf[:keyBytes], v...))
	r.Tags[0] = k.tag8(binary.LittleEndian.Uint64(v))
	for level := 1; level < levels && windowBytes<<level <= len(v); level++ {
		r.Tags[level] = k.prefixTag(buf[:], windowBytes<<level)
	}
	texts, n := forms(v)
	r.Forms = uint8(n)
	for i, text := range texts[:n] {
		r.Windows[i] = k.windowHash(binary.LittleEndian.Uint64(text[:]))
		r.Shorts[i] = k.shortHash(binary.LittleEndian.Uint32(text[:]))
	}
	return r
}

// prefixTag identifies the first n bytes of keyed[keyBytes:].
func (k *keys) prefixTag(keyed []byte, n int) uint32 {
	d := k.digestOf(keyed[:keyBytes+n])
	return binary.LittleEndian.Uint32(d[4:])
}

// index finds patterns by how they begin. Readers need no lock: additions go in by atomic stores, nodes first, then
// the filter bits that lead to them; nothing is ever taken out. When it is full it is replaced by a larger one.
type index struct {
	keys     *keys
	capacity int
	shift    uint            // 32 - log2(bits)
	filter   []atomic.Uint64 // windows of eight characters
	check    []atomic.Uint64 // the same by another hash, asked when filter says yes
	short    []atomic.Uint64 // the first four characters, two bits each
	nodes    []atomic.Pointer[node]
}

// node is the start, of 8, 16, 32 … bytes, that some patterns share.
type node struct {
	key  uint64
	ends atomic.Pointer[[]ending] // patterns that end before the next level, by length
	next atomic.Bool              // some patterns reach the next level
}

type ending struct {
	mac  digest
	size uint16
	more bool
}

func newIndex(k *keys, capacity int) *index {
	bits := min(capacity*filterBits, maxFilterBits)
	log := uint(0)
	for 1<<log < bits {
		log++
	}
	words := 1 << log / 64
	slots := 16
	for slots < capacity*8 {
		slots *= 2
	}
	return &index{
		keys: k, capacity: capacity, shift: 32 - log,
		filter: make([]atomic.Uint64, words), check: make([]atomic.Uint64, words), short: make([]atomic.Uint64, words),
		nodes: make([]atomic.Pointer[node], slots),
	}
}

// second spreads a window's hash again.
func second(h uint32) uint32 {
	h ^= h >> 15
	h *= 0x2c1b3c6d
	return h ^ h>>13
}

func set(bits []atomic.Uint64, i uint32) {
	bits[i>>6].Or(1 << (i & 63))
}

func has(bits []atomic.Uint64, i uint32) bool {
	return bits[i>>6].Load()>>(i&63)&1 != 0
}

func nodeKey(level int, tag uint32) uint64 { return uint64(level+1)<<32 | uint64(tag) }

// find gives the node of a start, nil where no pattern begins so.
func (x *index) find(level int, tag uint32) *node {
	key := nodeKey(level, tag)
	mask := uint32(len(x.nodes) - 1)
	for i := second(tag + uint32(level)); ; i++ {
		n := x.nodes[i&mask].Load()
		if n == nil || n.key == key {
			return n
		}
	}
}

// node gives the node of a start, making it if need be. One caller at a time.
func (x *index) node(level int, tag uint32) *node {
	key := nodeKey(level, tag)
	mask := uint32(len(x.nodes) - 1)
	for i := second(tag + uint32(level)); ; i++ {
		n := x.nodes[i&mask].Load()
		if n == nil {
			n = &node{key: key}
			x.nodes[i&mask].Store(n)
			return n
		}
		if n.key == key {
			return n
		}
	}
}

// add puts in one pattern. One caller at a time.
func (x *index) add(r *record) {
	last := 0
	for last+1 < levels && windowBytes<<(last+1) <= int(r.Size) {
		last++
	}
	n := x.node(last, r.Tags[last])
	ends := []ending{}
	if old := n.ends.Load(); old != nil {
		ends = append(ends, *old...)
	}
	at := len(ends)
	for at > 0 && ends[at-1].size > r.Size {
		at--
	}
	ends = append(ends[:at], append([]ending{{r.MAC, r.Size, r.More}}, ends[at:]...)...)
	n.ends.Store(&ends)
	for level := last - 1; level >= 0; level-- {
		x.node(level, r.Tags[level]).next.Store(true)
	}
	for i := range r.Forms {
		h := r.Windows[i]
		set(x.short, r.Shorts[i]>>x.shift)
		set(x.short, second(r.Shorts[i])>>x.shift)
		set(x.check, second(h)>>x.shift)
		set(x.filter, h>>x.shift)
	}
}

// next gives the first position of b, from i on, at which the eight bytes there may begin a pattern; -1 where none is.
func (x *index) next(b []byte, i int) int {
	k, filter, shift := x.keys.window, x.filter, x.shift&31
	for ; i+windowBytes <= len(b); i++ {
		h := uint32(binary.LittleEndian.Uint64(b[i:]) * k >> 32)
		at := h >> shift
		if filter[at>>6].Load()>>(at&63)&1 != 0 && has(x.check, second(h)>>shift) {
			return i
		}
	}
	return -1
}

// mayStart reports whether the four bytes of b may begin a pattern.
func (x *index) mayStart(b []byte) bool {
	h := x.keys.shortHash(binary.LittleEndian.Uint32(b))
	return has(x.short, h>>x.shift) && has(x.short, second(h)>>x.shift)
}
