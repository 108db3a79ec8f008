package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"gatebook/internal/access"
)

// Report is what came of running cases.
type Report struct {
	Results []CaseResult `json:"results"`
	// Untested lists the rules that no case met.
	Untested []string `json:"untested,omitempty"`
}

// Failed counts the cases that were decided otherwise than expected.
func (r Report) Failed() int {
	n := 0
	for _, c := range r.Results {
		if len(c.Differences) > 0 {
			n++
		}
	}
	return n
}

// CaseResult is one case, and how the decision differs from what was expected; no differences is a pass.
type CaseResult struct {
	Name        string          `json:"name"`
	File        string          `json:"file"`
	Line        int             `json:"line"`
	Decision    access.Decision `json:"decision"`
	Needs       []string        `json:"needs,omitempty"`
	Differences []string        `json:"differences,omitempty"`
}

// testCase is an operation and what the policy must make of it.
type testCase struct {
	name string
	line int
	op   access.Operation
	want expectation
}

// expectation is what a case asks of the decision. What it leaves out is not looked at.
type expectation struct {
	effect access.Effect
	risk   *access.Risk
	// rules must all count; where only is set, no other may.
	rules []string
	only  bool
	// reason and advice must occur in the decision's.
	reason, advice string
	masks          []string
	needs          []string
}

// RunCases decides the operations of files, which are YAML, and compares with what they expect:
//
//	operation: {target: {protocol: kubernetes}}   # what all cases of the file share
//	cases:
//	  - name: exec waits for a person
//	    operation: {kubernetes: {verb: create, resource: pods, subresource: exec, namespace: a, name: p}}
//	    expect: {effect: approve, rules: [exec], reason: "a command in a container"}
//
// A patch's object is what the patch makes of what is stored; without one it is not known yet.
// The error says what is wrong with the files themselves; cases that fail are in the report.
func RunCases(s *Set, files map[string][]byte) (Report, error) {
	var out Report
	var ps problems
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	hit := map[string]bool{}
	for _, name := range names {
		r := &caseReader{reader: reader{file: name, src: files[name]}}
		for _, c := range r.cases() {
			result := s.run(name, c)
			for _, h := range result.Decision.Rules {
				hit[h.ID] = true
			}
			out.Results = append(out.Results, result)
		}
		ps = append(ps, r.problems...)
	}
	for _, r := range s.rules {
		if !hit[r.id] && r.decides {
			out.Untested = append(out.Untested, r.id)
		}
	}
	slices.Sort(out.Untested)
	return out, ps.err()
}

func (s *Set) run(file string, c testCase) CaseResult {
	out := CaseResult{Name: c.name, File: file, Line: c.line}
	out.Decision, out.Needs = s.Decide(&c.op)
	out.Differences = c.want.compare(out.Decision, out.Needs)
	return out
}

func (w expectation) compare(d access.Decision, needs []string) []string {
	var out []string
	differ := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	effect := d.Effect
	if d.Observed != nil {
		effect = *d.Observed
	}
	if effect != w.effect {
		differ("effect is %s, want %s (%s)", effect, w.effect, d.Reason)
	}
	if w.risk != nil && d.Risk != *w.risk {
		differ("risk is %s, want %s", d.Risk, *w.risk)
	}
	var have, masks []string
	for _, h := range d.Rules {
		have = append(have, h.ID)
	}
	for _, m := range d.Masks {
		masks = append(masks, m.Name)
	}
	for _, id := range w.rules {
		if !slices.Contains(have, id) {
			differ("rule %s does not count, but only %s", id, strings.Join(have, ", "))
		}
	}
	if w.only && len(have) != len(w.rules) {
		differ("rules that count are %s, want only %s", strings.Join(have, ", "), strings.Join(w.rules, ", "))
	}
	if !strings.Contains(d.Reason, w.reason) {
		differ("reason is %q, want %q in it", d.Reason, w.reason)
	}
	if !strings.Contains(d.Advice, w.advice) {
		differ("advice is %q, want %q in it", d.Advice, w.advice)
	}
	if w.masks != nil && !slices.Equal(masks, sorted(w.masks)) {
		differ("masks are %v, want %v", masks, sorted(w.masks))
	}
	if w.needs != nil && !slices.Equal(needs, w.needs) {
		differ("needs are %v, want %v", needs, w.needs)
	}
	return out
}

// caseReader decodes a file of cases.
type caseReader struct{ reader }

func (r *caseReader) cases() []testCase {
	var out []testCase
	r.each(func(root *yaml.Node) {
		var shared, list *yaml.Node
		r.mapping(root, "a file of cases", map[string]func(*yaml.Node){
			"operation": func(n *yaml.Node) { shared = n },
			"cases":     func(n *yaml.Node) { list = n },
		})
		if list == nil {
			return
		}
		r.sequence(list, func(n *yaml.Node) {
			if c, ok := r.testCase(n, shared); ok {
				out = append(out, c)
			}
		})
	})
	return out
}

func (r *caseReader) testCase(n, shared *yaml.Node) (testCase, bool) {
	c := testCase{line: n.Line}
	var op, expect *yaml.Node
	before := len(r.problems)
	r.mapping(n, "a case", map[string]func(*yaml.Node){
		"name":      func(n *yaml.Node) { c.name = r.string(n) },
		"operation": func(n *yaml.Node) { op = n },
		"expect":    func(n *yaml.Node) { expect = n; c.want = r.expectation(n) },
	})
	if c.name == "" || op == nil || expect == nil {
		r.fail(n, "a case needs name, operation and expect")
	}
	if len(r.problems) == before {
		r.operation(op, shared, &c.op)
	}
	return c, len(r.problems) == before
}

func (r *caseReader) expectation(n *yaml.Node) expectation {
	var w expectation
	given := false
	r.mapping(n, "expect", map[string]func(*yaml.Node){
		"effect": func(n *yaml.Node) { w.effect, given = r.effect(n), true },
		"risk":   func(n *yaml.Node) { k := r.risk(n); w.risk = &k },
		"rules":  func(n *yaml.Node) { w.rules = r.strings(n) },
		"only":   func(n *yaml.Node) { w.only = r.string(n) == "true" },
		"reason": func(n *yaml.Node) { w.reason = r.string(n) },
		"advice": func(n *yaml.Node) { w.advice = r.string(n) },
		"masks":  func(n *yaml.Node) { w.masks = append([]string{}, r.strings(n)...) },
		"needs":  func(n *yaml.Node) { w.needs = append([]string{}, r.strings(n)...) },
	})
	if !given {
		r.fail(n, "expect needs an effect: allow, approve or deny")
	}
	return w
}

// operation lays the case's operation over the shared one and reads both by the names of the JSON form.
func (r *caseReader) operation(n, shared *yaml.Node, op *access.Operation) {
	merged := map[string]any{}
	for _, from := range []*yaml.Node{shared, n} {
		if from == nil {
			continue
		}
		var m map[string]any
		if err := from.Decode(&m); err != nil {
			r.fail(from, "the operation is not a mapping: %v", err)
			return
		}
		overlay(merged, m)
	}
	b, err := json.Marshal(merged)
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		err = dec.Decode(op)
	}
	if err != nil {
		r.fail(n, "the operation cannot be read: %s", strings.TrimPrefix(err.Error(), "json: "))
		return
	}
	if k := op.Kubernetes; k != nil {
		if op.Verb == "" {
			op.Verb = k.Verb
		}
		if k.PatchType != "" && k.Object != nil { // the case says what the patch makes of what is stored
			op.Fetched = append(op.Fetched, access.FieldKubernetesObject)
		}
	}
}

// overlay writes src over dst, map by map.
func overlay(dst, src map[string]any) {
	for k, v := range src {
		below, ok := dst[k].(map[string]any)
		above, ok2 := v.(map[string]any)
		if ok && ok2 {
			overlay(below, above)
			continue
		}
		if ok2 { // a copy, since the shared operation is laid under every case
			below = map[string]any{}
			overlay(below, above)
			dst[k] = below
			continue
		}
		dst[k] = v
	}
}
