package terminal

import (
	"bytes"
	"strconv"
)

// maxParameter bounds every number: no terminal is larger, and repeating a character more often is an attack.
const maxParameter = 9999

// maxRepeat bounds REP.
const maxRepeat = 1000

// allowed reports whether the CSI sequence of n.params and final may pass, and remembers what it leaves behind.
func (n *Neutraliser) allowed(final byte) bool {
	params, private := bytes.CutPrefix(n.params, []byte("?"))
	if !numbers(params, final == 'm' && !private) {
		return false
	}
	count := bytes.Count(params, []byte(";")) + 1
	switch final {
	case 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'd', 'e', 'a', '`', // cursor
		'X', 'P', '@', 'L', 'M', // erase, delete and insert characters and lines
		'S', 'T': // scroll; with more parameters T tracks the mouse
		return !private && count == 1
	case 'H', 'f':
		return !private && count <= 2
	case 'J', 'K':
		return count == 1
	case 'b':
		return !private && count == 1 && number(params) <= maxRepeat
	case 's', 'u': // save and restore the cursor; with parameters they are margins and keyboard modes
		return !private && len(params) == 0
	case 'm':
		n.left.style = true
		return !private
	case 'r':
		n.left.region = true
		return !private && count <= 2
	case 'h', 'l':
		return count == 1 && n.mode(private, number(params), final == 'h')
	}
	return false
}

// mode allows the modes that draw.
func (n *Neutraliser) mode(private bool, mode int, set bool) bool {
	if !private {
		n.left.other = n.left.other || mode == 4
		return mode == 4 // insert
	}
	switch mode {
	case 25: // the cursor is shown
		n.left.hidden = !set
	case 47, 1047, 1049: // the alternate screen
		n.left.alternate = set
	case 6, 7: // origin, wrap
		n.left.other = true
	case 1048: // save and restore the cursor
	default:
		return false
	}
	return true
}

// numbers reports whether params are numbers within bounds, separated by semicolons and, for colours, colons.
func numbers(params []byte, colons bool) bool {
	value := 0
	for _, c := range params {
		switch {
		case c >= '0' && c <= '9':
			if value = value*10 + int(c-'0'); value > maxParameter {
				return false
			}
		case c == ';', c == ':' && colons:
			value = 0
		default:
			return false
		}
	}
	return true
}

// number is the first parameter; 0 where there is none.
func number(params []byte) int {
	first, _, _ := bytes.Cut(params, []byte(";"))
	v, err := strconv.Atoi(string(first))
	if err != nil {
		return 0
	}
	return v
}
