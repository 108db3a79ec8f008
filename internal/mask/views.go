package mask

import (
	"bytes"
	"unicode/utf8"
)

// view is a stretch of the stream with one more layer undone, and where each of its bytes came from. It is made only
// around escapes: elsewhere the stream's own bytes are what there is to see.
type view struct {
	text []byte
	from []int // of each byte of text, and of what follows it; nil where text is the stream's own
	cut  bool  // it ends because the stream has not gone on yet
}

func (v *view) origin(i int) int {
	if v.from == nil {
		return i
	}
	return v.from[i]
}

const (
	// wrapRun is how many characters of base64 or hexadecimal must stand before a line end for it to count as a wrap.
	wrapRun = 16
	// settle is how many bytes without an escape end a view: a window, and room for one escape of the next layer.
	settle = windowBytes + 16
)

// trigger gives the first position from i on at which a layer may have something to undo; -1 where none is.
func trigger(b []byte, i int, kind layer) int {
	switch kind {
	case jsonEscapes:
		return indexByte(b, i, '\\')
	case percentEscapes:
		return indexByte(b, i, '%')
	}
	for {
		if i = indexByte(b, i, '\n'); i < 0 || wrapped(b, i) {
			return i
		}
		i++
	}
}

func indexByte(b []byte, i int, c byte) int {
	if i >= len(b) {
		return -1
	}
	if j := bytes.IndexByte(b[i:], c); j >= 0 {
		return i + j
	}
	return -1
}

// wrapped reports whether the line end at i stands in what may be base64 or hexadecimal.
func wrapped(b []byte, i int) bool {
	if i > 0 && b[i-1] == '\r' {
		i--
	}
	// Where fewer bytes are at hand, the run may have begun before them.
	run := b[max(0, i-wrapRun):i]
	for j := len(run) - 1; j >= 0; j-- {
		if base64Value(run[j]) == base64Bad {
			return false
		}
	}
	return len(run) > 0
}

// search looks through those windows of v that an escape is part of, and below each layer through the layers below
// that. What may begin a pattern is judged at its place in the stream.
func (s *stream) search(v *view, depth int) {
	for kind := jsonEscapes; kind <= lineWraps; kind++ {
		for i := trigger(v.text, 0, kind); i >= 0; {
			i = trigger(v.text, s.around(v, i, kind, depth), kind)
		}
	}
}

// around makes the view of the escapes that begin at v.text[i], from a window before them on until there are no more;
// searches it; and gives where it ended.
func (s *stream) around(v *view, i int, kind layer, depth int) int {
	under := &s.views[depth]
	under.text, under.from, under.cut = under.text[:0], under.from[:0], false
	at := max(0, i-windowBytes+1)
	for quiet := at - i; quiet < settle; quiet++ {
		if at == len(v.text) {
			under.cut = v.cut
			break
		}
		c, from := v.text[at], v.origin(at)
		if !kind.begins(c) {
			under.text, under.from = append(under.text, c), append(under.from, from)
			at++
			continue
		}
		var out [utf8.UTFMax]byte
		n, size := kind.undo(v.text[at:], &out, v.cut)
		if size == 0 && v.cut {
			under.cut = true
			break
		}
		if size == 0 {
			n, size = 1, 1
		}
		for _, c := range out[:n] {
			under.text, under.from = append(under.text, c), append(under.from, from)
		}
		at += size
		quiet = 0
	}
	under.from = append(under.from, v.origin(at))
	s.windows(under)
	if depth+1 < maxLayers {
		s.search(under, depth+1)
	}
	return max(at, i+1)
}

// begins reports whether c is the first of what kind may undo.
func (kind layer) begins(c byte) bool {
	switch kind {
	case jsonEscapes:
		return c == '\\'
	case percentEscapes:
		return c == '%'
	}
	return c == '\n' || c == '\r'
}

// undo gives what the escape at the start of b stands for, n bytes of out, and its size: 0 where the end of b cuts it.
// What is no escape stands for itself. open says that b may go on.
func (kind layer) undo(b []byte, out *[utf8.UTFMax]byte, open bool) (n, size int) {
	out[0] = b[0]
	switch kind {
	case jsonEscapes:
		r, size := escapeAt(b)
		if size > 0 {
			return utf8.EncodeRune(out[:], r), size
		}
		return 1, -size // 1 where it is none, 0 where it is cut
	case percentEscapes:
		if len(b) < 3 {
			return 1, 0
		}
		if c, ok := hexByte(b[1], b[2]); ok {
			out[0] = c
			return 1, 3
		}
		return 1, 1
	}
	for size < len(b) && isSpace(b[size]) {
		size++
	}
	if size == len(b) {
		return 0, 0
	}
	stamp, cut := stampAt(b[size:])
	if cut && open {
		return 0, 0
	}
	return 0, size + stamp
}

// windows judges each place of v at which a pattern may begin.
func (s *stream) windows(v *view) {
	for i := s.x.next(v.text, 0); i >= 0; i = s.x.next(v.text, i+2) {
		if i > 0 {
			s.judge(v.origin(i - 1))
		}
		s.judge(v.origin(i))
	}
	for i := nextToken(v.text, 0); i < len(v.text); i = nextToken(v.text, i+1) {
		s.judge(v.origin(i))
	}
	if !v.cut {
		return
	}
	tail := max(0, len(v.text)-windowBytes+1)
	s.open = min(s.open, v.origin(tail))
	for i := tail; i+shortBytes <= len(v.text); i++ {
		if s.x.mayStart(v.text[i:]) {
			s.live = min(s.live, v.origin(i))
			break
		}
	}
}

// judge looks whether a pattern begins at position i of the stream.
func (s *stream) judge(i int) {
	if i < s.floor {
		return
	}
	found, v := s.match.at(s.buf, i, s.mode == ended)
	switch v {
	case perhaps:
		s.live = min(s.live, i)
	case yes:
		found.start, _ = back(s.buf, i, found.before, s.floor)
		found.start = unitStart(s.buf, found.start)
		found.end = unitEnd(s.buf, found.end)
		if found.token && !s.admit(&found) {
			return
		}
		s.spans = append(s.spans, found)
	}
}
