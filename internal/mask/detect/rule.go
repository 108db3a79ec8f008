package detect

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
)

// Rule is one kind of credential, or of personal data.
type Rule struct {
	// ID names the rule, and Group what it belongs to: credentials, assigned, generic or personal.
	ID    string `json:"id"`
	Group string `json:"group"`
	// About says what it finds, in a few words.
	About string `json:"about,omitempty"`
	// Regexp is the whole expression. A rule of a value beside a name has Names and Value as well, which are its parts.
	Regexp string `json:"regexp"`
	Names  string `json:"names,omitempty"`
	Value  string `json:"value,omitempty"`
	// SecretGroup is the group that is the secret. Without it that is the first that is not empty, or the match.
	SecretGroup int `json:"secretGroup,omitempty"`
	// Entropy, in bits per character, is what a secret must have more of.
	Entropy float64 `json:"entropy,omitempty"`
	// Left is a class of bytes: what stands of it before a match, up to 63 of them, is of the secret.
	Left string `json:"left,omitempty"`
	// Replaces are rules that this one stands for where their group is chosen.
	Replaces []string `json:"replaces,omitempty"`
	// Check is a check that a secret must pass besides: luhn, iban.
	Check string `json:"check,omitempty"`
	// Allow says what is no secret although it is of the form.
	Allow []Allow `json:"allow,omitempty"`

	program *program
	value   *value
	armour  bool
	left    class
	// upstream: it is gitleaks'.
	upstream bool
	allow    []*allowed
}

// Allow is what is let through.
type Allow struct {
	// Target is what Regexps are looked for in: the match, or without it the secret.
	Target  string   `json:"target,omitempty"`
	Regexps []string `json:"regexps,omitempty"`
	// Same says that what is one character again and again is none.
	Same bool `json:"same,omitempty"`
	// Words that a secret holds, in any case.
	Words []string `json:"words,omitempty"`
}

// file is how rules are kept as data.
type file struct {
	// From says where the rules are from, and by what licence.
	From  string   `json:"from"`
	Allow []Allow  `json:"allow,omitempty"`
	Rules []*Rule  `json:"rules"`
	Left  []string `json:"left,omitempty"`
}

//go:embed gitleaks.json
var gitleaksRules []byte

//go:embed own.json
var ownRules []byte

// catalog is all rules, as they are kept.
type catalog struct {
	rules  []*Rule
	common []Allow
}

var loaded = sync.OnceValue(load)

// commonAllowed is what no rule takes for a secret.
var commonAllowed = sync.OnceValues(func() ([]*allowed, error) { return newAllowed(loaded().common) })

// load reads the data that the binary holds. What is wrong with them is found by a test.
func load() *catalog {
	c := &catalog{}
	for i, b := range [][]byte{gitleaksRules, ownRules} {
		var f file
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&f); err != nil {
			panic(fmt.Sprintf("reading the detectors' rules: %v", err))
		}
		for _, r := range f.Rules {
			r.upstream = i == 0
		}
		c.rules, c.common = append(c.rules, f.Rules...), append(c.common, f.Allow...)
	}
	return c
}

// Groups are what rules belong to. A policy names these, or single rules.
const (
	// Credentials are of a form that stands for nothing else.
	Credentials = "credentials"
	// Assigned are values beside the name of whom they are for.
	Assigned = "assigned"
	// Generic are values beside any name that sounds secret: they find much, and much that is none.
	Generic = "generic"
	// Personal are data of persons.
	Personal = "personal"
)

// Rules lists all rules, by their names.
func Rules() []*Rule {
	out := slices.Clone(loaded().rules)
	slices.SortStableFunc(out, func(a, b *Rule) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Groups are those that rules belong to.
func Groups() []string { return []string{Credentials, Assigned, Generic, Personal} }

// Names are all that Select takes: groups first, then rules.
func Names() []string {
	rules := map[string]bool{}
	for _, r := range loaded().rules {
		rules[r.ID] = true
	}
	return append(Groups(), slices.Sorted(maps.Keys(rules))...)
}

// Set is some of the rules, ready to be used. It is immutable and safe for concurrent use.
type Set struct {
	filter filter
	rules  []*Rule
}

// Unknown is a name that stands for no rule and no group.
type Unknown struct{ Name string }

func (e *Unknown) Error() string {
	return fmt.Sprintf("no detector, and no group of them, is called %q", e.Name)
}

// credentials is the Set that everybody uses; it is made when it is first asked for.
var credentials = sync.OnceValues(func() (*Set, error) { return newSet([]string{Credentials}) })

// Select gives a Set of rules and groups by their names. An error is an *Unknown.
func Select(names []string) (*Set, error) {
	if len(names) == 1 && names[0] == Credentials {
		return credentials()
	}
	return newSet(names)
}

func newSet(names []string) (*Set, error) {
	c := loaded()
	s := &Set{}
	replaced := map[string]bool{}
	for _, r := range c.rules {
		for _, id := range r.Replaces {
			replaced[id] = true
		}
	}
	for _, name := range names {
		n := len(s.rules)
		for _, r := range c.rules {
			if (r.ID == name || r.Group == name && !replaced[name] && !replaced[r.ID]) && !slices.ContainsFunc(s.rules, func(x *Rule) bool { return x.Regexp == behindEscapes(r.Regexp) }) {
				own := *r
				own.Regexp = behindEscapes(r.Regexp)
				s.rules = append(s.rules, &own)
			}
		}
		if n == len(s.rules) && !slices.Contains(Names(), name) {
			return nil, &Unknown{name}
		}
	}
	return s, s.prepare()
}

func (s *Set) prepare() error {
	for _, r := range s.rules {
		if err := r.prepare(); err != nil {
			return fmt.Errorf("detector %s: %w", r.ID, err)
		}
	}
	return s.index()
}

// behindEscapes lets an expression that begins at a word's start also begin behind an escape, as in a string of JSON, where \n
// ends in a letter.
func behindEscapes(expr string) string {
	for _, start := range [...]string{`\b(`, `(?i)\b(`} {
		if rest, ok := strings.CutPrefix(expr, start); ok {
			return strings.TrimSuffix(start, `\b(`) + `(?:\b|\\[nrt])(` + rest
		}
	}
	return expr
}

// Gitleaks makes a Set of all rules that are gitleaks', and of no others: to be compared with it.
func Gitleaks() (*Set, error) {
	s := &Set{}
	for _, r := range loaded().rules {
		if r.upstream {
			own := *r
			s.rules = append(s.rules, &own)
		}
	}
	return s, s.prepare()
}

// privateKey is the rule that is read by hand: a key is longer than an expression should be followed.
const privateKey = "private-key"

func (r *Rule) prepare() (err error) {
	switch {
	case r.ID == privateKey:
		r.armour = true
	case r.Names != "":
		if r.value, err = compileValue(r.Value); err != nil {
			return err
		}
	}
	expr := r.Regexp
	if r.Names != "" {
		expr = r.Names
	}
	if r.program, err = compile(expr); err != nil {
		return err
	}
	if r.Left != "" {
		left, err := compile(r.Left)
		if err != nil {
			return err
		}
		r.left = left.starts[0].bytes[0]
	}
	common, err := commonAllowed()
	if err != nil {
		return err
	}
	own, err := newAllowed(r.Allow)
	r.allow = append(own, common...)
	return err
}

// index lets the filter see how the rules' matches begin.
func (s *Set) index() error {
	byStart := map[string]int{}
	var all []anchor
	for n, r := range s.rules {
		if len(r.program.starts) == 0 {
			return fmt.Errorf("detector %s may begin in too many ways", r.ID)
		}
		for _, st := range r.program.starts {
			if r.Names != "" && !st.whole {
				return fmt.Errorf("detector %s has names of no bound", r.ID)
			}
			a := anchor{bytes: st.bytes, name: r.Names != ""}
			key := fmt.Sprint(a)
			i, ok := byStart[key]
			if !ok {
				i = len(all)
				byStart[key] = i
				all = append(all, a)
			}
			if !slices.Contains(all[i].rules, uint32(n)) {
				all[i].rules = append(all[i].rules, uint32(n))
			}
		}
	}
	for _, a := range all {
		if !s.filter.add(a) {
			return fmt.Errorf("detector %s could begin anywhere", s.rules[a.rules[0]].ID)
		}
	}
	return nil
}

// takes reports whether f is a secret, by all that is known of it.
func (r *Rule) takes(m *machine, t *text, f *Found) bool {
	secret := t.b[f.Start:f.End]
	if bytes.HasPrefix(secret, []byte(placeholder)) {
		return false
	}
	if r.Entropy > 0 && entropy(secret) <= r.Entropy {
		return false
	}
	switch r.Check {
	case "luhn":
		if !luhn(secret) {
			return false
		}
	case "iban":
		if !iban(secret) {
			return false
		}
	}
	for _, a := range r.allow {
		if a.has(m, t, f) {
			return false
		}
	}
	return true
}

// placeholder begins what stands for a value that is hidden already (access.PlaceholderPrefix).
const placeholder = "gbm-"

// entropy is Shannon's, in bits per byte.
func entropy(b []byte) float64 {
	var counts [256]uint16
	if len(b) > math.MaxUint16 {
		b = b[:math.MaxUint16]
	}
	for _, c := range b {
		counts[c]++
	}
	sum := 0.0
	for _, c := range b { // each kind once
		if n := counts[c]; n > 0 {
			counts[c] = 0
			sum += float64(n) * math.Log2(float64(n))
		}
	}
	return math.Log2(float64(len(b))) - sum/float64(len(b))
}
