package mask

import "unicode/utf8"

// layer is one way of writing bytes that a reader undoes.
type layer uint8

const (
	jsonEscapes layer = iota + 1
	percentEscapes
	lineWraps // line ends within base64 or hexadecimal, with the next line's indentation
)

// maxLayers is under how many layers a known value is looked for.
const maxLayers = 4

// reader gives the bytes that src stands for below its layers. Copying a reader saves its place.
type reader struct {
	src     []byte
	pos     int
	layers  []layer
	pending [maxLayers][4]byte // rest of a rune
	waiting [maxLayers]uint8
	short   bool // src ended where more could have changed the answer
	last    bool // src is all there is
	met     met
}

// met are escapes seen below the layers: there may be one layer more.
type met uint8

const (
	metBackslash met = 1 << iota // in the order of chain's layers
	metPercent
)

func (r *reader) next() (byte, bool) {
	c, ok := r.at(len(r.layers))
	switch c {
	case '\\':
		r.met |= metBackslash
	case '%':
		r.met |= metPercent
	}
	return c, ok
}

// at gives the next byte below the first n layers.
func (r *reader) at(n int) (byte, bool) {
	if n == 0 {
		if r.pos >= len(r.src) {
			r.short = true
			return 0, false
		}
		r.pos++
		return r.src[r.pos-1], true
	}
	if w := &r.waiting[n-1]; *w > 0 {
		c := r.pending[n-1][0]
		copy(r.pending[n-1][:], r.pending[n-1][1:])
		*w--
		return c, true
	}
	c, ok := r.at(n - 1)
	if !ok {
		return 0, false
	}
	switch kind := r.layers[n-1]; {
	case kind == jsonEscapes && c == '\\':
		return r.escape(n)
	case kind == percentEscapes && c == '%':
		return r.percent(n)
	}
	return c, true
}

// escape reads the rest of what may be a JSON escape. What is none stays as it is, backslash and all.
func (r *reader) escape(n int) (byte, bool) {
	save := *r
	buf := [12]byte{'\\'}
	have := 1
	for {
		v, size := escapeAt(buf[:have])
		if size > 0 {
			var out [4]byte
			k := utf8.EncodeRune(out[:], v)
			r.waiting[n-1] = uint8(copy(r.pending[n-1][:], out[1:k]))
			return out[0], true
		}
		if size < 0 {
			*r = save
			return '\\', true
		}
		c, ok := r.at(n - 1)
		if !ok {
			short := r.short
			*r = save
			r.short = short
			if short {
				return 0, false
			}
			return '\\', true
		}
		buf[have] = c
		have++
	}
}

func (r *reader) percent(n int) (byte, bool) {
	save := *r
	a, ok1 := r.at(n - 1)
	if !ok1 {
		return r.cut(&save, '%')
	}
	if _, ok := hexDigit(a); !ok {
		*r = save
		return '%', true
	}
	b, ok2 := r.at(n - 1)
	if !ok2 {
		return r.cut(&save, '%')
	}
	if c, ok := hexByte(a, b); ok {
		return c, true
	}
	*r = save
	return '%', true
}

// cut ends an escape that src's end cuts.
func (r *reader) cut(save *reader, c byte) (byte, bool) {
	short := r.short
	*r = *save
	r.short = short
	return c, !short
}

// coding is how a pattern's bytes are written below the layers.
type coding uint8

const (
	plain coding = iota
	hexadecimal
	base64At0 // with no byte, one, or two before it in its triple
	base64At1
	base64At2
	codings
)

func (c coding) phase() int { return int(c - base64At0) }

// decoder gives a pattern's bytes. Copying it saves its place.
type decoder struct {
	reader
	coding coding
	acc    uint32
	bits   uint
	chars  int // of base64 read
}

func (d *decoder) begin(src []byte, pos int, layers []layer, c coding) {
	*d = decoder{reader: reader{src: src, pos: pos, layers: layers}, coding: c}
	if c >= base64At0 {
		d.bits = ownMissed[c.phase()] // missing bits, taken for zero
		d.chars = firstOwn[c.phase()]
	}
}

// byte gives the next byte; false at the end of src or of what is written so.
func (d *decoder) byte() (byte, bool) {
	switch d.coding {
	case plain:
		return d.next()
	case hexadecimal:
		a, ok1 := d.char()
		if !ok1 {
			return 0, false
		}
		b, ok2 := d.char()
		c, ok := hexByte(a, b)
		return c, ok2 && ok
	}
	for d.bits < 8 {
		c, ok := d.char()
		if !ok {
			return 0, false
		}
		v := base64Value(c)
		if v == base64Bad {
			return 0, false
		}
		d.acc = d.acc<<6 | uint32(v)
		d.bits += 6
		d.chars++
	}
	d.bits -= 8
	c := byte(d.acc >> d.bits)
	d.acc &= 1<<d.bits - 1
	return c, true
}

// char is next without line ends, and the indentation or time after them.
func (d *decoder) char() (byte, bool) {
	c, ok := d.next()
	for wrapped := false; ok; c, ok = d.next() {
		switch {
		case c == '\n' || c == '\r':
			wrapped = true
			continue
		case wrapped && (c == ' ' || c == '\t'):
			continue
		case wrapped && digit(c):
			is, whole := d.stamp(c)
			if is {
				continue
			}
			return c, whole
		}
		return c, true
	}
	return c, false
}

// closeQuad reads on to the end of the base64 quad, or of the base64, and gives where that is.
func (d *decoder) closeQuad() int {
	for d.chars%4 != 0 {
		save := *d
		c, ok := d.char()
		if !ok || c != '=' && base64Value(c) == base64Bad {
			short := d.short
			*d = save
			d.short = short
			return d.pos
		}
		d.chars++
	}
	return d.pos
}
