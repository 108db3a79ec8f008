package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strconv"

	"gatebook/internal/access"
)

// Prefix begins every placeholder that is text.
const Prefix = access.PlaceholderPrefix

const (
	placeholderDigits = 26
	placeholderBytes  = len(Prefix) + placeholderDigits // 30: a multiple of three, so base64 needs no padding
	placeholderBase64 = placeholderBytes / 3 * 4
	// damagedDigits is from how many digits on what follows Prefix counts as a placeholder, perhaps a cut one.
	damagedDigits = 12
	// numberPrefix begins a placeholder that stands for a number: 15 digits, exact in every reader's numbers.
	numberPrefix = "710298"
	numberDigits = 9
	base32Digits = "abcdefghijklmnopqrstuvwxyz234567"
)

// face is room to make a placeholder in without allocating.
type face struct {
	in, out [16]byte
	text    [placeholderBytes]byte
	long    [placeholderBase64]byte
}

// textOf is "gbm-" and the base32 of the value's digest enciphered under the session's key. f owns the result.
func (s *Scope) textOf(f *face, d digest) []byte {
	f.in = d
	s.block.Encrypt(f.out[:], f.in[:])
	copy(f.text[:], Prefix)
	hi, lo := binary.BigEndian.Uint64(f.out[:]), binary.BigEndian.Uint64(f.out[8:])
	for i := range placeholderDigits {
		f.text[len(Prefix)+i] = base32Digits[hi>>59]
		hi = hi<<5 | lo>>59
		lo <<= 5
	}
	return f.text[:]
}

func (s *Scope) base64Of(f *face, d digest) []byte {
	base64.StdEncoding.Encode(f.long[:], s.textOf(f, d))
	return f.long[:]
}

// numberOf is the placeholder of a number: digits alone, so that it stays parseable.
func (s *Scope) numberOf(f *face, d digest) []byte {
	s.textOf(f, d)
	n := binary.BigEndian.Uint64(f.out[:]) % 1_000_000_000
	b := strconv.AppendUint(append(f.long[:0], numberPrefix...), 1_000_000_000+n, 10)
	b = append(b[:len(numberPrefix)], b[len(numberPrefix)+1:]...)
	return b
}

// Placeholder is what stands for value in this session's text.
func (s *Scope) Placeholder(value []byte) string {
	var f face
	return string(s.textOf(&f, s.e.digestOf(value)))
}

// digestOf copies value; for hot paths see keys.digestOf.
func (e *Engine) digestOf(value []byte) digest {
	return e.keys.digestOf(append(make([]byte, keyBytes, keyBytes+len(value)), value...))
}

// base64Needles are what base64 makes of Prefix at each alignment, as far as it does not depend on the neighbours.
var base64Needles = [3]struct {
	text   string
	before string // the first quad up to the needle, with those bits that are Prefix's
}{{"Z2JtL", ""}, {"dibS", "AG"}, {"nYm0t", "AAB"}}

// HasPlaceholder reports whether b holds anything that may be a placeholder of any session, whole or cut: in text, in
// base64 at any alignment, also twice, in hexadecimal, or with JSON escapes. It costs a few searches where there is none.
func (s *Scope) HasPlaceholder(b []byte) bool {
	for range 4 {
		if hasPlaceholder(b) {
			return true
		}
		if bytes.IndexByte(b, '\\') < 0 {
			return false
		}
		b = unescapeLoose(nil, b)
	}
	return hasPlaceholder(b)
}

func hasPlaceholder(b []byte) bool {
	return hasPlain(b) || hasHex(b) || hasBase64(b) || hasBase64Twice(b)
}

// nestedNeedles are what base64 makes of base64Needles at each alignment, as far as it does not depend on the neighbours.
var nestedNeedles = newNestedNeedles()

func newNestedNeedles() (out []string) {
	for _, n := range base64Needles {
		for before := range 3 {
			in := append(make([]byte, before), n.text...)
			from, to := (before*8+5)/6, len(in)*8/6
			out = append(out, base64.RawStdEncoding.EncodeToString(in)[from:to])
		}
	}
	return out
}

// nestedBytes is more than a placeholder takes in base64 twice.
const nestedBytes = 80

// hasBase64Twice finds what a client makes of a placeholder in base64 that it takes for the value, and encodes.
func hasBase64Twice(b []byte) bool {
	for _, needle := range nestedNeedles {
		for at := 0; ; at++ {
			i := bytes.Index(b[at:], []byte(needle))
			if i < 0 {
				break
			}
			at += i
			end := at
			for end < len(b) && end < at+nestedBytes && base64Value(b[end]) != base64Bad {
				end++
			}
			for from := at; from >= 0 && from > at-4 && base64Value(b[from]) != base64Bad; from-- {
				if hasBase64(decodeBase64Loose(nil, b[from:end])) {
					return true
				}
			}
		}
	}
	return false
}

// isPlaceholder reports whether b is one whole placeholder, no more and no less.
func isPlaceholder(b []byte) bool {
	return len(b) == placeholderBytes && string(b[:len(Prefix)]) == Prefix && base32Run(b[len(Prefix):]) == placeholderDigits
}

func hasPlain(b []byte) bool {
	for {
		i := bytes.Index(b, []byte(Prefix))
		if i < 0 {
			return false
		}
		b = b[i+len(Prefix):]
		if base32Run(b) >= damagedDigits {
			return true
		}
	}
}

func hasHex(b []byte) bool {
	for _, needle := range [2]string{"67626d2d", "67626D2D"} {
		for rest := b; ; {
			i := bytes.Index(rest, []byte(needle))
			if i < 0 {
				break
			}
			rest = rest[i+len(needle):]
			n := 0
			for 2*n+1 < len(rest) && n < damagedDigits {
				c, ok := hexByte(rest[2*n], rest[2*n+1])
				if !ok || base32Run([]byte{c}) == 0 {
					break
				}
				n++
			}
			if n == damagedDigits {
				return true
			}
		}
	}
	return false
}

func hasBase64(b []byte) bool {
	var buf [48]byte
	for _, needle := range base64Needles {
		for at := 0; ; {
			i := bytes.Index(b[at:], []byte(needle.text))
			if i < 0 {
				break
			}
			// Decode from the quad that the needle is in; what is before the needle there does not matter.
			quads := append(buf[:0], needle.before...)
			for _, c := range b[at+i:] {
				if len(quads) == 44 {
					break
				}
				if c == '\r' || c == '\n' {
					continue
				}
				if base64Value(c) > 63 {
					break
				}
				quads = append(quads, c)
			}
			var out [48]byte
			n := decodeBase64Loose(out[:0], quads)
			if hasPlain(n) {
				return true
			}
			at += i + 1
		}
	}
	return false
}

func base32Run(b []byte) int {
	n := 0
	for n < len(b) && (b[n] >= 'a' && b[n] <= 'z' || b[n] >= '2' && b[n] <= '7') {
		n++
	}
	return n
}

// Number is what stands for value where only a number can: 15 digits.
func (s *Scope) Number(value []byte) string {
	var f face
	return string(s.numberOf(&f, s.e.digestOf(value)))
}
