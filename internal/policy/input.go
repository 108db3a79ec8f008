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
	// fetchable says that kubernetes.stored was not read yet, and could be.
	fetchable bool
	// partial and withoutStored are activations with unknowns, made when a condition needs one.
	partial, withoutStored cel.PartialActivation
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
	if op.Target.Protocol == protocolKubernetes {
		if op.Kubernetes == nil {
			in.blindTo("kubernetes", []string{"kubernetes"})
		} else {
			in.fetchable = in.storedFetchable()
		}
	}
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

// storedFetchable reports whether kubernetes.stored was not given, although the request names one object that may
// exist. Given and empty means that there is none.
func (in *input) storedFetchable() bool {
	k := in.op.Kubernetes
	if k.Stored != nil || k.Resource == "" || k.Name == "" || in.unreadable(fieldStored) != nil {
		return false
	}
	switch k.Verb {
	case "list", "watch", "deletecollection":
		return false
	case "create":
		return k.Subresource != ""
	}
	return true
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
		return in.op.Kubernetes, in.op.Kubernetes != nil
	}
	return nil, false
}

// Parent implements cel.Activation.
func (in *input) Parent() cel.Activation { return nil }

// activation is the operation for a condition, with its unknowns. Most operations have none, and cost nothing more.
func (in *input) activation(usesStored bool) (cel.Activation, error) {
	usesStored = usesStored && in.fetchable
	var err error
	switch {
	case usesStored && in.withoutStored == nil:
		in.withoutStored, err = cel.PartialVars(in, append(in.patterns(), pattern(strings.Split(fieldStored, ".")))...)
	case !usesStored && len(in.blind) > 0 && in.partial == nil:
		in.partial, err = cel.PartialVars(in, in.patterns()...)
	}
	switch {
	case err != nil:
		return nil, err
	case usesStored:
		return in.withoutStored, nil
	case len(in.blind) > 0:
		return in.partial, nil
	}
	return in, nil
}

func (in *input) patterns() []*cel.AttributePatternType {
	out := make([]*cel.AttributePatternType, 0, len(in.blind)+1)
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

// unreadable names the unreadable fields that field overlaps with, as they were declared; nil where it can be read.
func (in *input) unreadable(field string) []string {
	if len(in.blind) == 0 {
		return nil
	}
	var out []string
	path := strings.Split(field, ".")
	for _, b := range in.blind {
		n := min(len(path), len(b.path))
		if slices.Equal(path[:n], b.path[:n]) && !slices.Contains(out, b.name) {
			out = append(out, b.name)
		}
	}
	return out
}

func (in *input) verbField() string {
	if in.op.Target.Protocol == protocolKubernetes {
		return "kubernetes.verb"
	}
	return "operation.verb"
}

// verb is what a rule's verbs are compared with. It is asked only where it can be read.
func (in *input) verb() string {
	if in.op.Target.Protocol == protocolKubernetes {
		return in.op.Kubernetes.Verb
	}
	return in.op.Verb
}
