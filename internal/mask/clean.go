package mask

// Clean reports whether nothing in b is known to be secret, and nothing in it, or in a part of it taken by itself, begins as
// what detectors find does: then a TextWriter would pass it on as it is. It copies nothing.
func (s *Scope) Clean(b []byte) bool {
	t := s.newStream()
	own := t.buf
	t.mode, t.x, t.buf = ended, s.e.index.Load(), b
	t.match.x, t.spans = t.x, t.spans[:0]
	t.open, t.live = len(b), len(b)
	whole := view{text: b}
	t.windows(&whole)
	t.search(&whole, 0)
	clean := len(t.spans) == 0
	t.buf = own
	t.free()
	return clean && (s.detectors == nil || !s.detectors.MayHold(b))
}

// Placeholders makes placeholders of many values, without allocating. It is not safe for concurrent use.
type Placeholders struct {
	s     *Scope
	f     face
	keyed []byte
}

// Placeholders gives room to make placeholders in.
func (s *Scope) Placeholders() *Placeholders { return &Placeholders{s: s} }

func (p *Placeholders) digestOf(value []byte) digest {
	p.keyed = append(append(p.keyed[:0], p.s.e.keys.value[:]...), value...)
	d := p.s.e.keys.digestOf(p.keyed)
	if clear(p.keyed); cap(p.keyed) > 64<<10 {
		p.keyed = nil
	}
	return d
}

// Text is what stands for value in text, good until the next call.
func (p *Placeholders) Text(value []byte) []byte { return p.s.textOf(&p.f, p.digestOf(value)) }

// Number is what stands for value where only a number can: 15 digits, good until the next call.
func (p *Placeholders) Number(value []byte) []byte { return p.s.numberOf(&p.f, p.digestOf(value)) }
