package policy

import (
	"slices"
	"strings"

	"github.com/google/cel-go/cel"

	"gatebook/internal/access"
)

// input is one operation as conditions see it. It is an activation, and lives for one decision.
type input struct {
	op    *access.Operation
	facts Facts
	blind []blindField
	// late are the fields that were not read yet, and could be. They are unknown until then.
	late []string
	// blindly and early are activations with unknowns, made when a condition needs one: the blind fields alone, and
	// the late ones as well.
	blindly, early cel.PartialActivation
}

// blindField is a field that could not be read. Everything at or below path is unknown.
type blindField struct {
	name string
	path []string
}

func (s *schema) newInput(op *access.Operation) *input {
	in := &input{op: op, facts: Facts{Verb: op.Verb, Command: op.Command, Time: op.Time}}
	for _, u := range op.Uninspectable {
		in.facts.Uninspectable = append(in.facts.Uninspectable, u.Field)
		in.blindTo(u.Field, s.prefix(u.Field))
	}
	if detail := detailName(op.Target.Protocol); op.Detail() == nil && slices.ContainsFunc(variables(), func(v variable) bool { return v.name == detail }) {
		in.blindTo(detail, []string{detail})
	}
	in.late = op.Late()
	return in
}

// blindTo makes path unknown. A field of which the schema knows nothing at all makes everything unknown.
func (in *input) blindTo(name string, path []string) {
	if len(path) > 0 {
		in.blind = append(in.blind, blindField{name, path})
		return
	}
	for _, v := range variables() {
		in.blind = append(in.blind, blindField{name, []string{v.name}})
	}
}

// ResolveName implements cel.Activation.
func (in *input) ResolveName(name string) (any, bool) {
	switch name {
	case "principal":
		return &in.op.Principal, true
	case "target":
		return &in.op.Target, true
	case "session":
		return string(in.op.Session), true
	case "client":
		return &in.op.Client, true
	case "operation":
		return &in.facts, true
	case "kubernetes":
		k := in.kubernetes()
		return k, k != nil
	case "model":
		if in.op.ExactModel != nil {
			return in.op.ExactModel, true
		}
		return in.op.Model, in.op.Model != nil
	case "git":
		if in.op.ExactGit != nil {
			return in.op.ExactGit, true
		}
		return in.op.Git, in.op.Git != nil
	case "sql":
		return in.op.SQL, in.op.SQL != nil
	case "web":
		return in.op.Web, in.op.Web != nil
	}
	return nil, false
}

// Parent implements cel.Activation.
func (in *input) Parent() cel.Activation { return nil }

// activation is the operation for a condition that may look at the given late fields. Most operations have no
// unknowns, and cost nothing more.
func (in *input) activation(late []string) (cel.Activation, error) {
	early := slices.ContainsFunc(late, func(f string) bool { return slices.Contains(in.late, f) })
	var err error
	switch {
	case early:
		if in.early == nil {
			patterns := in.patterns()
			for _, f := range in.late {
				patterns = append(patterns, pattern(strings.Split(f, ".")))
			}
			in.early, err = cel.PartialVars(in, patterns...)
		}
		return in.early, err
	case len(in.blind) > 0:
		if in.blindly == nil {
			in.blindly, err = cel.PartialVars(in, in.patterns()...)
		}
		return in.blindly, err
	}
	return in, nil
}

func (in *input) patterns() []*cel.AttributePatternType {
	out := make([]*cel.AttributePatternType, 0, len(in.blind)+len(in.late))
	for _, b := range in.blind {
		out = append(out, pattern(b.path))
	}
	return out
}

func pattern(path []string) *cel.AttributePatternType {
	p := cel.AttributePattern(path[0])
	for _, name := range path[1:] {
		p = p.QualString(name)
	}
	return p
}

// unreadable names the unreadable fields that path overlaps with, as they were declared; nil where it can be read.
func (in *input) unreadable(path []string) []string {
	var out []string
	for _, b := range in.blind {
		if overlap(path, b.path) {
			out = appendNew(out, b.name)
		}
	}
	return out
}

// overlap reports whether one path is the other or lies within it.
func overlap(a, b []string) bool {
	n := min(len(a), len(b))
	return slices.Equal(a[:n], b[:n])
}

// verbUnreadable names what keeps the operation's verb from being known, if anything.
func (in *input) verbUnreadable() []string {
	if len(in.blind) == 0 {
		return nil
	}
	if in.op.Target.Protocol == protocolKubernetes {
		return in.unreadable([]string{"kubernetes", "verb"})
	}
	return in.unreadable([]string{"operation", "verb"})
}

// resourceUnreadable names what keeps the operation's resource from being known, if anything.
func (in *input) resourceUnreadable() []string {
	var out []string
	if len(in.blind) > 0 {
		for _, f := range []string{"group", "resource", "subresource"} {
			for _, u := range in.unreadable([]string{"kubernetes", f}) {
				out = appendNew(out, u)
			}
		}
	}
	return out
}

// verb is what a rule's verbs are compared with. It is asked only where it can be read.
func (in *input) verb() string {
	if in.op.Target.Protocol == protocolKubernetes {
		return in.kubernetes().Verb
	}
	return in.op.Verb
}

// kubernetes is the request as the API server will read it, where that is at hand.
func (in *input) kubernetes() *access.Kubernetes {
	if in.op.Exact != nil {
		return in.op.Exact
	}
	return in.op.Kubernetes
}
