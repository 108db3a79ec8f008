package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/mask/detect"
)

// Set is a loaded policy. It is immutable and safe for concurrent use.
type Set struct {
	schema   *schema
	compiler *compiler
	// rules in the order of judging: the strictest effect first, then the highest risk, then the id.
	rules   []*rule
	index   map[string]protocolRules
	masking []access.Mask
	masks   map[string]access.Mask
	observe bool
	digest  access.Digest
	// memories are by protocol.
	memories map[string]*memory
}

// protocolRules are the rules that can be met by operations of one protocol, by verb.
type protocolRules struct {
	all    []*rule
	byVerb map[string][]*rule
	// other is for verbs that no rule names.
	other []*rule
}

// Load reads the policy's files, by name. It is all or nothing: the error joins every *Problem, with file, line,
// column and what to do. The files' order and names, white space and comments have no meaning.
func Load(files map[string][]byte) (*Set, error) {
	c, err := newCompiler()
	if err != nil {
		return nil, err
	}
	return c.load(files)
}

func (c *compiler) load(files map[string][]byte) (*Set, error) {
	s := &Set{schema: c.schema, compiler: c, masks: map[string]access.Mask{}}
	var ps problems
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	l := &loader{set: s, problems: &ps, ids: map[string]position{}}
	for _, name := range names {
		r := &reader{file: name, src: files[name]}
		l.add(name, r.document())
		ps = append(ps, r.problems...)
	}
	l.finish()
	if err := ps.err(); err != nil {
		return nil, err
	}
	if len(s.rules) == 0 {
		return nil, fmt.Errorf("the policy has no rules, so it would deny everything: want YAML files with a list of rules, got %d files", len(files))
	}
	if err := s.seal(); err != nil {
		return nil, err
	}
	return s, nil
}

// loader joins documents into a set.
type loader struct {
	set      *Set
	problems *problems
	ids      map[string]position
	mode     *bool
	modeFile string
	masking  []string
	maskFile string
}

func (l *loader) add(file string, d *document) {
	if d.mode != nil {
		if l.mode != nil && *l.mode != *d.mode {
			l.problems.add(file, 0, 0, "mode differs from that in %s; the whole policy has one mode", l.modeFile)
		}
		l.mode, l.modeFile = d.mode, file
	}
	if d.masking != nil {
		if l.masking != nil {
			l.problems.add(file, 0, 0, "masking is already given in %s; give it once for the whole policy", l.maskFile)
		}
		l.masking, l.maskFile = d.masking, file
	}
	for _, m := range d.masks {
		if _, ok := l.set.masks[m.Name]; ok {
			l.problems.add(file, 0, 0, "mask %q is defined twice", m.Name)
		}
		l.set.masks[m.Name] = m
	}
	for _, r := range d.rules {
		if at, ok := l.ids[r.id]; ok && r.id != "" {
			l.problems.add(file, r.at.line, r.at.column, "rule id %q is already used in %s:%d; ids are unique in the whole policy", r.id, at.file, at.line)
		}
		l.ids[r.id] = r.at
		l.set.rules = append(l.set.rules, r)
	}
}

// finish compiles the conditions and resolves the masks, now that all files are read.
func (l *loader) finish() {
	s := l.set
	s.masks[access.MaskSecrets] = access.Mask{Name: access.MaskSecrets}
	s.masks[access.MaskKnown] = access.Mask{Name: access.MaskKnown}
	s.masks[access.MaskCredentials] = access.Mask{Name: access.MaskCredentials, Detectors: []string{detect.Credentials}}
	s.observe = l.mode != nil && *l.mode
	if l.masking == nil {
		l.masking = []string{access.MaskSecrets, access.MaskKnown, access.MaskCredentials}
	}
	for _, name := range l.masking {
		if m, ok := l.mask(name, l.maskFile, 0, 0); ok {
			s.masking = addMask(s.masking, m)
		}
	}
	for _, r := range s.rules {
		s.compiler.compile(r, l.problems)
		for _, name := range r.masks {
			l.mask(name, r.at.file, r.at.line, r.at.column)
		}
		if r.reason == "" {
			r.reason = "rule " + r.id + " allows it"
		}
	}
}

func (l *loader) mask(name, file string, line, column int) (access.Mask, bool) {
	m, ok := l.set.masks[name]
	if !ok {
		l.problems.add(file, line, column, "mask %q is not defined; %s", name, meant(name, sortedNames(l.set.masks)))
	}
	return m, ok
}

func sortedNames(m map[string]access.Mask) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// addMask keeps masks sorted by name, each once.
func addMask(masks []access.Mask, m access.Mask) []access.Mask {
	i, found := slices.BinarySearchFunc(masks, m.Name, func(a access.Mask, name string) int { return strings.Compare(a.Name, name) })
	if found {
		return masks
	}
	return slices.Insert(masks, i, m)
}

// seal orders and indexes the rules and takes the digest.
func (s *Set) seal() error {
	slices.SortFunc(s.rules, func(a, b *rule) int {
		return cmp.Or(a.rank()-b.rank(), int(b.risk)-int(a.risk), strings.Compare(a.id, b.id))
	})
	s.index = map[string]protocolRules{}
	for _, p := range protocols() {
		s.index[p] = s.indexOf(p)
	}
	s.memories = map[string]*memory{protocolPostgres: newMemory(s.index[protocolPostgres].all)}
	b, err := json.Marshal(s.canonical())
	if err != nil {
		return fmt.Errorf("taking the policy's digest: %w", err)
	}
	s.digest = sha256.Sum256(b)
	return nil
}

// rank orders by strictness; a rule without an effect comes last.
func (r *rule) rank() int {
	if !r.decides {
		return len("deny approve allow")
	}
	return int(r.effect)
}

func (s *Set) indexOf(protocol string) protocolRules {
	p := protocolRules{byVerb: map[string][]*rule{}}
	for _, r := range s.rules {
		if r.protocol == "" || r.protocol == protocol {
			p.all = append(p.all, r)
			for _, v := range r.scope.verbs {
				p.byVerb[v] = nil
			}
		}
	}
	for _, r := range p.all {
		if len(r.scope.verbs) == 0 {
			p.other = append(p.other, r)
		}
		for v := range p.byVerb {
			if len(r.scope.verbs) == 0 || slices.Contains(r.scope.verbs, v) {
				p.byVerb[v] = append(p.byVerb[v], r)
			}
		}
	}
	return p
}

// candidates are the rules that the operation could meet, in the order of judging.
func (s *Set) candidates(in *input) []*rule {
	p, ok := s.index[in.op.Target.Protocol]
	if !ok {
		p = s.index[""]
	}
	if in.verbUnreadable() != nil {
		return p.all
	}
	if rules, ok := p.byVerb[in.verb()]; ok {
		return rules
	}
	return p.other
}

// Digest identifies the policy by what it means: its rules, masks and mode, whatever their files, order and comments.
func (s *Set) Digest() access.Digest { return s.digest }

// Rules lists the ids of all rules, sorted.
func (s *Set) Rules() []string {
	out := make([]string, len(s.rules))
	for i, r := range s.rules {
		out[i] = r.id
	}
	slices.Sort(out)
	return out
}
