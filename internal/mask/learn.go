package mask

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"hash"
	"math/bits"
	"net/url"
)

const (
	// lineBytes is the length from which on a line of a value of several lines is learned by itself, so that a key
	// printed with indentation is still recognised.
	lineBytes = 16
	// wholeBytes is up to which size a value is held to look for secrets inside it; longer ones are learned as they pass.
	wholeBytes = 64 << 10
)

// Learn makes value known to be secret. It is not kept; see Engine. White space around it does not count. What a
// value holds is learned too: its longer lines, and what is plainly a password or token in a JSON document, in lines
// of KEY=VALUE and in a URL. A value shorter than Options.MinValueBytes, of fewer than five different bytes or ten digits
// alone, or made of words of Options.Vocabulary is not learned.
func (e *Engine) Learn(value []byte) {
	f := e.keys.fingerprint(value, 0)
	if _, ok := e.seen.get(f); ok {
		return
	}
	l := e.learner()
	l.whole(value)
	e.putLearner(l)
	e.seen.put(f, digest{})
}

// learner cuts values into patterns. It has room for what it needs and is used again.
type learner struct {
	e *Engine
	// collect takes the digests of patterns that would be learned, which then are not.
	collect map[digest]bool
	buf     [keyBytes + maxPattern]byte
}

func (e *Engine) learner() *learner {
	if l, ok := e.parts.Get().(*learner); ok {
		return l
	}
	return &learner{e: e}
}

func (e *Engine) putLearner(l *learner) {
	clear(l.buf[:])
	e.parts.Put(l)
}

// whole learns a value that is at hand in one piece.
func (l *learner) whole(value []byte) {
	value = bytes.TrimSpace(value)
	l.pieces(value)
	if len(value) <= wholeBytes && isText(value) {
		l.lines(value)
		l.inside(value, 0)
	}
}

// isText reports whether it makes sense to look for lines and words in v.
func isText(v []byte) bool {
	for i := plainRun(v, 0); i < len(v); i = plainRun(v, i+1) {
		if v[i] < 0x20 && !isSpace(v[i]) {
			return false
		}
	}
	return true
}

func (l *learner) lines(v []byte) {
	if bytes.IndexByte(v, '\n') >= 0 {
		for line := range bytes.SplitSeq(v, []byte{'\n'}) {
			l.line(line)
		}
	}
}

// pieces learns a value without looking inside it.
func (l *learner) pieces(value []byte) {
	l.cut(value)
	if bytes.IndexByte(value, ' ') < 0 {
		return
	}
	// A form writes a space as a plus (application/x-www-form-urlencoded). What is percent-encoded around it is undone
	// where it is found; a plus cannot be, since it may be one.
	form := bytes.ReplaceAll(value, []byte{' '}, []byte{'+'})
	l.cut(form)
	clear(form)
}

func (l *learner) cut(value []byte) {
	if len(value) < l.e.o.MinValueBytes {
		return
	}
	more := false
	for len(value) > maxPattern {
		l.pattern(value[:pieceBytes], more)
		value, more = value[pieceBytes:], true
	}
	l.pattern(value, more)
}

// line learns a line of a longer value, where it has a word long enough to be worth it.
func (l *learner) line(line []byte) {
	line = bytes.TrimSpace(line)
	if bytes.HasPrefix(line, []byte("-----")) {
		return // the armour of a key says nothing
	}
	for word := range bytes.FieldsSeq(line) {
		if len(word) >= lineBytes {
			l.pieces(line)
			return
		}
	}
}

// pattern learns v from the first place on at which it begins like a value and not like a filler: where eight bytes
// are of at least three kinds. What is before it, and a v without such a place, would be found everywhere and says
// nothing.
func (l *learner) pattern(v []byte, more bool) {
	for len(v) >= windowBytes && filler(v[:windowBytes]) {
		v = v[1:]
	}
	e := l.e
	if len(v) < e.o.MinValueBytes || !more && e.words.weak(v) {
		return
	}
	mac := e.keys.digestOf(append(l.buf[:keyBytes], v...))
	if l.collect != nil {
		l.collect[mac] = true
		return
	}
	if e.index.Load().byMAC(&mac) != nil {
		return
	}
	if (*e.forgotten.Load())[mac] {
		return
	}
	if e.full.Load() {
		e.refused.Add(1)
		return
	}
	r := e.keys.newRecord(v, more, mac)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.add(&r)
}

// filler reports whether b is of one or two kinds of bytes.
func filler(b []byte) bool {
	other := b[0]
	for _, c := range b {
		if c == b[0] || c == other {
			continue
		}
		if other != b[0] {
			return false
		}
		other = c
	}
	return true
}

// add puts a record in, where there is room. The caller holds mu.
func (e *Engine) add(r *record) {
	x := e.index.Load()
	if x.byMAC(&r.MAC) != nil {
		return
	}
	if (*e.forgotten.Load())[r.MAC] { // since it was made
		return
	}
	if x.count >= e.o.MaxValues {
		e.full.Store(true)
		e.refused.Add(1)
		return
	}
	if x.count == len(x.records) {
		grown := newIndex(e.keys, min(4*len(x.records), powerOf2(e.o.MaxValues)))
		for i := range x.records {
			grown.add(&x.records[i])
		}
		x = grown
	}
	x.add(r)
	e.changes++
	e.index.Store(x)
}

func powerOf2(least int) int { return 1 << bits.Len(uint(least-1)) }

// inside learns what is plainly a secret inside a value.
func (l *learner) inside(value []byte, depth int) {
	if depth > 4 || len(value) < windowBytes {
		return
	}
	if value[0] == '{' || value[0] == '[' {
		var doc any
		if json.Unmarshal(value, &doc) == nil {
			l.document("", doc, depth)
			return
		}
	}
	l.userinfo(value)
	l.assignments(value)
}

// document walks a JSON value: a service account's key file, a registry's credentials.
func (l *learner) document(key string, v any, depth int) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			l.document(k, x, depth)
		}
	case []any:
		for _, x := range v {
			l.document(key, x, depth)
		}
	case string:
		if secretName([]byte(key)) {
			l.named([]byte(v), depth)
		}
		l.inside([]byte(v), depth+1)
	}
}

// named learns a value whose name says that it is secret.
func (l *learner) named(v []byte, depth int) {
	v = bytes.TrimSpace(v)
	l.pieces(v)
	l.lines(v)
	// A registry's auth is the base64 of user:password.
	if plain, err := base64.StdEncoding.DecodeString(string(v)); err == nil {
		if _, password, ok := bytes.Cut(plain, []byte{':'}); ok {
			l.pieces(bytes.TrimSpace(password))
		}
	}
}

// userinfo learns the password of each URL in v.
func (l *learner) userinfo(v []byte) {
	for {
		i := bytes.Index(v, []byte("://"))
		if i < 0 {
			return
		}
		v = v[i+3:]
		end := bytes.IndexAny(v, "/ \t\r\n\"'?#")
		if end < 0 {
			end = len(v)
		}
		at := bytes.LastIndexByte(v[:end], '@')
		if at < 0 {
			continue
		}
		if _, password, ok := bytes.Cut(v[:at], []byte{':'}); ok {
			l.pieces(password)
			if plain, err := url.PathUnescape(string(password)); err == nil {
				l.pieces([]byte(plain))
			}
		}
	}
}

// assignments learns VALUE of each KEY=VALUE and KEY: VALUE whose key says that it is secret, whether these stand on
// lines of their own or in a connection string.
func (l *learner) assignments(v []byte) {
	for line := range bytes.SplitSeq(v, []byte{'\n'}) {
		if key, value, ok := bytes.Cut(line, []byte(": ")); ok && secretName(key) {
			l.pieces(unquote(value))
		}
		for {
			i := bytes.IndexByte(line, '=')
			if i < 0 {
				break
			}
			key, rest := line[:i], line[i+1:]
			if j := bytes.LastIndexAny(key, " ;&?,\t"); j >= 0 {
				key = key[j+1:]
			}
			line = rest
			if !secretName(key) {
				continue
			}
			l.pieces(unquote(rest))
			if j := bytes.IndexAny(rest, " ;&,\t"); j >= 0 {
				l.pieces(unquote(rest[:j]))
			}
		}
	}
}

func unquote(v []byte) []byte {
	v = bytes.TrimSpace(v)
	if n := len(v); n >= 2 && (v[0] == '"' || v[0] == '\'') && v[n-1] == v[0] {
		return v[1 : n-1]
	}
	return v
}

var secretNames = [][]byte{[]byte("pass"), []byte("pwd"), []byte("secret"), []byte("token"), []byte("key"), []byte("auth"), []byte("credential"), []byte("private")}

func secretName(name []byte) bool {
	name = bytes.ToLower(name)
	for _, s := range secretNames {
		if bytes.Contains(name, s) {
			return true
		}
	}
	return false
}

// passing learns and digests a value that is too long to be held. At most two patterns' length and one line are held.
//
// What is not sure to be the value is digested alone.
type passing struct {
	l     *learner
	sum   hash.Hash
	piece []byte
	line  []byte
	lines bool // a line end was met
	other bool // so was what is not text
	more  bool
	start bool // something other than white space was met
}

func (e *Engine) newPassing() *passing {
	p := &passing{l: e.learner(), sum: sha256.New()}
	p.sum.Write(e.keys.value[:])
	return p
}

func (p *passing) write(b []byte, learn bool) {
	p.sum.Write(b)
	for learn && len(b) > 0 {
		n := min(len(b), pieceBytes)
		p.chunk(b[:n])
		b = b[n:]
	}
}

func (p *passing) chunk(b []byte) {
	text := b
	if !p.start {
		text = bytes.TrimLeft(text, " \t\r\n\v\f")
		p.start = len(text) > 0
	}
	p.piece = append(p.piece, text...)
	// Keep more than maxPattern, so that the cuts are those of a value that is at hand in one piece.
	for len(p.piece) > 2*maxPattern {
		p.l.pattern(p.piece[:pieceBytes], p.more)
		p.more = true
		p.piece = append(p.piece[:0], p.piece[pieceBytes:]...)
	}
	if p.other = p.other || !isText(b); p.other {
		p.lines, p.line = false, p.line[:0]
		return
	}
	for line := range bytes.SplitAfterSeq(b, []byte{'\n'}) {
		p.line = append(p.line, line...)
		if bytes.HasSuffix(line, []byte{'\n'}) || len(p.line) >= maxPattern {
			p.lines = p.lines || bytes.HasSuffix(line, []byte{'\n'})
			if p.lines {
				p.l.line(p.line)
			}
			p.line = p.line[:0]
		}
	}
}

// end gives the value's digest.
func (p *passing) end() (d digest) {
	if p.lines {
		p.l.line(p.line)
	}
	rest := bytes.TrimRight(p.piece, " \t\r\n\v\f")
	for len(rest) > maxPattern {
		p.l.pattern(rest[:pieceBytes], p.more)
		rest, p.more = rest[pieceBytes:], true
	}
	if len(rest) >= p.l.e.o.MinValueBytes {
		p.l.pattern(rest, p.more)
	}
	copy(d[:], p.sum.Sum(nil))
	p.drop()
	return d
}

// drop forgets all bytes.
func (p *passing) drop() {
	clear(p.piece[:cap(p.piece)])
	clear(p.line[:cap(p.line)])
	p.l.e.putLearner(p.l)
	p.piece, p.line = nil, nil
}
