package detect

import (
	"bytes"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// allowed is an Allow, ready to be used.
type allowed struct {
	match, same bool
	// exprs are tried at the places where they may begin, and first at the start alone.
	exprs []*program
	index filter
	first []first
	// anywhere are those of which it is not known where they may begin: these are slow.
	anywhere []*regexp.Regexp
	words    filter
}

// first is an expression that a text must begin with.
type first struct {
	program *program
	begin   class
}

func newAllowed(list []Allow) (out []*allowed, err error) {
	for _, a := range list {
		x := &allowed{match: a.Target == "match", same: a.Same}
		for _, e := range a.Regexps {
			if err := x.add(e); err != nil {
				return nil, err
			}
		}
		for _, w := range a.Words {
			bytes := make([]class, len(w))
			for i := range len(w) {
				bytes[i] = classOf(strings.ToLower(w[i:i+1]) + strings.ToUpper(w[i:i+1]))
			}
			x.words.add(anchor{bytes: bytes})
		}
		out = append(out, x)
	}
	return out, nil
}

// add puts in an expression. Whether it is found anywhere does not depend on what it may begin with any number of, so that
// is left out, and places to begin can be told.
func (a *allowed) add(expr string) error {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return err
	}
	for _, alt := range alternatives(re) {
		alt = without(alt)
		p, err := compile(alt.String())
		if err != nil {
			return err
		}
		if len(p.starts) == 0 {
			return fmt.Errorf("%q may begin in too many ways", expr)
		}
		if alt.Op == syntax.OpConcat && alt.Sub[0].Op == syntax.OpBeginText {
			f := first{program: p}
			for _, s := range p.starts {
				if len(s.bytes) == 0 {
					return fmt.Errorf("%q may be nothing", expr)
				}
				f.begin.union(s.bytes[0])
			}
			a.first = append(a.first, f)
			continue
		}
		found := true
		for _, s := range p.starts {
			found = found && a.index.add(anchor{bytes: s.bytes, rules: []uint32{uint32(len(a.exprs))}})
		}
		a.exprs = append(a.exprs, p)
		if !found {
			whole, err := regexp.Compile(alt.String())
			if err != nil {
				return err
			}
			a.anywhere = append(a.anywhere, whole)
		}
	}
	return nil
}

func alternatives(re *syntax.Regexp) []*syntax.Regexp {
	switch {
	case re.Op == syntax.OpAlternate:
		var out []*syntax.Regexp
		for _, sub := range re.Sub {
			out = append(out, alternatives(sub)...)
		}
		return out
	case re.Op == syntax.OpCapture:
		return alternatives(re.Sub[0])
	case re.Op == syntax.OpConcat && re.Sub[0].Op == syntax.OpAlternate:
		var out []*syntax.Regexp
		for _, sub := range re.Sub[0].Sub {
			whole := *re
			whole.Sub = append([]*syntax.Regexp{sub}, re.Sub[1:]...)
			if sub.Op == syntax.OpConcat {
				whole.Sub = slices.Concat(sub.Sub, re.Sub[1:])
			}
			out = append(out, alternatives(&whole)...)
		}
		return out
	}
	return []*syntax.Regexp{re}
}

// without gives re without what it may begin with any number of.
func without(re *syntax.Regexp) *syntax.Regexp {
	for re.Op == syntax.OpConcat && len(re.Sub) > 1 && re.Sub[0].Op == syntax.OpStar && re.Sub[1].Op != syntax.OpBeginText {
		rest := *re
		rest.Sub = re.Sub[1:]
		re = &rest
	}
	if re.Op == syntax.OpConcat && re.Sub[0].Op == syntax.OpPlus {
		rest := *re
		rest.Sub = slices.Concat(re.Sub[0].Sub, re.Sub[1:])
		re = &rest
	}
	return re
}

// has reports whether f is let through.
func (a *allowed) has(m *machine, t *text, f *Found) bool {
	b := t.b[f.Start:f.End]
	if a.same && alike(b) || a.hasWord(b) {
		return true
	}
	if a.match {
		b = bytes.Trim(t.b[f.From:f.To], "\n")
	}
	in := text{b: b, ended: true}
	for i := range a.first {
		if f := &a.first[i]; len(b) > 0 && f.begin.has(b[0]) {
			if _, ok := m.match(f.program, &in, 0); ok {
				return true
			}
		}
	}
	for _, re := range a.anywhere {
		if re.Match(b) {
			return true
		}
	}
	for i := a.index.next(b, 0); i >= 0; i = a.index.next(b, i+2) {
		for _, e := range a.index.at(b, i) {
			x := &a.index.anchors[e.anchor]
			if at := i - int(e.shift) - x.chosen; e.may(b, i) && x.begins(b, at) {
				if _, ok := m.match(a.exprs[x.rules[0]], &in, at); ok {
					return true
				}
			}
		}
	}
	return false
}

// alike reports whether b is one character again and again, in any case.
func alike(b []byte) bool {
	for _, c := range b {
		if c|0x20 != b[0]|0x20 {
			return false
		}
	}
	return true
}

func (a *allowed) hasWord(b []byte) bool {
	for i := a.words.next(b, 0); i >= 0; i = a.words.next(b, i+2) {
		for _, e := range a.words.at(b, i) {
			x := &a.words.anchors[e.anchor]
			if e.may(b, i) && x.begins(b, i-int(e.shift)-x.chosen) {
				return true
			}
		}
	}
	return false
}
