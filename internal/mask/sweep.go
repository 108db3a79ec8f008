package mask

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// exposed is the content of a string, or a number, that stands in out and may have to be hidden because it is known.
type exposed struct {
	start, end uint32
	nested     bool // a document that was masked by rules of its own
}

// see notes that b[start:end] of the piece is visible.
func (p *parser) see(start, end int) {
	shift := len(p.out) - p.from
	p.exposed = append(p.exposed, exposed{uint32(start + shift), uint32(end + shift), false})
}

// seeNested notes a document that was masked and stands in out, where that was too early to know all that is in it.
func (p *parser) seeNested(start, end int) {
	if p.ahead {
		p.exposed = append(p.exposed, exposed{uint32(start), uint32(end), true})
	}
}

// sweep replaces what is known in out, of what was seen in it up to end, and gives where that end then is.
//
// All strings of a piece are looked at together, since the filter is a table that the processor has to wait for: so it
// waits for many entries of it at a time.
func (p *parser) sweep(end int) int {
	x := p.s.e.index.Load()
	escape, percent, token := next(p.out, 0, '\\'), next(p.out, 0, '%'), nextToken(p.out, 0)
	p.room = p.room[:0]
	kept, done := 0, 0
	suspects := p.suspect(end)
	for ; done < len(p.exposed) && int(p.exposed[done].end) <= end; done++ {
		v := &p.exposed[done]
		if escape < int(v.start) {
			escape = next(p.out, int(v.start), '\\')
		}
		if percent < int(v.start) {
			percent = next(p.out, int(v.start), '%')
		}
		if token < int(v.start) {
			token = nextToken(p.out, int(v.start))
		}
		if min(escape, percent, token) >= int(v.end) && !v.suspected(&suspects) && !x.mayHold(p.out, int(v.start), int(v.end)) {
			continue
		}
		if with, found := p.hideKnown(v); found {
			p.room = append(append(p.room, p.out[kept:v.start]...), with...)
			kept = int(v.end)
		}
	}
	p.exposed = slices.Delete(p.exposed, 0, done)
	p.remember(p.out[min(p.swept, end):end])
	if kept > 0 {
		p.room = append(p.room, p.out[kept:end]...)
		p.out = slices.Replace(p.out, 0, end, p.room...)
		p.shift(end, len(p.room)-end)
		end = len(p.room)
	}
	p.swept = max(p.swept, end)
	return end
}

// shift corrects the places in out that are not before position from.
func (p *parser) shift(from, by int) {
	for i := range p.exposed {
		p.exposed[i].start += uint32(by)
		p.exposed[i].end += uint32(by)
	}
	for _, at := range []*int{&p.open, &p.settled} {
		if *at >= from {
			*at += by
		}
	}
}

// hideKnown gives what is to stand for v, if something in it is known.
func (p *parser) hideKnown(v *exposed) ([]byte, bool) {
	text := p.out[v.start:v.end]
	if v.nested {
		p.plain = unescape(p.plain[:0], text)
		list, n, ok := p.nested(p.plain, nil)
		if ok {
			p.masked += n
			p.scratch = spliceString(p.scratch[:0], text, list)
			return p.scratch, n > 0
		}
	}
	quoted := v.start > 0 && p.out[v.start-1] == '"'
	with, found := p.lookUp(text, p.context(p.out, p.swept, int(v.start)), quoted)
	if !found {
		return nil, false
	}
	p.masked += p.stream.masked
	if quoted {
		return with, true
	}
	p.keyed = append(p.keyed[:keyBytes], text...)
	p.masked += 1 - p.stream.masked
	return p.s.numberOf(&p.face, p.learnKeyed(nil)), true
}

// next gives the first place of c in b from i on; len(b) where there is none.
func next(b []byte, i int, c byte) int {
	if j := bytes.IndexByte(b[i:], c); j >= 0 {
		return i + j
	}
	return len(b)
}

// mayHold reports whether the filter knows anything in b[start:end]. It reads beyond end, and must not say no for that.
func (x *index) mayHold(b []byte, start, end int) bool {
	if end >= len(b) {
		return true // a number at the very end
	}
	k, filter, shift := x.keys.window, x.filter, x.shift&31
	for i := start + 1; i+probeBytes <= end; i += 2 {
		h := uint32(binary.LittleEndian.Uint64(b[i:]) << 8 * k >> 32)
		if w := filter[h>>shift].Load(); w>>(h&63)&(w>>(h>>6&63))&1 != 0 {
			return true
		}
	}
	return false
}
