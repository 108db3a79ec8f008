package mask

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// problem is what is wrong with input.
type problem uint8

const (
	fine problem = iota
	badEscape
	badControl
	badUTF8
	badNumber
	badDepth
	badToken
	wantedKey
	wantedColon
	wantedComma
	wantedValue
	wantedEnd
	endsEarly
)

var problems = [...]string{
	badEscape:   "no such escape, or half of a surrogate pair",
	badControl:  "control character in string",
	badUTF8:     "not UTF-8",
	badNumber:   "not a number",
	badDepth:    "nested too deeply (MaxDepth)",
	badToken:    "key or number too long (MaxTokenBytes)",
	wantedKey:   "want a key",
	wantedColon: "want a colon",
	wantedComma: "want a comma, or the end of the object or array",
	wantedValue: "want a value",
	wantedEnd:   "want the end",
	endsEarly:   "the document ends too early",
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// notPlain marks the top bit of each byte of w that is a quote, a backslash, a control character or not ASCII; of the
// marks only the lowest is exact. A byte is below n where subtracting n borrows from its top bit.
func notPlain(w uint64) uint64 {
	q, s := w^(ones*'"'), w^(ones*'\\')
	return (w | (w-ones*0x20)&^w | (q-ones)&^q | (s-ones)&^s) & highs
}

func firstByte(marks uint64) int { return bits.TrailingZeros64(marks) >> 3 }

// plainRun gives the first position from i on that is a quote, a backslash, a control character or not ASCII;
// len(b) where none is. Sixteen bytes at a time.
func plainRun(b []byte, i int) int {
	for ; i+16 <= len(b); i += 16 {
		c := b[i : i+16 : i+16]
		m, n := notPlain(binary.LittleEndian.Uint64(c)), notPlain(binary.LittleEndian.Uint64(c[8:]))
		if m != 0 {
			return i + firstByte(m)
		}
		if n != 0 {
			return i + 8 + firstByte(n)
		}
	}
	for ; i+8 <= len(b); i += 8 {
		if m := notPlain(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + firstByte(m)
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			break
		}
	}
	return i
}

// content reads on in a JSON string from position i and gives where it stopped: at the closing quote (closed), before
// an escape or rune that the end of b cuts, or before what is not allowed there (bad is set).
func content(b []byte, i int) (end int, closed, escaped bool, bad problem) {
	for {
		i = plainRun(b, i)
		if i == len(b) {
			return i, false, escaped, fine
		}
		switch c := b[i]; {
		case c == '"':
			return i, true, escaped, fine
		case c == '\\':
			escaped = true
			_, size := escapeAt(b[i:])
			if size == 0 {
				return i, false, escaped, fine
			}
			if size < 0 {
				return i, false, escaped, badEscape
			}
			i += size
		case c < 0x20:
			return i, false, escaped, badControl
		default:
			r, size := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && size == 1 {
				if !utf8.FullRune(b[i:]) {
					return i, false, escaped, fine
				}
				return i, false, escaped, badUTF8
			}
			i += size
		}
	}
}

func isSpace(c byte) bool { return c <= ' ' && (c == ' ' || c == '\n' || c == '\r' || c == '\t') }

// number gives the end of the number (RFC 8259, section 6) that begins at i, and whether there is one. One that
// reaches the end of b may go on.
func number(b []byte, i int) (int, bool) {
	digits := func() bool {
		from := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if b[i] == '-' {
		i++
	}
	switch {
	case i == len(b):
		return i, false
	case b[i] == '0':
		i++
	case !digits():
		return i, false
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return i, false
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return i, false
		}
	}
	return i, true
}

// literal gives the word that must stand where c does; empty where none begins so.
func literal(c byte) string {
	switch c {
	case 't':
		return "true"
	case 'f':
		return "false"
	case 'n':
		return "null"
	}
	return ""
}
