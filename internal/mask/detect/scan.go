package detect

import "bytes"

// Found is what a rule found: b[Start:End] is the secret, b[From:To] all of the match.
type Found struct {
	Rule       *Rule
	Start, End int
	From, To   int
	at         int // where the rule began to be tried
}

// Before is how many bytes before a match are needed to read it again.
const Before = 64

// Scanner searches texts by a Set. It has room for what it needs and is used again; it is not safe for concurrent use.
//
// After Scan, Found is what was found, in no order; Keep is from where on the text has to be there when it is searched
// again with more behind it, and Hold from where on bytes may be of a secret that is not whole yet; both are the text's
// length where nothing is pending.
type Scanner struct {
	Found      []Found
	Keep, Hold int

	set    *Set
	m      machine
	places places
	// tried are the last anchors that were tried, so that what both of two triples lead to is tried once.
	tried [8]trial
	turn  int
}

type trial struct {
	anchor uint32
	at     int
}

// Use makes the scanner one for set, and forgets what it found.
func (s *Scanner) Use(set *Set) {
	s.set = set
	s.Found = s.Found[:0]
}

// Scan searches b. cut says that b does not begin where its text does, ended that nothing comes after b.
func (s *Scanner) Scan(b []byte, cut, ended bool) {
	s.Found, s.Keep, s.Hold = s.Found[:0], len(b), len(b)
	t := text{b, cut, ended}
	for i := range s.tried {
		s.tried[i].at = -1
	}
	f := &s.set.filter
	for i := f.next(b, 0); i >= 0; i = f.next(b, i+2) {
		for _, e := range f.at(b, i) {
			if !e.may(b, i) {
				continue
			}
			a := &f.anchors[e.anchor]
			at := i - int(e.shift) - a.chosen
			switch {
			case at < 0, at == 0 && cut: // what stands before it is not known; it was judged when that was
			case len(b)-at < len(a.bytes):
				if !ended && a.mayBegin(b[at:]) {
					s.pend(at, at)
				}
			case a.begins(b, at) && s.first(trial{e.anchor, at}):
				s.try(&t, a, at)
			}
		}
	}
}

// mayBegin reports whether b, which is shorter than a, is its start.
func (a *anchor) mayBegin(b []byte) bool {
	for i := range b {
		if !a.bytes[i].has(b[i]) {
			return false
		}
	}
	return true
}

// first reports whether x was not tried yet.
func (s *Scanner) first(x trial) bool {
	for i := range s.tried {
		if s.tried[i] == x {
			return false
		}
	}
	s.tried[s.turn&7] = x
	s.turn++
	return true
}

// pend notes that more text could change what is found from position at on.
func (s *Scanner) pend(at, hold int) {
	s.Keep, s.Hold = min(s.Keep, max(0, at-Before)), min(s.Hold, hold)
}

// try tries the rules that begin as a does.
func (s *Scanner) try(t *text, a *anchor, at int) {
	if a.name {
		s.assigned(t, a, at)
		return
	}
	for _, n := range a.rules {
		r := s.set.rules[n]
		if r.armour {
			s.armour(t, r, at)
			continue
		}
		end, ok := s.m.match(r.program, t, at)
		if s.m.short {
			s.pend(at, at)
		} else if ok {
			from, to := at, end
			if g := r.group(&s.m); g > 0 {
				from, to = s.m.caps[2*g], s.m.caps[2*g+1]
			}
			for n := 0; r.Left != "" && n < maxLeft && from > 0 && r.left.has(t.b[from-1]); n++ {
				from--
			}
			s.found(t, Found{r, from, to, min(at, from), end, at})
		}
	}
}

// maxLeft is how far a match is taken to the left.
const maxLeft = 63

// maxPrefix is how much of a longer name may stand before a name.
const maxPrefix = 50

// group gives the group that is the secret: the rule's, else the first that is not empty; 0 for the whole match.
func (r *Rule) group(m *machine) int {
	if r.SecretGroup > 0 {
		return r.SecretGroup
	}
	for g := 1; 2*g < r.program.groups; g++ {
		if m.caps[2*g] >= 0 && m.caps[2*g+1] > m.caps[2*g] {
			return g
		}
	}
	return 0
}

// assigned tries the rules that are of a value beside a name.
func (s *Scanner) assigned(t *text, a *anchor, at int) {
	s.places.after(t, at+len(a.bytes))
	if s.places.short {
		s.pend(at, s.places.hold)
	}
	from := at
	for n := 0; n < maxPrefix && from > 0 && prefixClass.has(t.b[from-1]); n++ {
		from--
	}
	for _, n := range a.rules {
		r := s.set.rules[n]
		for _, i := range s.places.at[:s.places.n] {
			end, to, ok, short := r.value.read(&s.m, t, i)
			if short {
				s.pend(at, i)
				break
			}
			if ok {
				s.found(t, Found{r, i, end, from, to, at})
				break
			}
		}
	}
}

// prefixClass is what a name may be part of.
var prefixClass = word(".-")

// found notes f, unless the rule says that it is none.
func (s *Scanner) found(t *text, f Found) {
	if f.Start < f.End && f.Rule.takes(&s.m, t, &f) {
		s.Found = append(s.Found, f)
	}
}

const (
	armourBegin = "-----BEGIN"
	maxLabel    = 100
	// leastArmour is how much is in a key at least, and maxArmour how far its end is looked for.
	leastArmour = 64
	maxArmour   = 16 << 10
)

// bodyClass is what a key's body is made of: base64, headers, white space, and escapes of line ends.
var bodyClass = word("+/=:,.-\\ \t\r\n")

// armour reads a private key (RFC 7468): to its end, or where that is not there as far as it can be one. at is where it
// begins.
func (s *Scanner) armour(t *text, r *Rule, at int) {
	b := t.b
	i := at + len(armourBegin)
	for n := 0; n <= maxLabel && i < len(b) && labelClass.has(b[i]); n++ {
		i++
	}
	head := b[at:i]
	if i == len(b) && !t.ended && len(head) <= len(armourBegin)+maxLabel {
		s.pend(at, at)
		return
	}
	label := bytes.ToUpper(head) // a few bytes, and only where one begins
	n := bytes.LastIndex(label, []byte("PRIVATE KEY-----"))
	if k := bytes.LastIndex(label, []byte("PRIVATE KEY BLOCK-----")); k >= 0 {
		n = max(n, k)
	}
	if n < 0 {
		return
	}
	body := at + n + bytes.Index(label[n:], []byte("-----")) + 5
	limit := min(len(b), body+maxArmour)
	from := body + leastArmour
	if from <= limit {
		for j := indexFold(b[from:limit], 0, "KEY"); j >= 0; j = indexFold(b[from:limit], j+1, "KEY") {
			rest := b[from+j : limit]
			for _, end := range [...]string{"KEY-----", "KEY BLOCK-----"} {
				if len(rest) >= len(end) && bytes.EqualFold(rest[:len(end)], []byte(end)) {
					s.found(t, Found{r, at, from + j + len(end), at, from + j + len(end), at})
					return
				}
			}
		}
	}
	end := body
	for end < limit && bodyClass.has(b[end]) {
		end++
	}
	if limit == len(b) && limit < body+maxArmour && !t.ended {
		s.pend(at, at)
		return
	}
	if end -= len(b[body:end]) - len(bytes.TrimRight(b[body:end], " \t\r\n\\-")); end-body >= leastArmour {
		s.found(t, Found{r, at, end, at, end, at})
	}
}

var labelClass = word(" -")

// indexFold gives the first place of an upper-case word in b, in any case, from i on; -1 where there is none.
func indexFold(b []byte, i int, word string) int {
	for ; i+len(word) <= len(b); i++ {
		if b[i]&^0x20 == word[0] && bytes.EqualFold(b[i:i+len(word)], []byte(word)) {
			return i
		}
	}
	return -1
}
