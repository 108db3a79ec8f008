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
	// layers and d are of the reading that is being tried.
	layers [maxLayers]layer
	d      decoder
}

// maxEscape is how long one byte of a pattern may be written and still be found.
const maxEscape = 32

// at tries every reading of b from position i on, and gives the longest match. last says that b is all there is.
func (m *matcher) at(b []byte, i int, last bool) (span, verdict) {
	if limit := i + maxPattern*maxEscape; len(b) >= limit {
		b, last = b[:limit], true
	}
	best, result := m.under(b, i, last, 0)
	if best.end == 0 || result == perhaps {
		return best, result
	}
	best.start = i
	return best, yes
}

// under tries every reading below the first n of m's layers, and where there are escapes below these, below one more.
func (m *matcher) under(b []byte, i int, last bool, n int) (best span, result verdict) {
	var seen met
	for c := plain; c < codings; c++ {
		d := &m.d
		d.begin(b, i, m.layers[:n], c)
		s, v := m.read(d, last)
		seen |= d.met
		result = max(result, v)
		if s.end > best.end {
			best = s
		}
	}
	if n == maxLayers {
		return best, result
	}
	for _, l := range [...]struct {
		met   met
		layer layer
	}{{metBackslash, jsonEscapes}, {metPercent, percentEscapes}} {
		if seen&l.met == 0 {
			continue
		}
		m.layers[n] = l.layer
		s, v := m.under(b, i, last, n+1)
		result = max(result, v)
		if s.end > best.end {
			best = s
		}
	}
	return best, result
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
		n := m.x.find(0, m.x.keys.tag8(binary.LittleEndian.Uint64(dec)))
		if n == nil {
			continue
		}
		save := *d
		s, v := m.follow(&save, n, last)
		d.met |= save.met
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
		if n = m.x.find(l+1, m.x.keys.prefixTag(m.keyed[:], levels[l+1])); n == nil {
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
