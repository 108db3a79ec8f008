package mask

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// Encoding says how a value is written where a rule finds it.
type Encoding uint8

const (
	// Text is a string that is the value. Numbers become numbers, true and false become strings, null and "" stay;
	// of an object or array each leaf is masked.
	Text Encoding = iota + 1
	// Base64 is a string that is the value's base64 (standard alphabet, padded), as is a placeholder for it. What is
	// not base64 is treated as Text.
	Base64
	// JSON is a string that holds a JSON document, to which the rule's Nested apply. What is not JSON, or longer than
	// Options.MaxNestedBytes, is treated as Text.
	JSON
)

// Rule names one place to mask.
type Rule struct {
	// Path is the way from the root, segments separated by dots. A segment is a key, or * for any key or any index.
	// A backslash takes the next character as it is: `metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration`.
	// Use Key to write a key into a path.
	Path     string
	Encoding Encoding
	// Public says that the value is masked here, but is no secret where else it stands: it is not learned.
	Public bool
	// Nested are the rules of a JSON string's own document.
	Nested []Rule
}

// Key escapes a key for use as one segment of a Rule's Path.
func Key(key string) string {
	return strings.NewReplacer(`\`, `\\`, `.`, `\.`, `*`, `\*`).Replace(key)
}

// Under gives rules below another root: Under("items.*", rules) for a list of what rules are for.
func Under(root string, rules []Rule) []Rule {
	out := slices.Clone(rules)
	for i := range out {
		out[i].Path = root + "." + out[i].Path
	}
	return out
}

// Shape is a compiled set of rules: an automaton over keys, in which each key costs one step however many rules there
// are. It is immutable and safe for concurrent use. A nil *Shape has no rules.
type Shape struct{ root *state }

// state is where a path has led. The nil state is one below which nothing is masked.
type state struct {
	keys []edge // sorted by key
	star *state // any other key, and any index
	rule *action
}

type edge struct {
	key string
	to  *state
}

type action struct {
	encoding Encoding
	nested   *Shape
	public   bool
}

// child is the state behind key.
func (s *state) child(key []byte) *state {
	if s == nil {
		return nil
	}
	if len(s.keys) <= 8 {
		for i := range s.keys {
			if e := &s.keys[i]; e.key == string(key) {
				return e.to
			}
		}
		return s.star
	}
	i := sort.Search(len(s.keys), func(i int) bool { return s.keys[i].key >= string(key) })
	if i < len(s.keys) && s.keys[i].key == string(key) {
		return s.keys[i].to
	}
	return s.star
}

func (s *state) element() *state {
	if s == nil {
		return nil
	}
	return s.star
}

func (s *state) action() *action {
	if s == nil {
		return nil
	}
	return s.rule
}

// Compile makes a Shape of rules. Where several rules fit one place, the one with fewer stars wins, then the earlier.
func Compile(rules []Rule) (*Shape, error) {
	c := compiler{states: map[string]*state{}, root: &branch{}}
	for i, r := range rules {
		if err := c.add(r); err != nil {
			return nil, fmt.Errorf("compiling mask rule %d, %q: %w", i+1, r.Path, err)
		}
	}
	c.number(c.root)
	return &Shape{root: c.state([]*branch{c.root})}, nil
}

// branch is a node of the tree of rules as written, * being a key like others.
type branch struct {
	id    int
	stars int
	next  map[string]*branch
	star  *branch
	rule  *action
}

type compiler struct {
	root   *branch
	count  int
	states map[string]*state
}

func (c *compiler) add(r Rule) error {
	segments, err := split(r.Path)
	if err != nil {
		return err
	}
	a := &action{encoding: r.Encoding, public: r.Public}
	switch {
	case r.Encoding == JSON:
		if a.nested, err = Compile(r.Nested); err != nil {
			return err
		}
	case r.Encoding != Text && r.Encoding != Base64:
		return fmt.Errorf("no such encoding: %d", r.Encoding)
	case len(r.Nested) > 0:
		return fmt.Errorf("nested rules need the encoding JSON")
	}
	b := c.root
	for _, s := range segments {
		b = b.child(s)
	}
	if b.rule == nil {
		b.rule = a
	}
	return nil
}

func (b *branch) child(s segment) *branch {
	if s.star {
		if b.star == nil {
			b.star = &branch{stars: b.stars + 1}
		}
		return b.star
	}
	if b.next == nil {
		b.next = map[string]*branch{}
	}
	if b.next[s.key] == nil {
		b.next[s.key] = &branch{stars: b.stars}
	}
	return b.next[s.key]
}

func (c *compiler) number(b *branch) {
	c.count++
	b.id = c.count
	if b.star != nil {
		c.number(b.star)
	}
	for _, k := range slices.Sorted(maps.Keys(b.next)) {
		c.number(b.next[k])
	}
}

// state makes the deterministic state for being at all of the branches at once.
func (c *compiler) state(at []*branch) *state {
	if len(at) == 0 {
		return nil
	}
	slices.SortFunc(at, func(a, b *branch) int { return a.id - b.id })
	var name strings.Builder
	for _, b := range at {
		fmt.Fprintf(&name, "%d ", b.id)
	}
	if s := c.states[name.String()]; s != nil {
		return s
	}
	s := &state{}
	c.states[name.String()] = s
	keys := map[string]bool{}
	var stars []*branch
	best := -1
	for _, b := range at {
		if b.rule != nil && (best < 0 || b.stars < best) {
			s.rule, best = b.rule, b.stars
		}
		if b.star != nil {
			stars = append(stars, b.star)
		}
		for k := range b.next {
			keys[k] = true
		}
	}
	if s.rule != nil {
		s.star = s // all that a masked container holds is masked, in the same way
	} else {
		s.star = c.state(stars)
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		to := slices.Clone(stars)
		for _, b := range at {
			if n := b.next[k]; n != nil {
				to = append(to, n)
			}
		}
		if below := c.state(to); s.rule == nil || below.rule != nil { // but where a rule says otherwise
			s.keys = append(s.keys, edge{k, below})
		}
	}
	return s
}

type segment struct {
	key  string
	star bool
}

func split(path string) ([]segment, error) {
	var out []segment
	var key strings.Builder
	escaped, literal := false, false
	end := func() error {
		if key.Len() == 0 {
			return fmt.Errorf("empty segment")
		}
		out = append(out, segment{key.String(), key.String() == "*" && !literal})
		key.Reset()
		literal = false
		return nil
	}
	for i := range len(path) {
		switch c := path[i]; {
		case escaped:
			key.WriteByte(c)
			escaped, literal = false, true
		case c == '\\':
			escaped = true
		case c == '.':
			if err := end(); err != nil {
				return nil, err
			}
		default:
			key.WriteByte(c)
		}
	}
	if escaped {
		return nil, fmt.Errorf("trailing backslash")
	}
	err := end()
	return out, err
}
