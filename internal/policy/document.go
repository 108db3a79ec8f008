package policy

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"gatebook/internal/access"
	"gatebook/internal/mask/detect"
)

// document is what one file says, before its conditions are compiled.
type document struct {
	mode    *bool // observe; nil where the file does not say
	masking []string
	masks   []access.Mask
	rules   []*rule
}

// reader decodes YAML strictly, and knows where everything stands.
type reader struct {
	file string
	src  []byte
	problems
}

func (r *reader) fail(n *yaml.Node, format string, args ...any) {
	r.add(r.file, n.Line, n.Column, format, args...)
}

// document decodes every YAML document of the file into one. The comments of the keys, here and below, are the
// reference page's (docs/reference/policy.md).
func (r *reader) document() *document {
	d := &document{}
	r.each(func(root *yaml.Node) {
		r.mapping(root, "a policy file", map[string]func(*yaml.Node){
			// enforce (the default) or observe: then everything is allowed, and the record says what it would have been.
			// Masks are applied all the same. Given once for the whole policy.
			"mode": func(n *yaml.Node) { d.mode = r.mode(n, d.mode) },
			// Names of the masks applied to every answer. The default is [secrets, known, credentials]; [] leaves it to the rules.
			// Given once for the whole policy.
			"masking": func(n *yaml.Node) { d.masking = append(make([]string, 0, 2), r.strings(n)...) },
			// Masks of your own, for rules and masking to name.
			"masks": func(n *yaml.Node) { r.sequence(n, func(n *yaml.Node) { d.masks = append(d.masks, r.mask(n)) }) },
			// The rules. Their order has no meaning.
			"rules": func(n *yaml.Node) { r.sequence(n, func(n *yaml.Node) { d.rules = append(d.rules, r.rule(n)) }) },
		})
	})
	return d
}

func (r *reader) each(fn func(root *yaml.Node)) {
	dec := yaml.NewDecoder(bytes.NewReader(r.src))
	for {
		var n yaml.Node
		if err := dec.Decode(&n); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			r.syntax(err)
			return
		}
		if len(n.Content) == 1 && n.Content[0].Tag != "!!null" {
			fn(n.Content[0])
		}
	}
}

// syntax reports what the YAML parser says, which names the line in its text.
func (r *reader) syntax(err error) {
	msg, line := strings.TrimPrefix(err.Error(), "yaml: "), 0
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if num, text, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(num); err == nil {
				line, msg = n, text
			}
		}
	}
	r.add(r.file, line, 1, "not valid YAML: %s", msg)
}

// mapping calls the function of each key. A key that is unknown or comes twice is a problem.
func (r *reader) mapping(n *yaml.Node, what string, fields map[string]func(*yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.fail(n, "%s is a mapping, not %s", what, kindOf(n))
		return
	}
	known := make([]string, 0, len(fields))
	for k := range fields {
		known = append(known, k)
	}
	slices.Sort(known)
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		fn, ok := fields[k.Value]
		switch {
		case !ok:
			r.fail(k, "unknown key %q in %s; %s", k.Value, what, meant(k.Value, known))
		case seen[k.Value] != 0:
			r.fail(k, "key %q is already given in line %d", k.Value, seen[k.Value])
		default:
			seen[k.Value] = k.Line
			fn(v)
		}
	}
}

func (r *reader) sequence(n *yaml.Node, fn func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		r.fail(n, "want a list here, not %s", kindOf(n))
		return
	}
	for _, c := range n.Content {
		fn(c)
	}
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias (write it out: anchors and aliases are not used in policies)"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	return strconv.Quote(n.Value)
}

func (r *reader) string(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		r.fail(n, "want text here, not %s", kindOf(n))
		return ""
	}
	return n.Value
}

func (r *reader) bool(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode || n.Value != "true" && n.Value != "false" {
		r.fail(n, "want true or false here, not %s", kindOf(n))
	}
	return n.Value == "true"
}

func (r *reader) strings(n *yaml.Node) []string {
	var out []string
	r.sequence(n, func(n *yaml.Node) {
		if s := r.string(n); s == "" {
			r.fail(n, "an empty name matches nothing; remove it")
		} else {
			out = append(out, s)
		}
	})
	return out
}

func (r *reader) duration(n *yaml.Node) *time.Duration {
	d, err := time.ParseDuration(r.string(n))
	if err != nil || d < 0 {
		r.fail(n, "%q is not a duration; write it like 90s, 15m or 8h", n.Value)
		return nil
	}
	return &d
}

func (r *reader) positive(n *yaml.Node) *int {
	i, err := strconv.Atoi(r.string(n))
	if err != nil || i < 1 {
		r.fail(n, "%q is not a whole number of at least 1", n.Value)
		return nil
	}
	return &i
}

func (r *reader) mode(n *yaml.Node, before *bool) *bool {
	s := r.string(n)
	if s != "enforce" && s != "observe" {
		r.fail(n, "mode %q is not known; it is enforce or observe", s)
		return before
	}
	observe := s == "observe"
	if before != nil && *before != observe {
		r.fail(n, "mode is given twice in this file, and differently")
	}
	return &observe
}

func (r *reader) mask(n *yaml.Node) access.Mask {
	var m access.Mask
	r.mapping(n, "a mask", map[string]func(*yaml.Node){
		// How rules and masking name it. secrets, known and credentials are built in: what the protocol knows to be secret
		// by its structure (Secrets, tokens, keys); values that the gateway has seen to be secret, wherever they turn up;
		// and what has the form of a credential, by the detectors of the group credentials.
		"name": func(n *yaml.Node) { m.Name = r.string(n) },
		// JSON paths to hide in each object of the answer, such as data.password; * stands for any one key or index.
		"paths": func(n *yaml.Node) { m.Paths = r.strings(n) },
		// Detectors, by name, or groups of them: credentials (of a form that stands for nothing else), assigned (a value
		// beside the name of whom it is for), generic (a value beside any name that sounds secret) and personal (e-mail
		// addresses, payment cards, bank accounts and the like). What they find is hidden wherever it stands, and so is
		// whatever is known to be secret. docs/reference/detectors.md lists them.
		"detectors": func(n *yaml.Node) {
			known := detect.Names()
			r.sequence(n, func(n *yaml.Node) {
				name := r.string(n)
				m.Detectors = append(m.Detectors, name)
				if slices.Contains(known, name) {
					return
				}
				hint := "docs/reference/detectors.md lists them; their groups are " + strings.Join(detect.Groups(), ", ")
				if like := nearest(name, known); like != "" {
					hint = "did you mean " + strconv.Quote(like) + "?"
				}
				r.fail(n, "detector %q is not known; %s", name, hint)
			})
		},
	})
	switch {
	case m.Name == "":
		r.fail(n, "a mask needs a name")
	case m.Name == access.MaskSecrets || m.Name == access.MaskKnown || m.Name == access.MaskCredentials:
		r.fail(n, "mask %q is built in; choose another name", m.Name)
	case len(m.Paths)+len(m.Detectors) == 0:
		r.fail(n, "mask %q needs paths, such as data.password, or detectors, such as credentials", m.Name)
	}
	for _, p := range m.Paths {
		if slices.Contains(strings.Split(p, "."), "") {
			r.fail(n, "mask %q: path %q has an empty part; write it like data.password or spec.*.token", m.Name, p)
		}
	}
	return m
}
