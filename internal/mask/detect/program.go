package detect

import (
	"fmt"
	"regexp/syntax"
	"unicode/utf8"
)

// program is an expression (RE2, as package regexp has it) that is tried at one place of a text. Unlike package regexp it
// sees what stands before that place, and says whether more text could change the answer.
type program struct {
	code  []instruction
	start int
	// groups is how many positions are kept; longest how far a match is followed, in bytes.
	groups, longest int
	starts          []start
}

type instruction struct {
	op       syntax.InstOp
	out, arg uint32
	ascii    [2]uint64
	wide     *syntax.Inst // decides about what is not ASCII; nil where nothing of it matches
}

const (
	// maxMatch is how far a match without a bound of its own is followed.
	maxMatch = 4 << 10
	// maxGroups is how many groups an expression may have.
	maxGroups = 40
)

func compile(expr string) (*program, error) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("parsing a detector's expression: %w", err)
	}
	p := &program{groups: 2 * (re.MaxCap() + 1), longest: longest(re), starts: starts(re)}
	if p.groups > 2*maxGroups {
		return nil, fmt.Errorf("a detector's expression has more than %d groups", maxGroups)
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, fmt.Errorf("compiling a detector's expression: %w", err)
	}
	p.start = prog.Start
	for i := range prog.Inst {
		in := &prog.Inst[i]
		c := instruction{op: in.Op, out: in.Out, arg: in.Arg}
		switch in.Op {
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			c.op = syntax.InstRune
			for r := range rune(0x80) {
				if matches(in, r) {
					c.ascii[r>>6] |= 1 << (r & 63)
				}
			}
			c.wide = in
		}
		p.code = append(p.code, c)
	}
	return p, nil
}

func matches(in *syntax.Inst, r rune) bool {
	switch in.Op {
	case syntax.InstRuneAny:
		return true
	case syntax.InstRuneAnyNotNL:
		return r != '\n'
	}
	return in.MatchRune(r)
}

// longest bounds the bytes of a match.
func longest(re *syntax.Regexp) int {
	n := 0
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune) * utf8.UTFMax
		for _, r := range re.Rune {
			if r < 0x80 {
				n -= utf8.UTFMax - 1
			}
		}
	case syntax.OpCharClass:
		n = utf8.UTFMax
		if c := re.Rune; c[len(c)-1] < 0x80 {
			n = 1
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		n = utf8.UTFMax
	case syntax.OpStar, syntax.OpPlus:
		n = maxMatch
	case syntax.OpRepeat:
		if n = longest(re.Sub[0]) * re.Max; re.Max < 0 {
			n = maxMatch
		}
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			n = max(n, longest(sub))
		}
	case syntax.OpConcat, syntax.OpCapture, syntax.OpQuest:
		for _, sub := range re.Sub {
			n += longest(sub)
		}
	}
	return min(n, maxMatch)
}

// text is what is searched. cut says that something stood before it, ended that nothing comes after it.
type text struct {
	b          []byte
	cut, ended bool
}

// machine runs programs. It has room for what it needs and is used again.
type machine struct {
	visited []uint64
	stack   []thread
	caps    [2 * maxGroups]int
	// short: more text could have changed the answer.
	short bool
}

type thread struct {
	pc  uint32
	pos int
	// undo: the thread puts back position pos of group pc.
	undo bool
}

// match tries p at position at, and gives where the match ends. Of several it gives the one that package regexp prefers.
func (m *machine) match(p *program, t *text, at int) (end int, ok bool) {
	limit := len(t.b)
	final := t.ended // nothing comes after limit
	more := !t.ended
	if limit > at+p.longest {
		limit, final, more = at+p.longest, false, false
	}
	width := limit - at + 1
	if need := (len(p.code)*width + 63) / 64; cap(m.visited) < need {
		m.visited = make([]uint64, need)
	} else {
		m.visited = m.visited[:need]
		clear(m.visited)
	}
	m.short = false
	for i := range m.caps[:p.groups] {
		m.caps[i] = -1
	}
	m.stack = append(m.stack[:0], thread{pc: uint32(p.start), pos: at})
	for len(m.stack) > 0 {
		top := m.stack[len(m.stack)-1]
		m.stack = m.stack[:len(m.stack)-1]
		if top.undo {
			m.caps[top.pc] = top.pos
			continue
		}
		pc, pos := top.pc, top.pos
	run:
		for {
			bit := int(pc)*width + pos - at
			if m.visited[bit>>6]>>(bit&63)&1 != 0 {
				break
			}
			m.visited[bit>>6] |= 1 << (bit & 63)
			in := &p.code[pc]
			switch in.op {
			case syntax.InstAlt, syntax.InstAltMatch:
				m.stack = append(m.stack, thread{pc: in.arg, pos: pos})
				pc = in.out
			case syntax.InstCapture:
				m.stack = append(m.stack, thread{pc: in.arg, pos: m.caps[in.arg], undo: true})
				m.caps[in.arg] = pos
				pc = in.out
			case syntax.InstEmptyWidth:
				if !m.empty(t, syntax.EmptyOp(in.arg), pos, limit, final, more) {
					break run
				}
				pc = in.out
			case syntax.InstNop:
				pc = in.out
			case syntax.InstMatch:
				return pos, true
			case syntax.InstRune:
				if pos == limit {
					m.short = m.short || more
					break run
				}
				c := t.b[pos]
				if c < utf8.RuneSelf {
					if in.ascii[c>>6]>>(c&63)&1 == 0 {
						break run
					}
					pos++
				} else {
					r, size := utf8.DecodeRune(t.b[pos:limit])
					if r == utf8.RuneError && size == 1 && more && !utf8.FullRune(t.b[pos:limit]) {
						m.short = true
						break run
					}
					if !matches(in.wide, r) {
						break run
					}
					pos += size
				}
				pc = in.out
			default:
				break run
			}
		}
	}
	return 0, false
}

// empty reports whether a condition holds between pos-1 and pos.
func (m *machine) empty(t *text, op syntax.EmptyOp, pos, limit int, final, more bool) bool {
	before, after := rune(-1), rune(-1)
	if pos > 0 {
		before = rune(t.b[pos-1]) // no condition tells runes apart that are not ASCII
	} else if t.cut {
		before = utf8.RuneError
	}
	if pos < len(t.b) {
		after = rune(t.b[pos])
	} else if more {
		if op&^(syntax.EmptyBeginText|syntax.EmptyBeginLine) != 0 {
			m.short = true
			return false
		}
	} else if !final {
		after = utf8.RuneError
	}
	return op&^syntax.EmptyOpContext(before, after) == 0
}
