// Package terminal shows recorded terminal output again. It guarantees that recorded bytes can do nothing to the
// terminal that shows them but draw: what leaves Neutraliser is valid UTF-8 made of printable characters, four control
// characters and the few sequences of an allow-list. All else, such as setting the clipboard or the title, links, asking
// the terminal a question, or changing what keys send, is left out or replaced.
package terminal

import "unicode/utf8"

// Neutraliser is a filter over one stream of recorded bytes. Its output is the same wherever the input is split. The
// zero value is ready. It is for one goroutine.
type Neutraliser struct {
	state   state
	pending [utf8.UTFMax]byte // an unfinished character
	n       int
	params  []byte // of the CSI sequence being read
	skipped int    // bytes of the string being skipped

	// Removed counts the sequences and characters that were left out or replaced.
	Removed int64
	left    modes
}

// modes are what Restore has to undo.
type modes struct{ style, hidden, alternate, region, other bool }

type state uint8

const (
	ground state = iota
	escape
	escapeIntermediate // behind ESC and an intermediate byte: charsets and the like, all left out
	control            // CSI parameters
	controlIgnored     // a CSI sequence that will be left out
	text               // the string of an OSC, DCS, APC, PM or SOS
	textEscape         // ESC within it
)

const (
	esc = 0x1b
	// maxParams bounds a CSI sequence, and maxText a string: behind it, what follows is shown as text, so that a
	// string without an end cannot hide the rest of a recording.
	maxParams = 128
	maxText   = 64 << 10
	// replacement stands for what cannot be shown.
	replacement = "\uFFFD"
)

// Append filters src behind dst, and returns dst.
func (n *Neutraliser) Append(dst, src []byte) []byte {
	for _, c := range src {
		dst = n.byte(dst, c)
	}
	return dst
}

// Flush ends the input: a character that was cut short is replaced.
func (n *Neutraliser) Flush(dst []byte) []byte {
	if n.n > 0 {
		n.n = 0
		n.Removed++
		dst = append(dst, replacement...)
	}
	n.state = ground
	return dst
}

// Restore gives what takes the terminal back to its usual state.
func (n *Neutraliser) Restore(dst []byte) []byte {
	if n.left.region {
		dst = append(dst, "\x1b[r"...)
	}
	if n.left.other {
		dst = append(dst, "\x1b[4l\x1b[?6l\x1b[?7h"...)
	}
	if n.left.alternate {
		dst = append(dst, "\x1b[?1049l"...)
	}
	if n.left.hidden {
		dst = append(dst, "\x1b[?25h"...)
	}
	if n.left.style {
		dst = append(dst, "\x1b[0m"...)
	}
	n.left = modes{}
	return dst
}

func (n *Neutraliser) byte(dst []byte, c byte) []byte {
	if n.n > 0 {
		return n.continued(dst, c)
	}
	switch {
	case n.state == text || n.state == textEscape:
		return n.inText(dst, c)
	case c == esc:
		if n.state != ground {
			n.Removed++
		}
		n.state = escape
		return dst
	case c == 0x18 || c == 0x1a: // CAN, SUB: the sequence is void
		n.Removed++
		n.state = ground
		return dst
	case c < 0x20:
		return n.controlCharacter(dst, c)
	case c == 0x7f:
		n.Removed++
		return dst
	case c >= 0x80:
		if n.state != ground { // not part of any sequence: it ends this one
			n.Removed++
			n.state = ground
		}
		return n.first(dst, c)
	}
	return n.ascii(dst, c)
}

// controlCharacter is also met within a sequence, which then goes on.
func (n *Neutraliser) controlCharacter(dst []byte, c byte) []byte {
	switch c {
	case '\b', '\t', '\n', '\r':
		return append(dst, c)
	}
	n.Removed++
	return dst
}

func (n *Neutraliser) ascii(dst []byte, c byte) []byte {
	switch n.state {
	case escape:
		return n.afterEscape(dst, c)
	case escapeIntermediate:
		if c >= 0x30 {
			n.Removed++
			n.state = ground
		}
		return dst
	case control, controlIgnored:
		return n.inControl(dst, c)
	}
	return append(dst, c)
}

func (n *Neutraliser) afterEscape(dst []byte, c byte) []byte {
	n.state = ground
	switch c {
	case '[':
		n.state, n.params = control, n.params[:0]
		return dst
	case ']', 'P', '_', '^', 'X': // OSC, DCS, APC, PM, SOS
		n.state, n.skipped = text, 0
		return dst
	case '7', '8', 'D', 'E', 'M': // save, restore, index, next line, reverse index
		return append(dst, esc, c)
	}
	if c < 0x30 {
		n.state = escapeIntermediate
		return dst
	}
	n.Removed++
	return dst
}

func (n *Neutraliser) inControl(dst []byte, c byte) []byte {
	switch {
	case c >= 0x40: // the final byte
		ok := n.state == control
		n.state = ground
		if !ok || !n.allowed(c) {
			n.Removed++
			return dst
		}
		dst = append(dst, esc, '[')
		dst = append(dst, n.params...)
		return append(dst, c)
	case c < 0x30 || len(n.params) == maxParams: // an intermediate byte: no sequence that has one is allowed
		n.state = controlIgnored
	case n.state == control:
		n.params = append(n.params, c)
	}
	return dst
}

func (n *Neutraliser) inText(dst []byte, c byte) []byte {
	n.skipped++
	switch {
	case n.state == textEscape && c == '\\', c == 0x07, c == 0x18, c == 0x1a:
		n.Removed++
		n.state = ground
	case n.state == textEscape: // another sequence begins
		n.Removed++
		n.state = escape
		return n.byte(dst, c)
	case c == esc:
		n.state = textEscape
	case n.skipped >= maxText:
		n.Removed++
		n.state = ground
		return append(dst, replacement...)
	}
	return dst
}
