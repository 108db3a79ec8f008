package terminal

import "unicode/utf8"

// first takes the first byte of a character beyond ASCII. One that cannot be is replaced: so a C1 control in its 8-bit
// form never gets through, and what follows it is shown.
func (n *Neutraliser) first(dst []byte, c byte) []byte {
	if c < 0xc2 || c > 0xf4 {
		n.Removed++
		return append(dst, replacement...)
	}
	n.pending[0], n.n = c, 1
	return dst
}

// continued takes a byte behind an unfinished character.
func (n *Neutraliser) continued(dst []byte, c byte) []byte {
	if utf8.RuneStart(c) {
		return n.byte(n.cutShort(dst), c)
	}
	n.pending[n.n] = c
	n.n++
	if !utf8.FullRune(n.pending[:n.n]) {
		return dst
	}
	r, size := utf8.DecodeRune(n.pending[:n.n])
	if r == utf8.RuneError && size == 1 { // a surrogate, or not the shortest form
		return n.cutShort(dst)
	}
	n.n = 0
	if !showable(r) {
		n.Removed++
		return append(dst, replacement...)
	}
	return utf8.AppendRune(dst, r)
}

func (n *Neutraliser) cutShort(dst []byte) []byte {
	n.n = 0
	n.Removed++
	return append(dst, replacement...)
}

// showable leaves out the C1 controls, what changes the direction of text, and what is there but cannot be seen: an
// auditor must not be shown other text than was there.
func showable(r rune) bool {
	switch {
	case r < 0xa0, // C1
		r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, // direction
		r == 0x2028, r == 0x2029, // separators that some terminals obey
		r >= 0xfff9 && r <= 0xfffb, r >= 0xe0000 && r <= 0xe0fff: // annotations, tags
		return false
	}
	return true
}
