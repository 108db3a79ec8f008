package mask

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"gatebook/internal/mask/detect"
)

// Detecting gives the same view, whose writers also mask what detectors find, by their names and those of their groups.
// What was found is known from then on (see Engine.Learn), but for half of the room; and where known values are masked, it
// is recognised wherever else it turns up. A writer that does not look for known values finds nothing.
func (s *Scope) Detecting(names []string) (*Scope, error) {
	if len(names) == 0 {
		return s, nil
	}
	set, err := s.e.setOf(names)
	if err != nil {
		return s, fmt.Errorf("choosing detectors: %w", err)
	}
	d := *s
	d.detectors, d.names = set, names
	return &d, nil
}

// Claimed gives the view for the record of what somebody sends, and for those who decide on it: as Recorded does, and quiet.
func (s *Scope) Claimed() *Scope { return s.Recorded().Quiet() }

// Recorded gives the view for what is recorded of a request, and shown to those who decide on it: with the detectors of what is
// of a form that stands for nothing else, beside those that the view has. A record holds no secret, whatever a policy asks for.
func (s *Scope) Recorded() *Scope {
	names := s.names
	if !slices.Contains(names, detect.Credentials) {
		names = append(slices.Clone(names), detect.Credentials)
	}
	set, err := s.e.setOf(names)
	if err != nil {
		panic(err) // these are names that were taken before, and one of our own
	}
	r := *s
	r.aside = s.aside || len(names) > len(s.names) // what the policy does not hide stays shown: it is no known value either
	r.detectors, r.names = set, names
	return &r
}

// setOf gives the detectors of those names, which are made once.
func (e *Engine) setOf(names []string) (*detect.Set, error) {
	if len(names) == 1 && names[0] == detect.Credentials { // of all engines
		return detect.Select(names)
	}
	key := strings.Join(names, "\n")
	if set, ok := e.sets.Load(key); ok {
		return set.(*detect.Set), nil
	}
	set, err := detect.Select(names)
	if err == nil {
		e.sets.Store(key, set)
	}
	return set, err
}

// contextBytes is how much of what has gone out is kept for detectors: a value is found by the name before it.
const contextBytes = 4 * detect.Before

// prime gives the stream what stands before it, which has gone out elsewhere. quoted says that it is what a JSON string holds.
func (t *stream) prime(before []byte, quoted bool) {
	t.buf = append(t.buf[:0], before...)
	t.out, t.floor = len(t.buf), len(t.buf)
	t.quoted, t.cut = quoted, len(before) > 0
}

// detect notes what the detectors find, and gives from where on their text must be kept.
func (t *stream) detect() (keep int) {
	n := len(t.buf)
	if t.quoted && t.mode == ended {
		t.buf = append(t.buf, '"')
	}
	t.scanner.Use(t.s.detectors)
	t.scanner.Scan(t.buf, t.cut, t.mode == ended)
	t.buf = t.buf[:n]
	for i := range t.scanner.Found {
		f := &t.scanner.Found[i]
		from, end := wholeUnits(t.buf, f.Start, min(f.End, n))
		if t.quoted && from > t.floor {
			from = t.floor + unitEnd(t.buf[t.floor:], from-t.floor)
		}
		if t.quoted && end > t.floor {
			end = t.floor + unitStart(t.buf[t.floor:], end-t.floor)
		}
		start := max(from, t.floor)
		if end <= max(t.out, t.floor) || start >= end {
			continue
		}
		if s, ok := t.s.seize(t.buf[from:end]); ok {
			s.start, s.end, s.from = start, end, max(0, f.From-detect.Before)+1
			t.spans = append(t.spans, s)
		}
	}
	t.live = min(t.live, t.scanner.Hold)
	return min(n, t.scanner.Keep)
}

// wholeUnits narrows b[start:end] so that it neither begins nor ends inside of an escape, in however many layers of JSON it
// stands: an expression reads a backslash and what follows it as two characters, and some let a value have backslashes.
func wholeUnits(b []byte, start, end int) (int, int) {
	if start > 0 && start < end && b[start-1] == '\\' {
		if b[start] == 'u' && end-start >= 5 && allHex(b[start+1:start+5]) {
			start += 4
		}
		if b[start] != '\\' {
			start++
		}
	} else if _, after := unicodeAround(b, start); after > 0 {
		start = after
	}
	for start < end && b[start] == '\\' { // of a quote, or of a line's end
		n := start
		for n < end && b[n] == '\\' {
			n++
		}
		if n == end {
			break
		}
		if start = n + 1; b[n] == 'u' && end-n >= 5 && allHex(b[n+1:n+5]) {
			start = n + 5
		}
	}
	if before, after := unicodeAround(b, end); after > 0 {
		end = before
	}
	for end > start && b[end-1] == '\\' {
		end--
	}
	return start, end
}

// unicodeAround gives where the backslash stands of an escape by four digits that position i is inside of, and where it ends.
func unicodeAround(b []byte, i int) (before, after int) {
	for u := i - 1; u > 0 && u >= i-4; u-- {
		if b[u] == 'u' && b[u-1] == '\\' && u+5 <= len(b) && allHex(b[u+1:u+5]) {
			return u - 1, u + 5
		}
	}
	return 0, 0
}

func allHex(b []byte) bool {
	for _, c := range b {
		if _, ok := hexDigit(c); !ok {
			return false
		}
	}
	return true
}

// seize makes what a detector found known, unless somebody had it forgotten. Who can have something printed may make up any
// number of credentials; so these take, as tokens do, at most half of the room.
func (s *Scope) seize(text []byte) (span, bool) {
	value := text
	if bytes.IndexByte(text, '\\') >= 0 {
		value = unescapeLoose(nil, text)
	}
	e := s.e
	sum := e.digestOf(value)
	if (*e.forgotten.Load())[sum] {
		return span{}, false
	}
	if !s.quiet && !s.aside && e.index.Load().byMAC(&sum) == nil {
		if n := e.Stats(); 2*n.Patterns < n.MaxPatterns {
			e.Learn(value)
		}
	}
	return span{sum: sum}, true
}

// context is what stands before position i of b, of which the first from bytes were remembered, as detectors need it.
func (p *parser) context(b []byte, from, i int) []byte {
	if p.s.detectors == nil {
		return nil
	}
	if b, i = b[from:], i-from; i >= contextBytes {
		return b[i-contextBytes : i]
	}
	before := p.before
	if n := contextBytes - i; len(before) > n {
		before = before[len(before)-n:]
	}
	p.around = append(append(p.around[:0], before...), b[:i]...)
	return p.around
}

// remember keeps the end of b, of which all has been searched, as context of what follows.
func (p *parser) remember(b []byte) {
	if p.s.detectors == nil {
		return
	}
	if len(b) >= contextBytes {
		p.before = append(p.before[:0], b[len(b)-contextBytes:]...)
		return
	}
	p.before = append(p.before, b...)
	if n := len(p.before) - contextBytes; n > 0 {
		p.before = p.before[:copy(p.before, p.before[n:])]
	}
}

// suspect gives the places of out[:end] that detectors find, of what was not searched before, by where they begin.
func (p *parser) suspect(end int) []detect.Found {
	if p.s.detectors == nil || p.swept >= end {
		return nil
	}
	p.scanner.Use(p.s.detectors)
	found, out := p.suspects[:0], p.out[p.swept:end]
	if n := len(p.before); n > 0 { // a name in what has gone, a value in what has not
		text := append(append(p.around[:0], p.before...), out[:min(len(out), maxSuspect)]...)
		p.around = text
		p.scanner.Scan(text, true, len(out) <= maxSuspect)
		for _, f := range p.scanner.Found {
			if f.End > n {
				f.Start, f.End = max(0, f.Start-n), f.End-n
				found = append(found, f)
			}
		}
	}
	p.scanner.Scan(out, len(p.before) > 0, true)
	found = append(found, p.scanner.Found...)
	for i := range found {
		found[i].Start, found[i].End = found[i].Start+p.swept, found[i].End+p.swept
	}
	slices.SortFunc(found, func(a, b detect.Found) int { return a.Start - b.Start })
	p.suspects = found
	return found
}

// suspected reports whether one of list, which it shortens, is within v.
func (v *exposed) suspected(list *[]detect.Found) bool {
	for len(*list) > 0 && (*list)[0].End <= int(v.start) {
		*list = (*list)[1:]
	}
	for _, f := range *list {
		if f.Start >= int(v.end) {
			break
		}
		if f.End > int(v.start) {
			return true
		}
	}
	return false
}

// maxSuspect is how far a value may reach whose name stands before it in what has gone.
const maxSuspect = 8 << 10
