package detect

import (
	"regexp/syntax"
	"strings"
)

// Most rules are of one form, a value beside a name, as in adafruit_api_key = "…":
//
//	name [ \t\w.-]{0,20} [\s'"]{0,3} (?:=|>|:{1,3}=|\|\||:|=>|\?=|,) [\x60'"\s=]{0,5} (value) (?:[\x60'"\s;]|\\[nr]|$)
//
// These names are common words ("key", "token"), so what is between is read by hand, and once for all rules of a name.
const (
	maxGap    = 20
	maxQuotes = 3
	maxLead   = 5
)

var (
	gapClass   = word(" \t.-")
	quoteClass = classOf("\t\n\f\r '\"")
	leadClass  = classOf("`'\"\t\n\f\r =")
	endClass   = classOf("`'\"\t\n\f\r ;")
	// afterName is what may stand behind a name.
	afterName = word(" \t.-\n\f\r'\"=>:|?,")
)

// word is the class \w, and more.
func word(more string) class {
	c := classOf(more + "_")
	for b := range 256 {
		if isLetter(byte(b)) || b >= '0' && b <= '9' {
			c.add(byte(b))
		}
	}
	return c
}

// maxPlaces is at how many places a value may begin.
const maxPlaces = 5 * (maxLead + 1)

// places are where a value may begin behind a name, by preference. short says that more text could change them.
type places struct {
	at    [maxPlaces]int
	n     int
	short bool
	// hold is from where on bytes may be of a value that is not there yet.
	hold int
}

// after reads what is behind a name that ends at position i.
func (p *places) after(t *text, i int) {
	p.n, p.short = 0, false
	b, from := t.b, i
	p.hold = len(b)
	for i < len(b) && gapClass.has(b[i]) {
		if i++; i-from > maxGap+maxQuotes {
			return
		}
	}
	quotes := i
	for i < len(b) && quoteClass.has(b[i]) {
		if i++; i-quotes > maxQuotes {
			return
		}
	}
	if i == len(b) {
		p.short = !t.ended
		return
	}
	// White space may be of either.
	if i-from > maxGap && !quotable(b[from+maxGap:i]) {
		return
	}
	// What stands between, by the order of the expression's alternatives.
	if i+3 >= len(b) && !t.ended {
		p.short = true // a sign may be of up to four bytes
		p.hold = min(p.hold, i+1)
		return
	}
	rest := b[i:min(len(b), i+4)]
	sign := func(s string) {
		if len(rest) >= len(s) && string(rest[:len(s)]) == s {
			p.lead(t, i+len(s))
		}
	}
	switch b[i] {
	case '=':
		sign("=")
		sign("=>")
	case '>':
		sign(">")
	case ':':
		for _, s := range [...]string{":::=", "::=", ":="} {
			sign(s)
		}
		sign(":")
	case '|':
		sign("||")
	case '?':
		sign("?=")
	case ',':
		sign(",")
	}
}

// quotable reports whether b, which is behind the longest gap, can be quotes and white space.
func quotable(b []byte) bool {
	if len(b) > maxQuotes {
		return false
	}
	for _, c := range b {
		if !quoteClass.has(c) {
			return false
		}
	}
	return true
}

// lead notes the places behind what may lead a value, which begins at i: the last first.
func (p *places) lead(t *text, i int) {
	n := 0
	for n < maxLead && i+n < len(t.b) && leadClass.has(t.b[i+n]) {
		n++
	}
	if i+n == len(t.b) && !t.ended {
		p.short = true
		p.hold = min(p.hold, i+n)
	}
	for ; n >= 0 && p.n < maxPlaces; n-- {
		p.at[p.n] = i + n
		p.n++
	}
}

// value is the expression of a value: alternatives of sequences of runs where it is of that form, else a program, which
// then has what ends a value in it.
type value struct {
	sequences [][]run
	program   *program
	fold      bool // case does not count, also in what ends it
}

// run is from least to most bytes of a class.
type run struct {
	class
	least, most int
	// whole: where as many as there are do not lead to a match, fewer do not either.
	whole bool
}

const (
	valueEnd = "(?:[\\x60'\"\\s;]|\\\\[nr]|$)"
	// maxRun bounds a run without a bound of its own.
	maxRun = 16 << 10
)

func compileValue(expr string) (*value, error) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	fold := ""
	if strings.HasPrefix(expr, "(?i)") {
		fold = "(?i)"
	}
	if list := sequences(re); list != nil {
		return &value{sequences: list, fold: fold != ""}, nil
	}
	p, err := compile(fold + "(" + expr + ")" + valueEnd)
	if err != nil {
		return nil, err
	}
	return &value{program: p}, nil
}

// sequences gives re as alternatives of runs; nil where it is not of that form.
func sequences(re *syntax.Regexp) (out [][]run) {
	switch re.Op {
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			more := sequences(sub)
			if more == nil {
				return nil
			}
			out = append(out, more...)
		}
		return out
	case syntax.OpConcat:
		var all []run
		for _, sub := range re.Sub {
			more := sequences(sub)
			if len(more) != 1 {
				return nil
			}
			all = append(all, more[0]...)
		}
		for i := range all {
			next := classOf("\\")
			next.union(endClass)
			for j := i + 1; j < len(all); j++ {
				next.union(all[j].class)
				if all[j].least > 0 {
					break
				}
			}
			all[i].whole = all[i].least == all[i].most || !all[i].meets(next)
		}
		return [][]run{all}
	case syntax.OpLiteral:
		var all []run
		for _, s := range starts(re) {
			for _, c := range s.bytes {
				all = append(all, run{class: c, least: 1, most: 1, whole: true})
			}
		}
		return [][]run{all}
	}
	r := run{least: 1, most: 1}
	if re.Op != syntax.OpCharClass {
		switch re.Op {
		case syntax.OpRepeat:
			r.least, r.most = re.Min, re.Max
		case syntax.OpPlus:
			r.most = -1
		case syntax.OpStar:
			r.least, r.most = 0, -1
		case syntax.OpQuest:
			r.least = 0
		default:
			return nil
		}
		if re.Flags&syntax.NonGreedy != 0 {
			return nil
		}
		re = re.Sub[0]
	}
	for _, s := range starts(re) {
		if len(s.bytes) != 1 || !s.whole || r.size() > 0 {
			return nil
		}
		r.class = s.bytes[0]
	}
	if r.most < 0 {
		r.most = maxRun
	}
	r.whole = r.least == r.most || !r.meets(endOrEscape())
	return [][]run{{r}}
}

func endOrEscape() class {
	c := classOf("\\")
	c.union(endClass)
	return c
}

// read tries the value at position i. It gives where the value ends, and the match.
func (v *value) read(m *machine, t *text, i int) (end, matchEnd int, ok, short bool) {
	if v.program != nil {
		matchEnd, ok = m.match(v.program, t, i)
		return m.caps[3], matchEnd, ok, m.short
	}
	for _, s := range v.sequences {
		var more bool
		end, matchEnd, ok, more = v.sequence(s, t, i)
		short = short || more
		if ok {
			break
		}
	}
	return end, matchEnd, ok, short
}

func (v *value) sequence(s []run, t *text, i int) (end, matchEnd int, ok, short bool) {
	if len(s) == 0 {
		matchEnd, ok, short = v.ends(t, i)
		return i, matchEnd, ok, short
	}
	r, n := &s[0], 0
	for n < r.most && i+n < len(t.b) && r.has(t.b[i+n]) {
		n++
	}
	if n < r.most && i+n == len(t.b) && !t.ended {
		return 0, 0, false, true
	}
	for ; n >= r.least; n-- {
		var more bool
		end, matchEnd, ok, more = v.sequence(s[1:], t, i+n)
		if short = short || more; ok || r.whole {
			break
		}
	}
	return end, matchEnd, ok, short
}

// ends reads what must stand behind a value.
func (v *value) ends(t *text, i int) (end int, ok, short bool) {
	if i == len(t.b) {
		return i, t.ended, !t.ended
	}
	switch c := t.b[i]; {
	case endClass.has(c):
		return i + 1, true, false
	case c != '\\':
	case i+1 == len(t.b):
		return 0, false, !t.ended
	case t.b[i+1] == 'n' || t.b[i+1] == 'r' || v.fold && (t.b[i+1] == 'N' || t.b[i+1] == 'R'):
		return i + 2, true, false
	}
	return 0, false, false
}
