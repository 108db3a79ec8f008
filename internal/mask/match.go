package mask

import (
	"encoding/binary"
	"math/bits"
)

// span is a known value found: bytes to replace.
type span struct {
	start, end int
	base64     bool
	before     int  // characters of the first base64 quad before the pattern
	more       bool // a further piece of a longer value
	token      bool // known by its form
	from       int  // of what a detector found: one more than where what finds it again begins
	sum        digest
}

// verdict is what can be said of a position.
type verdict uint8

const (
	no      verdict = iota
	perhaps         // more input could make it a match, or a longer one
	yes
)

// matcher finds patterns at positions of a buffer. It has room for what it needs and is used again.
type matcher struct {
	x     *index
	keyed [keyBytes + maxPattern]byte
	ends  [maxPattern]int
	text  []byte // the token that was read last
	// layers and d are of the reading that is being tried.
	layers [maxLayers]layer
	todo   [1 << (maxLayers + 1)]chain
	d      decoder
}

// maxEscape is how long one byte of a pattern may be written and still be found.
const maxEscape = 32

// at tries every reading of b from position i on, and gives the longest match. last says that b is all there is.
//
// It begins with no layers. Where a reading comes upon an escape, there may be one layer more, and at any depth: the
// reading may have come so far only because of the layers that it did undo.
func (m *matcher) at(b []byte, i int, last bool) (best span, result verdict) {
	if limit := i + maxPattern*maxEscape; len(b) >= limit {
		b, last = b[:limit], true
	}
	todo := append(m.todo[:0], noLayers)
	known := uint32(1) << noLayers
	for len(todo) > 0 {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		s, v, seen := m.under(b, i, last, c)
		result = max(result, v)
		if s.end > best.end {
			best = s
		}
		for kind := range chain(2) {
			if seen>>kind&1 == 0 || c.len() == maxLayers {
				continue
			}
			for depth := range c.len() + 1 {
				if n := c.insert(depth, kind); known>>n&1 == 0 {
					known |= 1 << n
					todo = append(todo, n)
				}
			}
		}
	}
	if best.end == 0 || result == perhaps {
		return best, result
	}
	best.start = i
	return best, yes
}

// chain is layers, innermost first from the low end, 0 for jsonEscapes and 1 for percentEscapes, and a 1 above.
type chain uint8

const noLayers chain = 1

func (c chain) len() int { return bits.Len8(uint8(c)) - 1 }

func (c chain) insert(depth int, kind chain) chain {
	return c>>depth<<(depth+1) | kind<<depth | c&(1<<depth-1)
}

// layers writes the chain out, outermost first.
func (c chain) layers(out []layer) []layer {
	for i := c.len() - 1; i >= 0; i-- {
		out = append(out, [2]layer{jsonEscapes, percentEscapes}[c>>i&1])
	}
	return out
}

// under tries every reading below the layers of c, and gives the escapes that it came upon.
func (m *matcher) under(b []byte, i int, last bool, c chain) (best span, result verdict, seen met) {
	layers := c.layers(m.layers[:0])
	for coding := plain; coding < codings; coding++ {
		d := &m.d
		d.begin(b, i, layers, coding)
		d.last = last
		s, v := m.read(d, last)
		seen |= d.met
		result = max(result, v)
		if s.end > best.end {
			best = s
		}
	}
	return best, result, seen
}

// read tries one reading.
func (m *matcher) read(d *decoder, last bool) (span, verdict) {
	dec := m.keyed[keyBytes:]
	for n := range windowBytes {
		c, ok := d.byte()
		if !ok {
			return span{}, m.cut(d, last)
		}
		dec[n], m.ends[n] = c, d.pos
	}
	options := byte(1)
	if d.coding >= base64At0 {
		options = 1 << ownMissed[d.coding.phase()]
	}
	var best span
	var result verdict
	for o := range options {
		if o > 0 {
			dec[0] += 1 << (8 - ownMissed[d.coding.phase()])
		}
		var s span
		var v verdict
		if string(dec[:len(jwtStart)]) == jwtStart {
			s, v = m.token(d, last)
		}
		if n := m.x.find(0, m.x.keys.tag8(binary.LittleEndian.Uint64(dec))); n != nil {
			save := *d
			known, more := m.follow(&save, n, last)
			d.met |= save.met
			v = max(v, more)
			if known.end > s.end {
				s = known
			}
		}
		result = max(result, v)
		if s.end > best.end {
			best = s
		}
	}
	return best, result
}

func (m *matcher) cut(d *decoder, last bool) verdict {
	if d.short && !last {
		return perhaps
	}
	return no
}

// follow goes on from the node of the first eight bytes.
func (m *matcher) follow(d *decoder, n *node, last bool) (best span, result verdict) {
	have := windowBytes
	start := *d
	for l := 0; ; l++ {
		sizes := n.sizes.Load()
		want := levels[l] + (bits.Len64(sizes&^goesOn) << grain[l]) - 1 // the longest that may end here
		if sizes&goesOn != 0 {
			want = levels[l+1]
		}
		for want = min(want, maxPattern); have < want; have++ {
			c, ok := d.byte()
			if !ok {
				result = max(result, m.cut(d, last))
				break
			}
			m.keyed[keyBytes+have], m.ends[have] = c, d.pos
		}
		if r := m.longest(l, sizes, have); r != nil {
			best = span{end: m.ends[r.Size-1], more: r.More, sum: r.MAC}
		}
		if sizes&goesOn == 0 || l == lastLevel || have < levels[l+1] {
			break
		}
		if n = m.x.find(l+1, m.x.keys.prefixTag(m.keyed[keyBytes:][:levels[l+1]])); n == nil {
			break
		}
	}
	if best.end > 0 && d.coding >= base64At0 {
		start.closeAfter(&best)
		result = max(result, m.cut(&start, last))
	}
	return best, result
}

// longest gives the longest pattern that ends at level l, at one of sizes, within the bytes that are there.
func (m *matcher) longest(l int, sizes uint64, have int) *record {
	for sizes &^= goesOn; sizes != 0; {
		bit := bits.Len64(sizes) - 1
		sizes &^= 1 << bit
		low := levels[l] + bit<<grain[l]
		for size := min(have, low+1<<grain[l]-1, maxPattern, levels[l+1]-1); size >= low; size-- {
			sum := m.x.keys.digestOf(m.keyed[:keyBytes+size])
			if r := m.x.byMAC(&sum); r != nil {
				return r
			}
		}
	}
	return nil
}

// closeAfter stretches a base64 match to the end of the last quad that it touches.
func (d *decoder) closeAfter(s *span) {
	s.base64, s.before = true, firstOwn[d.coding.phase()]
	for d.pos < s.end {
		if _, ok := d.byte(); !ok {
			break
		}
	}
	s.end = max(s.end, d.closeQuad())
}

// back gives where the n base64 characters before position i begin, as they may be written; not before floor.
func back(b []byte, i, n, floor int) (int, int) {
	found := 0
	for found < n && i > floor {
		j := i
		for j > floor && (b[j-1] == '\n' || b[j-1] == '\r') {
			j--
		}
		switch {
		case j-6 >= floor && b[j-6] == '\\' && b[j-5] == 'u':
			j -= 6
		case j-3 >= floor && b[j-3] == '%':
			j -= 3
		case j-2 >= floor && b[j-2] == '\\' && b[j-1] == '/':
			j -= 2
		case j-1 >= floor && base64Value(b[j-1]) != base64Bad:
			j--
		default:
			return i, found
		}
		i = j
		found++
	}
	return i, found
}
