package mask

import "gatebook/internal/mask/detect"

// want is what may come next.
type want uint8

const (
	wantDocument want = iota // between documents
	wantValue
	wantElementOrEnd
	wantColon
	wantCommaOrEnd
	wantKey
	wantKeyOrEnd
)

// frame is an open object or array.
type frame struct {
	at     *state
	object bool
}

// parser reads JSON and writes it with values replaced. It holds no input: what it cannot decide yet it leaves to its
// caller, or has handed on in digested form.
//
// With splices it writes nothing, and collects what to replace instead.
type parser struct {
	s     *Scope
	root  *state
	known bool

	stack []frame
	want  want
	at    *state // of the value that comes next

	// ahead says that nothing of an object is searched for known values before all of it is read; see Objects.
	ahead   bool
	lists   []string // keys of the root whose elements are objects
	inList  bool     // the last key of the root was one of these
	settled int      // of out belongs to objects that were read whole
	open    int      // where in out the string begins that the last piece ended in

	// exposed is what sweep looks at.
	exposed []exposed
	// before is the end of what was searched for detectors, swept how much of out was; around is room for both.
	before, around []byte
	swept          int
	suspects       []detect.Found
	scanner        detect.Scanner

	// more says that the piece can be had again from any token on, with what comes after it.
	more bool

	// of the string that the last piece ended in
	inside  bool
	skipped bool    // nothing to hide in it
	secret  *secret // it is masked
	stream  *stream // it is searched for known values

	out     []byte
	from    int // what of the piece is not yet in out
	masked  int64
	splices *[]splice

	face    face
	room    []byte // what sweep makes
	keyed   []byte // room for a key's or value's text behind room for the engine's key
	plain   []byte
	scratch []byte
}

// splice replaces bytes of a document.
type splice struct {
	start, end int
	with       []byte
}

func (s *Scope) newParser(shape *Shape, known bool) *parser {
	p, ok := s.e.writers.Get().(*parser)
	if !ok {
		p = &parser{keyed: make([]byte, keyBytes, keyBytes+4096)}
	}
	p.s, p.known = s, known || s.detectors != nil
	p.before, p.swept = p.before[:0], 0
	p.root = nil
	if shape != nil {
		p.root = shape.root
	}
	p.want, p.at, p.stack, p.inside = wantDocument, p.root, p.stack[:0], false
	p.out, p.masked, p.splices, p.skipped, p.more = p.out[:0], 0, nil, false, false
	p.ahead, p.lists, p.inList, p.settled, p.exposed = false, nil, false, 0, p.exposed[:0]
	return p
}

// free forgets all bytes and gives the parser back.
func (p *parser) free() {
	e := p.s.e
	if p.stream != nil {
		p.stream.free()
		p.stream = nil
	}
	if p.secret != nil {
		p.secret.drop()
		p.secret = nil
	}
	for _, b := range []*[]byte{&p.out, &p.room, &p.keyed, &p.plain, &p.scratch, &p.before, &p.around} {
		clear((*b)[:cap(*b)])
		if cap(*b) > 2*step {
			*b = nil
		}
	}
	if p.keyed == nil {
		p.keyed = make([]byte, keyBytes, keyBytes+4096)
	}
	p.s, p.root, p.at, p.splices = nil, nil, nil, nil
	clear(p.stack[:cap(p.stack)])
	e.writers.Put(p)
}

// between reports whether the parser stands between documents.
func (p *parser) between() bool { return p.want == wantDocument && !p.inside }

// parse reads b, which follows what was read before, and gives how much of it was read: what is left is an unfinished
// token. last says that nothing follows. Where there is a problem, the position is its.
func (p *parser) parse(b []byte, last bool) (i int, why problem) {
	p.from = 0
	if p.inside {
		if i, why = p.resume(b); why != fine || p.inside {
			return i, why
		}
	}
	for i < len(b) {
		next, why := p.token(b, p.pass(b, i), last)
		if why != fine {
			return next, why
		}
		if next == i {
			break // unfinished
		}
		if i = next; p.inside {
			return i, fine
		}
	}
	p.keep(b, i)
	p.settleDocument()
	if p.known && !p.ahead && p.splices == nil {
		p.sweep(len(p.out))
	}
	return i, fine
}

// token reads what comes next, whatever it is.
func (p *parser) token(b []byte, i int, last bool) (int, problem) {
	if i == len(b) {
		return i, fine
	}
	c := b[i]
	if isSpace(c) {
		return i + 1, fine
	}
	switch p.want {
	case wantCommaOrEnd:
		top := &p.stack[len(p.stack)-1]
		switch {
		case c == ',' && top.object:
			p.want = wantKey
		case c == ',':
			p.want, p.at = wantValue, top.at.element()
		case c == '}' && top.object, c == ']' && !top.object:
			p.pop(i + 1)
		default:
			return i, wantedComma
		}
		return i + 1, fine
	case wantKey, wantKeyOrEnd:
		return p.key(b, i)
	case wantColon:
		if c != ':' {
			return i, wantedColon
		}
		p.want = wantValue
		return i + 1, fine
	}
	return p.value(b, i, last)
}

// keep passes on what stands before position i.
func (p *parser) keep(b []byte, i int) {
	if p.splices == nil && i > p.from {
		p.out = append(p.out, b[p.from:i]...)
	}
	p.from = i
}

// replace passes on text instead of b[start:end].
func (p *parser) replace(b []byte, start, end int, text []byte) {
	if p.splices != nil {
		*p.splices = append(*p.splices, splice{start, end, append([]byte(nil), text...)})
	} else {
		p.keep(b, start)
		p.out = append(p.out, text...)
	}
	p.from = end
	p.masked++
}

// pop ends the innermost object or array, at position end.
func (p *parser) pop(end int) {
	p.stack = p.stack[:len(p.stack)-1]
	p.done()
	p.settleObject(end)
}

func (p *parser) push(object bool) problem {
	if len(p.stack) >= p.s.e.o.MaxDepth {
		return badDepth
	}
	p.stack = append(p.stack, frame{p.at, object})
	if object {
		p.want = wantKeyOrEnd
	} else {
		p.want, p.at = wantElementOrEnd, p.at.element()
	}
	return fine
}

// key reads a key and, as a rule, the colon after it.
func (p *parser) key(b []byte, i int) (int, problem) {
	if b[i] != '"' {
		if b[i] == '}' && p.want == wantKeyOrEnd {
			p.pop(i + 1)
			return i + 1, fine
		}
		return i, wantedKey
	}
	end, escaped := plainRun(b, i+1), false
	if end == len(b) || b[end] != '"' {
		var closed bool
		var bad problem
		if end, closed, escaped, bad = content(b, end); bad != fine {
			return end, bad
		}
		if !closed {
			return i, fine
		}
	}
	text := b[i+1 : end]
	if p.at = p.stack[len(p.stack)-1].at; p.at != nil {
		if escaped {
			p.plain = unescape(p.plain[:0], text)
			text = p.plain
		}
		p.at = p.at.child(text)
		p.noteKey(text)
	}
	p.look(b, i+1, end)
	p.want = wantColon
	if end++; end < len(b) && b[end] == ':' {
		end++
		p.want = wantValue
	}
	return end, fine
}

// value reads a value, or the beginning of one.
func (p *parser) value(b []byte, i int, last bool) (int, problem) {
	switch c := b[i]; {
	case c == '"':
		return p.text(b, i)
	case c == '{', c == '[':
		return i + 1, p.push(c == '{')
	case c == ']' && p.want == wantElementOrEnd:
		p.pop(i + 1)
		return i + 1, fine
	case c == '-' || c >= '0' && c <= '9':
		end, ok := number(b, i)
		if end == len(b) && !last {
			return i, fine
		}
		if !ok || end < len(b) && b[end] >= '0' && b[end] <= '9' {
			return end, badNumber
		}
		p.number(b, i, end)
		p.done()
		return end, fine
	}
	return p.word(b, i)
}

// word reads true, false or null.
func (p *parser) word(b []byte, i int) (int, problem) {
	word := literal(b[i])
	n := min(len(word), len(b)-i)
	if word == "" || string(b[i:i+n]) != word[:n] {
		return i, wantedValue
	}
	if n < len(word) {
		return i, fine
	}
	if p.at.action() != nil && word != "null" {
		p.plain = append(append(append(p.plain[:0], '"'), p.s.textOf(&p.face, p.digest(b[i:i+n]))...), '"')
		p.replace(b, i, i+n, p.plain)
	}
	p.done()
	return i + n, fine
}

// done notes the end of a value.
func (p *parser) done() {
	p.want = wantCommaOrEnd
	if len(p.stack) == 0 {
		p.want, p.at = wantDocument, p.root
	}
}

// number masks a number by one of its own kind.
func (p *parser) number(b []byte, start, end int) {
	text := b[start:end]
	if p.at.action() == nil {
		if p.splices == nil {
			p.look(b, start, end)
			return
		}
		if _, found := p.lookUp(text, nil, false); !found {
			return
		}
	}
	p.replace(b, start, end, p.s.numberOf(&p.face, p.learn(text)))
}

// text reads a string value, or as much of it as there is.
func (p *parser) text(b []byte, i int) (int, problem) {
	a := p.at.action()
	end, closed, escaped, bad := content(b, i+1)
	switch {
	case bad != fine:
		return end, bad
	case !closed && p.splices != nil:
		return end, endsEarly
	case !closed && p.more && i > 0:
		return i, fine
	case !closed:
		p.begin(b, i+1, end, a)
		return end, fine
	case a != nil:
		p.hide(b, i+1, end, escaped, a)
	default:
		p.look(b, i+1, end)
	}
	p.done()
	return end + 1, fine
}
