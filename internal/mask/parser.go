package mask

// want is what may come next.
type want uint8

const (
	wantDocument want = iota // between documents
	wantValue
	wantElementOrEnd
	wantKey
	wantKeyOrEnd
	wantColon
	wantCommaOrEnd
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
	p.s, p.known = s, known
	p.root = nil
	if shape != nil {
		p.root = shape.root
	}
	p.want, p.stack, p.inside = wantDocument, p.stack[:0], false
	p.out, p.masked, p.splices, p.skipped = p.out[:0], 0, nil, false
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
	for _, b := range []*[]byte{&p.out, &p.keyed, &p.plain, &p.scratch} {
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
// token. last says that nothing follows. why is empty, or says what is wrong at the position given.
func (p *parser) parse(b []byte, last bool) (i int, why string) {
	p.from = 0
	if p.inside {
		if i, why = p.resume(b); why != "" || p.inside {
			return i, why
		}
	}
	for {
		for i < len(b) && isSpace(b[i]) {
			i++
		}
		if i == len(b) {
			break
		}
		next := i
		switch p.want {
		case wantValue, wantDocument, wantElementOrEnd:
			next, why = p.value(b, i, last)
		case wantKey, wantKeyOrEnd:
			next, why = p.key(b, i)
		case wantColon:
			if b[i] != ':' {
				return i, "want a colon"
			}
			next, p.want = i+1, wantValue
		case wantCommaOrEnd:
			next, why = p.comma(b, i)
		}
		if why != "" {
			return next, why
		}
		if next == i {
			break // unfinished
		}
		i = next
		if p.inside {
			return i, ""
		}
	}
	p.keep(b, i)
	return i, ""
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

func (p *parser) comma(b []byte, i int) (int, string) {
	top := p.stack[len(p.stack)-1]
	switch c := b[i]; {
	case c == ',' && top.object:
		p.want = wantKey
	case c == ',':
		p.want, p.at = wantValue, top.at.element()
	case c == '}' && top.object, c == ']' && !top.object:
		p.pop()
	default:
		return i, "want a comma or the end of the object or array"
	}
	return i + 1, ""
}

func (p *parser) pop() {
	p.stack = p.stack[:len(p.stack)-1]
	p.want = wantCommaOrEnd
	if len(p.stack) == 0 {
		p.want = wantDocument
	}
}

func (p *parser) push(object bool) string {
	if len(p.stack) >= p.s.e.o.MaxDepth {
		return "nested too deeply (MaxDepth)"
	}
	at := p.at
	if p.want == wantDocument {
		at = p.root
	}
	p.stack = append(p.stack, frame{at, object})
	if object {
		p.want = wantKeyOrEnd
	} else {
		p.want, p.at = wantElementOrEnd, at.element()
	}
	return ""
}

// key reads a key and, as a rule, the colon after it.
func (p *parser) key(b []byte, i int) (int, string) {
	if b[i] == '}' && p.want == wantKeyOrEnd {
		p.pop()
		return i + 1, ""
	}
	if b[i] != '"' {
		return i, "want a key"
	}
	end, closed, escaped, bad := content(b, i+1)
	if bad != "" {
		return end, bad
	}
	if !closed {
		return i, ""
	}
	text := b[i+1 : end]
	if at := p.stack[len(p.stack)-1].at; at == nil {
		p.at = nil
	} else {
		if escaped {
			p.plain = unescape(p.plain[:0], text)
			p.at = at.child(p.plain)
		} else {
			p.at = at.child(text)
		}
	}
	if p.known {
		p.search(b, i+1, end)
	}
	p.want = wantColon
	if end++; end < len(b) && b[end] == ':' {
		end++
		p.want = wantValue
	}
	return end, ""
}

// value reads a value, or the beginning of one.
func (p *parser) value(b []byte, i int, last bool) (int, string) {
	switch c := b[i]; {
	case c == '"':
		return p.text(b, i)
	case c == '{', c == '[':
		return i + 1, p.push(c == '{')
	case c == ']' && p.want == wantElementOrEnd:
		p.pop()
		return i + 1, ""
	case c == '-' || c >= '0' && c <= '9':
		end, ok := number(b, i)
		if end == len(b) && !last {
			return i, ""
		}
		if !ok {
			return end, "not a number"
		}
		p.number(b, i, end)
		p.done()
		return end, ""
	default:
		word := literal(c)
		n := min(len(word), len(b)-i)
		if word == "" || string(b[i:i+n]) != word[:n] {
			return i, "want a value"
		}
		if n < len(word) {
			return i, ""
		}
		if p.action() != nil && c != 'n' {
			p.plain = append(append(append(p.plain[:0], '"'), p.s.textOf(&p.face, p.digest(b[i:i+n]))...), '"')
			p.replace(b, i, i+n, p.plain)
		}
		p.done()
		return i + n, ""
	}
}

func (p *parser) action() *action {
	if p.want == wantDocument {
		return p.root.action()
	}
	return p.at.action()
}

// done notes the end of a value.
func (p *parser) done() {
	p.want = wantCommaOrEnd
	if len(p.stack) == 0 {
		p.want = wantDocument
	}
}

// number masks a number by one of its own kind.
func (p *parser) number(b []byte, start, end int) {
	text := b[start:end]
	if p.action() == nil {
		if _, found := p.lookUp(text); !found {
			return
		}
	}
	p.replace(b, start, end, p.s.numberOf(&p.face, p.learn(text)))
}

// text reads a string value, or as much of it as there is.
func (p *parser) text(b []byte, i int) (int, string) {
	end, closed, escaped, bad := content(b, i+1)
	if bad != "" {
		return end, bad
	}
	a := p.action()
	if !closed && p.splices != nil {
		return end, "the document ends too early"
	}
	if !closed {
		p.begin(b, i+1, end, escaped, a)
		return end, ""
	}
	switch {
	case a != nil:
		p.hide(b, i+1, end, escaped, a)
	case p.known:
		p.search(b, i+1, end)
	}
	p.done()
	return end + 1, ""
}
