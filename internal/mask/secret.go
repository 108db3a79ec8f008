package mask

import (
	"bytes"
	"encoding/base64"
	"unicode/utf8"
)

// digest identifies value, without learning it.
func (p *parser) digest(value []byte) digest {
	p.keyed = append(p.keyed[:keyBytes], value...)
	return p.s.e.keys.digestOf(p.keyed)
}

// learns reports whether what a masks becomes known.
func (p *parser) learns(a *action) bool { return !p.s.quiet && (a == nil || !a.public) }

// learn makes the value that stands here known and gives its digest.
func (p *parser) learn(value []byte) digest {
	p.keyed = append(p.keyed[:keyBytes], value...)
	return p.learnKeyed(p.at.action())
}

// learnKeyed is learn for the value in p.keyed behind the key, which a masks.
func (p *parser) learnKeyed(a *action) digest {
	e := p.s.e
	d := e.keys.digestOf(p.keyed)
	if !p.learns(a) {
		return d
	}
	l := e.learner()
	l.whole(p.keyed[keyBytes:])
	e.putLearner(l)
	return d
}

// hide masks the string content b[start:end].
func (p *parser) hide(b []byte, start, end int, escaped bool, a *action) {
	raw := b[start:end]
	if len(raw) == 0 {
		return
	}
	if len(raw) > p.holdFor(a) {
		s := p.newSecret(a)
		s.write(raw)
		p.replace(b, start, end, s.end())
		return
	}
	if text, n := p.cover(raw, escaped, a); n > 0 {
		p.replace(b, start, end, text)
		p.masked += n - 1
		if a.encoding == JSON {
			p.seeNested(len(p.out)-len(text), len(p.out))
		}
	}
}

// holdFor is up to how many bytes a masked string is held; a longer one is hashed as it passes.
func (p *parser) holdFor(a *action) int {
	if a.encoding == JSON {
		return p.s.e.o.MaxNestedBytes
	}
	return wholeBytes
}

// cover gives what is to stand for the string content raw, and how many values that hides. p owns the result.
func (p *parser) cover(raw []byte, escaped bool, a *action) ([]byte, int64) {
	f := p.s.e.keys.fingerprint(raw, a.encoding)
	if d, ok := p.s.e.seen.get(f); ok {
		return p.stand(d, a.encoding), 1
	}
	text := raw
	if escaped {
		p.plain = unescape(p.plain[:0], raw)
		text = p.plain
	}
	encoding := Text
	switch a.encoding {
	case JSON:
		if list, n, ok := p.nested(text, a.nested); ok {
			p.scratch = spliceString(p.scratch[:0], raw, list)
			return p.scratch, n
		}
	case Base64:
		var ok bool
		if p.keyed, ok = decodeBase64(p.keyed[:keyBytes], text); ok && len(p.keyed) > keyBytes {
			encoding = Base64
		}
	}
	if encoding == Text {
		p.keyed = append(p.keyed[:keyBytes], text...)
	}
	d := p.learnKeyed(a)
	if encoding == a.encoding && p.learns(a) {
		p.s.e.seen.put(f, d)
	}
	return p.stand(d, encoding), 1
}

// stand gives the placeholder of a value as it is to be written.
func (p *parser) stand(d digest, e Encoding) []byte {
	if e == Base64 {
		return p.s.base64Of(&p.face, d)
	}
	return p.s.textOf(&p.face, d)
}

// nested masks the document that is the whole of text.
func (p *parser) nested(text []byte, shape *Shape) (list []splice, masked int64, ok bool) {
	q := p.s.newParser(shape, p.known)
	defer q.free()
	q.splices = &list
	used, why := q.parse(text, true)
	return list, q.masked, why == fine && used == len(text) && q.between()
}

// spliceString appends the string content raw, in which list replaces parts of the text that raw stands for.
func spliceString(dst, raw []byte, list []splice) []byte {
	at := 0 // in the text
	skip := func(to int, keep bool) {
		for at < to {
			n := bytes.IndexByte(raw[:min(len(raw), to-at)], '\\')
			size := n
			if n < 0 {
				n = to - at
				size = n
			} else if n == 0 {
				var r rune
				r, size = escapeAt(raw)
				n = utf8.RuneLen(r)
			}
			if keep {
				dst = append(dst, raw[:size]...)
			}
			raw = raw[size:]
			at += n
		}
	}
	for _, s := range list {
		skip(s.start, true)
		skip(s.end, false)
		dst = quoted(dst, s.with)
	}
	return append(dst, raw...)
}

// secret takes in a masked string that comes in pieces.
type secret struct {
	p    *parser
	a    *action
	raw  []byte // as long as that is short enough to hold
	text *passing
	data *passing // what text is the base64 of; nil where it cannot be
	rest []byte   // less than a quad
}

func (p *parser) newSecret(a *action) *secret { return &secret{p: p, a: a} }

// write takes whole escapes and runes.
func (s *secret) write(raw []byte) {
	if s.text == nil {
		if len(s.raw)+len(raw) <= s.p.holdFor(s.a) {
			s.raw = append(s.raw, raw...)
			return
		}
		s.text = s.p.s.e.newPassing()
		if s.a.encoding == Base64 {
			s.data = s.p.s.e.newPassing()
		}
		s.pass(s.raw)
		clear(s.raw)
		s.raw = nil
	}
	s.pass(raw)
}

func (s *secret) pass(raw []byte) {
	for len(raw) > 0 {
		n := min(len(raw), 4<<10)
		if n < len(raw) {
			n = unitStart(raw, n)
		}
		s.p.plain = unescape(s.p.plain[:0], raw[:n])
		raw = raw[n:]
		s.text.write(s.p.plain, s.data == nil && s.p.learns(s.a))
		s.decode(s.p.plain)
	}
}

// decode passes on what text is the base64 of. Padding ends it.
func (s *secret) decode(text []byte) {
	if s.data == nil {
		return
	}
	for _, c := range text {
		if c != '\r' && c != '\n' {
			s.rest = append(s.rest, c)
		}
	}
	if i := bytes.IndexByte(s.rest, '='); i >= 0 {
		if len(s.rest)-i > 2 {
			s.notBase64()
		}
		return // the last quad is decoded at the end
	}
	s.decodeQuads(len(s.rest) / 4 * 4)
}

func (s *secret) notBase64() {
	s.data.drop()
	s.data = nil
}

func (s *secret) decodeQuads(n int) {
	var ok bool
	s.p.scratch, ok = decodeBase64(s.p.scratch[:0], s.rest[:n])
	if !ok {
		s.notBase64()
		return
	}
	s.data.write(s.p.scratch, s.p.learns(s.a))
	s.rest = s.rest[:copy(s.rest, s.rest[n:])]
}

// end gives what stands for the string. The parser owns it.
func (s *secret) end() []byte {
	p := s.p
	if len(s.raw) == 0 && s.text == nil {
		return nil
	}
	if s.text == nil {
		text, n := p.cover(s.raw, bytes.IndexByte(s.raw, '\\') >= 0, s.a)
		if n == 0 {
			text = append(p.scratch[:0], s.raw...)
			p.scratch = text
		}
		p.masked += n
		clear(s.raw)
		return text
	}
	p.masked++
	if s.data != nil {
		s.decodeQuads(len(s.rest))
	}
	d := s.text.end()
	if s.data == nil {
		return p.s.textOf(&p.face, d)
	}
	return base64.StdEncoding.AppendEncode(p.scratch[:0], p.s.textOf(&p.face, s.data.end()))
}

// drop forgets a string that will not end.
func (s *secret) drop() {
	clear(s.raw)
	for _, p := range []*passing{s.text, s.data} {
		if p != nil {
			p.drop()
		}
	}
}

// begin starts on a string that goes on after b.
func (p *parser) begin(b []byte, start, end int, a *action) {
	p.inside = true
	p.keep(b, start)
	p.open = len(p.out)
	if p.known && !p.ahead {
		p.sweep(len(p.out))
	}
	switch {
	case a != nil:
		p.secret = p.newSecret(a)
	case p.known && !p.ahead:
		p.ownStream().reset()
		p.stream.prime(p.before, true)
	default:
		p.skipped = true
	}
	p.proceed(b, end)
}

// proceed takes b[p.from:end] of the string that p is in.
func (p *parser) proceed(b []byte, end int) {
	switch {
	case p.secret != nil:
		p.secret.write(b[p.from:end])
	case p.skipped:
		p.out = append(p.out, b[p.from:end]...)
	default:
		p.out = p.stream.write(p.out, b[p.from:end])
	}
	p.from = end
}

// resume goes on with the string that the last piece ended in.
func (p *parser) resume(b []byte) (int, problem) {
	end, closed, _, bad := content(b, 0)
	if bad != fine {
		return end, bad
	}
	p.proceed(b, end)
	if !closed {
		return end, fine
	}
	switch {
	case p.secret != nil:
		nested := p.secret.a.encoding == JSON
		p.out = append(p.out, p.secret.end()...)
		p.secret = nil
		if nested {
			p.seeNested(p.open, len(p.out))
		}
	case p.skipped && p.known:
		p.see(end-(len(p.out)-p.open), end)
	case !p.skipped:
		p.out = p.stream.run(p.out, ended)
		p.masked += p.stream.masked
		p.stream.reset()
	}
	p.inside, p.skipped = false, false
	p.done()
	return end + 1, fine
}

func (p *parser) ownStream() *stream {
	if p.stream == nil {
		p.stream = p.s.newStream()
	}
	return p.stream
}

// look sees to it that nothing known stays in b[start:end], which no rule masks.
func (p *parser) look(b []byte, start, end int) {
	switch {
	case p.splices != nil:
		p.search(b, start, end)
	case p.known && end-start >= windowBytes:
		p.see(start, end)
	}
}

// search replaces known values in the string content b[start:end].
func (p *parser) search(b []byte, start, end int) {
	if text, found := p.lookUp(b[start:end], p.context(b, 0, start), true); found {
		n := p.stream.masked
		p.replace(b, start, end, text)
		p.masked += n - 1
	}
}

// lookUp gives text with known values replaced, if there are any. The parser owns it.
//
// before and quoted are what detectors need to know: what stands before it, and whether it is what a JSON string holds.
func (p *parser) lookUp(text, before []byte, quoted bool) ([]byte, bool) {
	if !p.known || len(text) < windowBytes {
		return nil, false
	}
	if x := p.s.e.index.Load(); p.s.detectors == nil && x.next(text, 0) < 0 && bytes.IndexByte(text, '\\') < 0 && bytes.IndexByte(text, '%') < 0 && nextToken(text, 0) == len(text) {
		return nil, false
	}
	t := p.ownStream()
	t.reset()
	t.prime(before, quoted)
	p.scratch = t.write(p.scratch[:0], text)
	p.scratch = t.run(p.scratch, ended)
	return p.scratch, t.masked > 0
}
