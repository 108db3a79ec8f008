package mask

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"sync/atomic"
)

const (
	// windowBytes is the shortest pattern, and how many characters of one the filter knows.
	windowBytes = 8
	// probeBytes is how many characters the filter looks at, at every second position of a stream: of the first
	// windowBytes characters it knows those from the first on and those from the second on.
	probeBytes = windowBytes - 1
	// shortBytes is from how many characters on the start of a value is noticed at all; see TextWriter.
	shortBytes = 4
	// maxPattern is the longest pattern; a longer value is kept as several, of pieceBytes and the rest.
	maxPattern = 512
	pieceBytes = 256
	// maxForms is in how many ways eight characters of a pattern's start may be written: raw, hexadecimal in both
	// cases, and base64 at three alignments in two alphabets.
	maxForms      = 9
	firstCapacity = 1024
	// filterBits is the filter's size per pattern, up to maxFilterBits in all.
	filterBits    = 1024
	maxFilterBits = 1 << 25
)

// levels are the lengths of the starts by which a pattern is followed; levels[i+1]-1 is the longest that ends at
// level i.
var levels = [...]int{windowBytes, 32, 128, maxPattern + 1}

const lastLevel = len(levels) - 2

// grain is how many lengths share a bit of a node's sizes, as a shift.
var grain = [...]uint{0, 1, 3}

// record is all that is kept of one pattern.
type record struct {
	MAC    digest
	Size   uint16
	More   bool // a further piece of a longer value
	Forms  uint8
	Tags   [lastLevel + 1]uint32
	Probes [2 * maxForms]uint32
	Shorts [maxForms]uint32
}

// level is where a pattern of size bytes ends.
func level(size int) int {
	l := 0
	for size >= levels[l+1] {
		l++
	}
	return l
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
	add(v[:windowBytes])
	var buf [12]byte
	add(hex.AppendEncode(buf[:0], v[:windowBytes/2]))
	for i, c := range buf[:windowBytes] {
		if c >= 'a' {
			buf[i] = c - 'a' + 'A'
		}
	}
	add(buf[:windowBytes])
	var in [10]byte
	copy(in[2:], v[:windowBytes])
	for phase, first := range firstOwn {
		text := base64.StdEncoding.AppendEncode(buf[:0], in[2-phase:][:[3]int{6, 9, 9}[phase]])[first:][:windowBytes]
		add(text)
		for i, c := range text {
			switch c {
			case '+':
				text[i] = '-'
			case '/':
				text[i] = '_'
			}
		}
		add(text)
	}
	return out, n
}

// newRecord describes the pattern v, of windowBytes to maxPattern bytes, whose digest is mac.
func (k *keys) newRecord(v []byte, more bool, mac digest) record {
	r := record{MAC: mac, Size: uint16(len(v)), More: more}
	r.Tags[0] = k.tag8(binary.LittleEndian.Uint64(v))
	for l := 1; l <= lastLevel && levels[l] <= len(v); l++ {
		r.Tags[l] = k.prefixTag(v[:levels[l]])
	}
	texts, n := forms(v)
	r.Forms = uint8(n)
	for i, text := range texts[:n] {
		w := binary.LittleEndian.Uint64(text[:])
		r.Probes[2*i], r.Probes[2*i+1] = k.probeHash(w<<8), k.probeHash(w>>8<<8)
		r.Shorts[i] = k.shortHash(binary.LittleEndian.Uint32(text[:]))
	}
	return r
}

// prefixTag identifies the start of a value. Like tag8 it is a keyed hash that need not be more: it only says whether to
// read on.
func (k *keys) prefixTag(start []byte) uint32 {
	f := k.fingerprint(start, prefix)
	return uint32((f[0] ^ f[1]) >> 32)
}

// prefix keeps the fingerprints of starts apart from those of strings.
const prefix Encoding = 255

// index finds patterns by how they begin. Readers need no lock: what is added goes in by atomic stores, in the order
// in which readers come from one to the other backwards; nothing is ever taken out. When it is full it is replaced by
// a larger one. It holds no pointers, so that the collector has nothing to do for it.
type index struct {
	keys    *keys
	shift   uint            // 32 - log2(words of filter)
	filter  []atomic.Uint64 // probes, four bits each, in one word
	short   []atomic.Uint64 // the first four characters, likewise
	nodes   []node
	macs    []atomic.Uint32 // record number + 1, by mac
	records []record
	count   int // of records; for who adds
}

// node is the start, as long as a level, that some patterns share.
type node struct {
	key atomic.Uint64
	// sizes has a bit for each length (see grain) at which one of the patterns ends before the next level, and goesOn
	// where one does not.
	sizes atomic.Uint64
}

const goesOn = 1 << 63

func newIndex(k *keys, capacity int) *index {
	words := min(capacity*filterBits, maxFilterBits) / 64
	x := &index{
		keys: k, shift: 32 - uint(bits.TrailingZeros(uint(words))),
		filter: make([]atomic.Uint64, words), short: make([]atomic.Uint64, words),
		nodes: make([]node, capacity*8), macs: make([]atomic.Uint32, capacity*2), records: make([]record, capacity),
	}
	x.noticeTokens()
	return x
}

// spread mixes a hash.
func spread(h uint32) uint32 {
	h ^= h >> 15
	h *= 0x2c1b3c6d
	return h ^ h>>13
}

// bitsOf are the bits of a hash in its word. The first two are asked for first.
func bitsOf(h uint32) uint64 {
	more := spread(h)
	return 1<<(h&63) | 1<<(h>>6&63) | 1<<(more&63) | 1<<(more>>6&63)
}

func nodeKey(level int, tag uint32) uint64 { return uint64(level+1)<<32 | uint64(tag) }

// find gives the node of a start; nil where no pattern begins so.
func (x *index) find(level int, tag uint32) *node {
	key, mask := nodeKey(level, tag), uint32(len(x.nodes)-1)
	for i := spread(tag + uint32(level)); ; i++ {
		n := &x.nodes[i&mask]
		switch n.key.Load() {
		case key:
			return n
		case 0:
			return nil
		}
	}
}

// grow gives the node of a start, new if need be. One caller at a time.
func (x *index) grow(level int, tag uint32) *node {
	key, mask := nodeKey(level, tag), uint32(len(x.nodes)-1)
	for i := spread(tag + uint32(level)); ; i++ {
		n := &x.nodes[i&mask]
		switch n.key.Load() {
		case 0:
			n.key.Store(key)
			return n
		case key:
			return n
		}
	}
}

// byMAC gives the record of a whole pattern, or nil.
func (x *index) byMAC(d *digest) *record {
	mask := uint32(len(x.macs) - 1)
	for i := binary.LittleEndian.Uint32(d[8:]); ; i++ {
		n := x.macs[i&mask].Load()
		if n == 0 {
			return nil
		}
		if r := &x.records[n-1]; r.MAC == *d {
			return r
		}
	}
}

// add puts in one pattern that is not there. One caller at a time; there must be room.
func (x *index) add(r *record) {
	x.records[x.count] = *r
	x.count++
	mask := uint32(len(x.macs) - 1)
	i := binary.LittleEndian.Uint32(r.MAC[8:])
	for x.macs[i&mask].Load() != 0 {
		i++
	}
	x.macs[i&mask].Store(uint32(x.count))
	last := level(int(r.Size))
	x.grow(last, r.Tags[last]).sizes.Or(1 << (uint(int(r.Size)-levels[last]) >> grain[last]))
	for l := last - 1; l >= 0; l-- {
		x.grow(l, r.Tags[l]).sizes.Or(goesOn)
	}
	x.notice(r)
}

// notice lets the filter see how r may begin.
func (x *index) notice(r *record) {
	for i := range r.Forms {
		x.short[r.Shorts[i]>>x.shift].Or(bitsOf(r.Shorts[i]))
		for _, h := range r.Probes[2*i:][:2] {
			x.filter[h>>x.shift].Or(bitsOf(h))
		}
	}
}

// next gives the first position p of b, of i, i+2, i+4 and so on, such that a pattern may begin at p or at p-1; -1 where
// none is. Of patterns that begin in the last windowBytes-1 bytes it need not know.
func (x *index) next(b []byte, i int) int {
	k, filter, shift := x.keys.window, x.filter, x.shift&31
	for {
		// Four probes at once, so that the processor need not wait for one after the other.
		for ; i+6+windowBytes <= len(b); i += 8 {
			c := b[i : i+6+windowBytes : i+6+windowBytes]
			h0 := uint32(binary.LittleEndian.Uint64(c[0:]) << 8 * k >> 32)
			h1 := uint32(binary.LittleEndian.Uint64(c[2:]) << 8 * k >> 32)
			h2 := uint32(binary.LittleEndian.Uint64(c[4:]) << 8 * k >> 32)
			h3 := uint32(binary.LittleEndian.Uint64(c[6:]) << 8 * k >> 32)
			w0, w1 := filter[h0>>shift].Load(), filter[h1>>shift].Load()
			w2, w3 := filter[h2>>shift].Load(), filter[h3>>shift].Load()
			if (w0>>(h0&63)&(w0>>(h0>>6&63))|w1>>(h1&63)&(w1>>(h1>>6&63))|
				w2>>(h2&63)&(w2>>(h2>>6&63))|w3>>(h3&63)&(w3>>(h3>>6&63)))&1 != 0 {
				break
			}
		}
		for end := i + 8; i < end; i += 2 {
			if i+probeBytes > len(b) {
				return -1
			}
			var c [8]byte
			copy(c[:], b[i:i+probeBytes])
			h := x.keys.probeHash(binary.LittleEndian.Uint64(c[:]) << 8)
			if m := bitsOf(h); x.filter[h>>shift].Load()&m == m {
				return i
			}
		}
	}
}

// mayStart reports whether the four bytes of b may begin a pattern.
func (x *index) mayStart(b []byte) bool {
	h := x.keys.shortHash(binary.LittleEndian.Uint32(b))
	w := bitsOf(h)
	return x.short[h>>x.shift].Load()&w == w
}
