package mask

import "unicode/utf8"

// item is a value of a document that is at hand whole, with its place in it.
type item struct {
	kind       byte // one of { [ " 0 t f n
	start, end int
	keys       []string // of an object, unescaped
	kids       []*item
}

// tree reads a document that is at hand whole.
type tree struct {
	b        []byte
	i        int
	depth    int
	maxDepth int
	why      problem
}

// plant reads b, which must be one JSON value.
func (e *Engine) plant(b []byte) (*item, error) {
	t := tree{b: b, maxDepth: e.o.MaxDepth}
	n := t.value()
	t.space()
	if t.why == fine && t.i < len(b) {
		t.why = wantedEnd
	}
	if t.why != fine {
		return nil, &SyntaxError{Offset: int64(t.i), Why: problems[t.why]}
	}
	return n, nil
}

func (t *tree) fail(why problem) *item {
	if t.why == fine {
		t.why = why
	}
	return nil
}

func (t *tree) space() {
	for t.i < len(t.b) && isSpace(t.b[t.i]) {
		t.i++
	}
}

// is takes c, if it comes next.
func (t *tree) is(c byte) bool {
	t.space()
	if t.why == fine && t.i < len(t.b) && t.b[t.i] == c {
		t.i++
		return true
	}
	return false
}

func (t *tree) value() *item {
	t.space()
	if t.i == len(t.b) {
		return t.fail(endsEarly)
	}
	n := &item{start: t.i}
	switch c := t.b[t.i]; {
	case c == '"':
		n.kind = '"'
		t.text()
	case c == '{' || c == '[':
		n.kind = c
		t.members(n)
	case c == '-' || c >= '0' && c <= '9':
		n.kind = '0'
		end, ok := number(t.b, t.i)
		if t.i = end; !ok {
			t.fail(badNumber)
		}
	default:
		n.kind = c
		word := literal(c)
		if word == "" || len(t.b)-t.i < len(word) || string(t.b[t.i:t.i+len(word)]) != word {
			return t.fail(wantedValue)
		}
		t.i += len(word)
	}
	n.end = t.i
	return n
}

func (t *tree) members(n *item) {
	if t.depth++; t.depth > t.maxDepth {
		t.fail(badDepth)
		return
	}
	t.i++
	end := n.kind + 2 // } and ] are two after { and [
	if t.is(end) {
		t.depth--
		return
	}
	for t.why == fine {
		if n.kind == '{' {
			t.space()
			from := t.i
			if t.i == len(t.b) || t.b[t.i] != '"' {
				t.fail(wantedKey)
				return
			}
			t.text()
			if t.why != fine {
				return
			}
			n.keys = append(n.keys, string(unescape(nil, t.b[from+1:t.i-1])))
			if !t.is(':') {
				t.fail(wantedColon)
				return
			}
		}
		n.kids = append(n.kids, t.value())
		if t.is(end) {
			t.depth--
			return
		}
		if !t.is(',') {
			t.fail(wantedComma)
		}
	}
}

func (t *tree) text() {
	end, closed, _, bad := content(t.b, t.i+1)
	if bad == fine && !closed {
		bad = endsEarly
	}
	if bad != fine {
		t.i = end
		t.fail(bad)
		return
	}
	t.i = end + 1
}

// member gives the last value of key, as readers of duplicate keys take it.
func (n *item) member(key string) *item {
	if n == nil || n.kind != '{' {
		return nil
	}
	for i := len(n.keys) - 1; i >= 0; i-- {
		if n.keys[i] == key {
			return n.kids[i]
		}
	}
	return nil
}

// textIn is the text of a string in its document.
func (n *item) textIn(b []byte) string {
	if n == nil || n.kind != '"' {
		return ""
	}
	return string(unescape(nil, b[n.start+1:n.end-1]))
}

// spliceDocument gives b with parts replaced; list is in order.
func spliceDocument(b []byte, list []splice) []byte {
	size := len(b)
	for _, s := range list {
		size += len(s.with)
	}
	out := make([]byte, 0, size)
	at := 0
	for _, s := range list {
		out = append(append(out, b[at:s.start]...), s.with...)
		at = s.end
	}
	return append(out, b[at:]...)
}

// cutRunes is how long s may be in an error.
const cutRunes = 200

func cutText(s string) string {
	if utf8.RuneCountInString(s) <= cutRunes {
		return s
	}
	return string([]rune(s)[:cutRunes]) + "…"
}
