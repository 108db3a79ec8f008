package detect

import (
	"math/bits"
	"regexp/syntax"
	"slices"
)

// class is a set of bytes.
type class [4]uint64

func (c *class) has(b byte) bool { return c[b>>6]>>(b&63)&1 != 0 }
func (c *class) add(b byte)      { c[b>>6] |= 1 << (b & 63) }

func (c *class) size() (n int) {
	for _, w := range c {
		n += bits.OnesCount64(w)
	}
	return n
}

func (c *class) members() (out []byte) {
	for b := range 256 {
		if c.has(byte(b)) {
			out = append(out, byte(b))
		}
	}
	return out
}

func (c *class) union(d class) {
	for i := range c {
		c[i] |= d[i]
	}
}

func (c *class) meets(d class) bool {
	for i := range c {
		if c[i]&d[i] != 0 {
			return true
		}
	}
	return false
}

func classOf(s string) (c class) {
	for i := range len(s) {
		c.add(s[i])
	}
	return c
}

// Two runes beyond ASCII are lower case, or upper case, of letters of ASCII. They are looked for nowhere.
const longS, kelvin = 'ſ', '\u212a'

// runes is the class of the runes of ranges; ones that are not ASCII stand for every byte that is not.
func runes(ranges []rune) (c class) {
	for i := 0; i+1 < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1] && r < 0x80; r++ {
			c.add(byte(r))
		}
		if ranges[i+1] >= 0x80 && ranges[i] != longS && ranges[i] != kelvin {
			c[2], c[3] = ^uint64(0), ^uint64(0)
		}
	}
	return c
}

const (
	// maxStart is how many bytes of the start of a match are looked at to choose by which of them it is found.
	maxStart = 48
	// maxStarts is how many ways of starting an expression may have.
	maxStarts = 64
)

// start is how matches may begin: one class for each byte, and whether that is the whole of them.
type start struct {
	bytes []class
	whole bool
}

// starts lists how matches of re may begin; nil where these are too many.
func starts(re *syntax.Regexp) []start {
	return extend([]start{{whole: true}}, re)
}

// extend goes on with re from each of list.
func extend(list []start, re *syntax.Regexp) []start {
	if list == nil {
		return nil
	}
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return list
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			c := runes([]rune{r, r})
			if re.Flags&syntax.FoldCase != 0 && r < 0x80 && isLetter(byte(r)) {
				c.add(byte(r) ^ 0x20)
			}
			list = follow(list, c)
		}
		return list
	case syntax.OpCharClass:
		return follow(list, runes(re.Rune))
	case syntax.OpAnyCharNotNL, syntax.OpAnyChar:
		return follow(list, class{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)})
	case syntax.OpCapture:
		return extend(list, re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			more := extend(list, sub)
			if more == nil { // too many ways: what is known so far is enough
				return cut(list)
			}
			list = more
		}
		return list
	case syntax.OpAlternate:
		var out []start
		for _, sub := range re.Sub {
			more := extend(list, sub)
			if more == nil {
				return nil
			}
			out = append(out, more...)
		}
		return bounded(out)
	case syntax.OpQuest:
		return bounded(slices.Concat(extend(list, re.Sub[0]), list))
	case syntax.OpStar:
		return bounded(slices.Concat(cut(extend(list, re.Sub[0])), list))
	case syntax.OpPlus:
		return cut(extend(list, re.Sub[0]))
	case syntax.OpRepeat:
		for range min(re.Min, maxStart) {
			more := extend(list, re.Sub[0])
			if more == nil {
				return cut(list)
			}
			list = more
		}
		if re.Max == re.Min {
			return list
		}
		if re.Min > 0 { // what comes after the least of them may come at any of several places
			return cut(list)
		}
		return bounded(slices.Concat(cut(extend(list, re.Sub[0])), list))
	}
	return nil
}

func bounded(list []start) []start {
	if len(list) > maxStarts {
		return nil
	}
	return list
}

// follow adds a byte to each of list.
func follow(list []start, c class) []start {
	out := make([]start, 0, len(list))
	for _, s := range list {
		if s.whole && len(s.bytes) < maxStart {
			s.bytes = append(s.bytes[:len(s.bytes):len(s.bytes)], c)
			s.whole = c[2]|c[3] == 0 // how many bytes a rune beyond ASCII takes is not known
		} else {
			s.whole = false
		}
		out = append(out, s)
	}
	return out
}

// cut says of list that something else follows.
func cut(list []start) []start {
	list = slices.Clone(list)
	for i := range list {
		list[i].whole = false
	}
	return list
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
