package mask

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func hexByte(a, b byte) (byte, bool) {
	x, ok1 := hexDigit(a)
	y, ok2 := hexDigit(b)
	return x<<4 | y, ok1 && ok2
}

func hex4(b []byte) (rune, bool) {
	hi, ok1 := hexByte(b[0], b[1])
	lo, ok2 := hexByte(b[2], b[3])
	return rune(hi)<<8 | rune(lo), ok1 && ok2
}

// simpleEscape is what a backslash and c stand for in JSON (RFC 8259, section 7), 0 where nothing.
func simpleEscape(c byte) byte {
	switch c {
	case '"', '\\', '/':
		return c
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return 0
}

// escapeAt reads the JSON escape at the start of b, which is a backslash. size is its length; 0 when b ends within it,
// negative when it is none (an unpaired surrogate is none).
func escapeAt(b []byte) (r rune, size int) {
	if len(b) < 2 {
		return 0, 0
	}
	if b[1] != 'u' {
		if c := simpleEscape(b[1]); c != 0 {
			return rune(c), 2
		}
		return 0, -1
	}
	r, size = unicodeAt(b)
	if size <= 0 || !utf16.IsSurrogate(r) {
		return r, size
	}
	if r >= 0xdc00 {
		return 0, -1
	}
	rest := b[6:]
	if len(rest) > 0 && rest[0] != '\\' || len(rest) > 1 && rest[1] != 'u' {
		return 0, -1
	}
	low, size := unicodeAt(rest)
	if size <= 0 {
		return 0, size
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, -1
	}
	return r, 12
}

// unicodeAt reads backslash, u and four hexadecimal digits.
func unicodeAt(b []byte) (rune, int) {
	for i := 2; i < 6; i++ {
		if i >= len(b) {
			return 0, 0
		}
		if _, ok := hexDigit(b[i]); !ok {
			return 0, -1
		}
	}
	r, _ := hex4(b[2:6])
	return r, 6
}

// unescape appends the text that the valid content of a JSON string stands for.
func unescape(dst, src []byte) []byte {
	for {
		i := bytes.IndexByte(src, '\\')
		if i < 0 {
			return append(dst, src...)
		}
		dst = append(dst, src[:i]...)
		r, size := escapeAt(src[i:])
		if size <= 0 { // cannot be: the content was checked
			return append(dst, src[i:]...)
		}
		dst = utf8.AppendRune(dst, r)
		src = src[i+size:]
	}
}

// unescapeLoose is unescape for bytes that need not be JSON: what is no escape stays.
func unescapeLoose(dst, src []byte) []byte {
	for {
		i := bytes.IndexByte(src, '\\')
		if i < 0 {
			return append(dst, src...)
		}
		dst = append(dst, src[:i]...)
		r, size := escapeAt(src[i:])
		if size <= 0 {
			dst, size = append(dst, '\\'), 1
		} else {
			dst = utf8.AppendRune(dst, r)
		}
		src = src[i+size:]
	}
}

// quoted appends text, which needs no escape but those of quotes and backslashes, as JSON string content.
func quoted(dst, text []byte) []byte {
	for _, c := range text {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return dst
}
