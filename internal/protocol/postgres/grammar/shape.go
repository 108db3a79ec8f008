package grammar

import (
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Statements that differ in nothing but literals can do the same: what classify and Exposes say of a statement hangs on its words,
// not on the values that it compares with. So one text of a shape is parsed, and what is known of it holds for all of that shape.
//
// A shape is the text with each plain integer and each plain string put in one form. Everything else is in it byte for byte, and a text
// in which something could be read in more than one way has no shape: it is parsed. Shared are only single statements of the kinds below
// that set nothing: in those the grammar looks at no literal's value but the precision of FLOAT, and texts with that word have no shape.
//
// TestShapes and FuzzShapes hold what is shared against a parse of each text.

// sharedKinds are the kinds of statements that are shared by their shape.
var sharedKinds = []string{"select", "select for update", "insert", "update", "delete"}

// isShared reports whether what is known of s holds for every statement of its shape.
func (s *Statement) isShared() bool {
	for _, k := range s.Kinds {
		if !slices.Contains(sharedKinds, k) {
			return false
		}
	}
	return s.Setting == nil && s.Refuse == "" && s.Copy == nil && s.Prepared == "" && s.Cursor == ""
}

// of gives a statement of the same shape.
func (s *Statement) of(text string) *Statement {
	own := *s
	own.Text, own.like = text, s.Shape()
	return &own
}

// Shape is the same for all statements that differ in literals alone and were found to be able to do the same: what hangs on nothing
// but that may be remembered by it.
func (s *Statement) Shape() *Statement {
	if s.like != nil {
		return s.like
	}
	return s
}

const (
	// maxShape bounds texts that are worth a shape.
	maxShape = 16 << 10
	// maxDigits keeps an integer within 32 bits, beyond which the grammar takes it for another kind of number.
	maxDigits = 9
	// shapeMark is before a shape in the map in which texts are, too. No text that the wire carries has a zero byte (wire.ReadText), and Read
	// remembers none that begins with one.
	shapeMark = 0
)

// shapeKeys are buffers for appendShape.
var shapeKeys = sync.Pool{New: func() any { return new([]byte) }}

// appendShape appends a text's shape, behind a mark. It reports false where it has none.
func appendShape(b []byte, text string) ([]byte, bool) {
	if len(text) > maxShape || !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 { // the parser takes a text to end at a zero byte
		return b, false
	}
	b = append(b, shapeMark)
	for i := 0; i < len(text); {
		c, n := text[i], 1
		switch {
		case c == '\'':
			if n = quoted(text[i:], c); n == 0 || i > 0 && bindsQuote(text[i-1]) || strings.IndexByte(text[i:i+n], '\\') >= 0 {
				return b, false
			}
			b, i = append(b, "''"...), i+n
			continue
		case c == '"':
			if n = quoted(text[i:], c); n == 0 || i > 0 && text[i-1] == '&' {
				return b, false
			}
		case isDigit(c):
			for i+n < len(text) && isDigit(text[i+n]) {
				n++
			}
			if n > maxDigits || i > 0 && text[i-1] == '.' || i+n < len(text) && (isWord(text[i+n]) || text[i+n] == '.') {
				return b, false
			}
			b, i = append(b, '0'), i+n
			continue
		case isWord(c):
			for i+n < len(text) && isWord(text[i+n]) {
				n++
			}
			if strings.EqualFold(text[i:i+n], "float") {
				return b, false
			}
		case c == '$', c == '\\', c >= 0x80: // parameters, dollar quotes, letters of which a parser may think what it likes
			return b, false
		case i+1 < len(text) && (c == '-' && text[i+1] == '-' || c == '/' && text[i+1] == '*'): // comments
			return b, false
		}
		b, i = append(b, text[i:i+n]...), i+n
	}
	return b, true
}

// quoted is the length of what stands between quotes, with them, where one is written twice; 0 where it does not end.
func quoted(text string, quote byte) int {
	for i := 1; i < len(text); i++ {
		at := strings.IndexByte(text[i:], quote)
		if at < 0 {
			return 0
		}
		if i += at; i+1 == len(text) || text[i+1] != quote {
			return i + 1
		}
		i++
	}
	return 0
}

// bindsQuote reports whether a quote behind c may begin something else than a plain string: E'…', B'…', U&'…', or a part of a name.
func bindsQuote(c byte) bool { return c == '&' || c == '$' || c >= 0x80 || isWord(c) }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || isDigit(c)
}
