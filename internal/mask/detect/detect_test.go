package detect

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
)

func all(t testing.TB) *Set {
	t.Helper()
	return choose(t, Names()...)
}

func choose(t testing.TB, names ...string) *Set {
	t.Helper()
	s, err := Select(names)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plain is the slow and obvious reading of the rules: each expression over the whole text.
type plain struct {
	rules []*Rule
	exprs map[string]*regexp.Regexp
}

func newPlain(s *Set) *plain {
	p := &plain{rules: s.rules, exprs: map[string]*regexp.Regexp{}}
	for _, r := range s.rules {
		p.expr(r.Regexp)
		for _, a := range append(slices.Clone(r.Allow), loaded().common...) {
			for _, e := range a.Regexps {
				p.expr(e)
			}
		}
	}
	return p
}

func (p *plain) expr(e string) *regexp.Regexp {
	if p.exprs[e] == nil {
		p.exprs[e] = regexp.MustCompile(e)
	}
	return p.exprs[e]
}

func (p *plain) find(b []byte) (out []string) {
	for _, r := range p.rules {
		for _, m := range p.expr(r.Regexp).FindAllSubmatchIndex(b, -1) {
			g := r.SecretGroup
			if r.Names != "" { // of a rule in two parts, the group is among those of the whole
				g = max(g, strings.Count(r.Names, "(")-strings.Count(r.Names, "(?")+1)
			}
			for i := 1; g == 0 && 2*i < len(m); i++ {
				if m[2*i] >= 0 && m[2*i+1] > m[2*i] {
					g = i
				}
			}
			start, end := m[2*g], m[2*g+1]
			if r.Left != "" {
				for n := 0; n < 63 && start > 0 && regexp.MustCompile(r.Left).Match(b[start-1:start]); n++ {
					start--
				}
			}
			if p.takes(r, b[start:end], b[m[0]:m[1]]) {
				out = append(out, fmt.Sprintf("%s %d %d", r.ID, start, end))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (p *plain) takes(r *Rule, secret, match []byte) bool {
	if len(secret) == 0 || bytes.HasPrefix(secret, []byte("gbm-")) || r.Entropy > 0 && entropy(secret) <= r.Entropy || r.Check == "luhn" && !luhn(secret) || r.Check == "iban" && !iban(secret) {
		return false
	}
	for _, a := range append(slices.Clone(r.Allow), loaded().common...) {
		for _, w := range a.Words {
			if bytes.Contains(bytes.ToLower(secret), []byte(strings.ToLower(w))) {
				return false
			}
		}
		if a.Same && len(secret) > 0 && strings.Trim(strings.ToLower(string(secret)), strings.ToLower(string(secret[:1]))) == "" {
			return false
		}
		in := secret
		if a.Target == "match" {
			in = bytes.Trim(match, "\n")
		}
		for _, e := range a.Regexps {
			if p.expr(e).Match(in) {
				return false
			}
		}
	}
	return true
}

func named(list []Found) (out []string) {
	for _, f := range list {
		out = append(out, fmt.Sprintf("%s %d %d", f.Rule.ID, f.Start, f.End))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// apart is Settle for each rule alone.
func apart(list []Found) []Found {
	list = slices.Clone(list)
	var out []Found
	for _, f := range list {
		if f.Rule.Group == Generic {
			out = append(out, Settle([]Found{f})...)
		}
	}
	out = Settle(out)
	return append(out, Settle(slices.DeleteFunc(list, func(f Found) bool { return f.Rule.Group == Generic }))...)
}

func scan(s *Set, b []byte) []Found {
	var sc Scanner
	sc.Use(s)
	sc.Scan(b, false, true)
	return apart(sc.Found)
}

// sample makes a text that an expression matches, by chance.
func sample(rng *rand.Rand, re *syntax.Regexp, b []byte) []byte {
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if re.Flags&syntax.FoldCase != 0 && r < 0x80 && isLetter(byte(r)) && rng.IntN(2) == 0 {
				r ^= 0x20
			}
			b = append(b, string(r)...)
		}
	case syntax.OpCharClass:
		c := runes(re.Rune)
		for range 1000 {
			if x := byte(rng.IntN(0x80)); c.has(x) {
				return append(b, x)
			}
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b = append(b, byte('a'+rng.IntN(26)))
	case syntax.OpConcat, syntax.OpCapture:
		for _, sub := range re.Sub {
			b = sample(rng, sub, b)
		}
	case syntax.OpAlternate:
		b = sample(rng, re.Sub[rng.IntN(len(re.Sub))], b)
	case syntax.OpQuest, syntax.OpStar, syntax.OpPlus, syntax.OpRepeat:
		least, most := re.Min, re.Max
		switch re.Op {
		case syntax.OpQuest:
			least, most = 0, 1
		case syntax.OpStar:
			least, most = 0, 3
		case syntax.OpPlus:
			least, most = 1, 4
		}
		if most < 0 {
			most = least + 20
		}
		for range least + rng.IntN(min(most-least, 20)+1) {
			b = sample(rng, re.Sub[0], b)
		}
	}
	return b
}

func samples(t testing.TB, rng *rand.Rand, r *Rule) []byte {
	re, err := syntax.Parse(r.Regexp, syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	return sample(rng, re, nil)
}

// What every rule finds in texts that are made from its expression, or nearly, is what package regexp finds.
func TestAsRegexp(t *testing.T) {
	for _, r := range Rules() {
		s := &Set{rules: []*Rule{{}}}
		*s.rules[0] = *r
		if err := s.rules[0].prepare(); err != nil {
			t.Fatal(err)
		}
		if err := s.index(); err != nil {
			t.Fatal(err)
		}
		p := newPlain(s)
		rng := rand.New(rand.NewPCG(1, 2))
		hits := 0
		for i := range 40 {
			secret := samples(t, rng, r)
			text := slices.Concat([]byte("some text; "), secret, []byte([...]string{"", " ", "\"", "\n", "x", "-", "\\n"}[i%7]), secret, []byte("\" end"))
			if i%3 == 2 {
				text[rng.IntN(len(text))] = byte(rng.IntN(0x80))
			}
			got, want := named(scan(s, text)), p.find(text)
			hits += len(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s in %q:\n got %v\nwant %v", r.ID, text, got, want)
				break
			}
		}
		if hits == 0 {
			t.Logf("%s found nothing", r.ID)
		}
	}
}

func FuzzAsRegexp(f *testing.F) {
	rules := all(f).rules
	var sets []*Set
	var plains []*plain
	rng := rand.New(rand.NewPCG(3, 4))
	for i, r := range rules {
		s := choose(f, r.ID)
		sets, plains = append(sets, s), append(plains, newPlain(s))
		f.Add(byte(i), []byte("a "+string(samples(f, rng, r))+"\" b"))
	}
	f.Fuzz(func(t *testing.T, n byte, b []byte) {
		if len(b) > 4096 {
			return
		}
		s, p := sets[int(n)%len(sets)], plains[int(n)%len(sets)]
		b = bytes.ToValidUTF8(b, nil)
		for _, c := range b {
			if c >= 0x80 {
				return // what is a letter beyond ASCII is not told by bytes
			}
		}
		if got, want := named(scan(s, b)), p.find(b); !slices.Equal(got, want) {
			t.Errorf("%q:\n got %v\nwant %v", b, got, want)
		}
	})
}
