package policy

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"gatebook/internal/access"
)

// scope is a rule's verbs and resources: the cheap part of its condition, by which rules are also indexed.
type scope struct {
	verbs     []string
	resources []resourcePattern
}

func (s scope) isZero() bool { return len(s.verbs) == 0 && len(s.resources) == 0 }

// resourcePattern is resource[.group][/subresource], in which "*" stands for any one part:
// pods, pods/exec, deployments.apps, *.rbac.authorization.k8s.io, */status. Without a group it is the core
// group, except that a bare * means any group. Without a subresource it is the object itself, never a subresource.
type resourcePattern struct {
	text, resource, group, subresource string
}

var validResource = regexp.MustCompile(`^(\*|[a-z0-9-]+)(\.(\*|[a-z0-9.-]+))?(/(\*|[a-z0-9-]+))?$`)

func (r *reader) resources(n *yaml.Node) []resourcePattern {
	var out []resourcePattern
	r.sequence(n, func(n *yaml.Node) {
		s := r.string(n)
		if !validResource.MatchString(s) {
			r.fail(n, "resource %q: write resource[.group][/subresource] in lower case, with * for any one part, such as pods/exec or *.apps", s)
			return
		}
		p := resourcePattern{text: s}
		s, p.subresource, _ = strings.Cut(s, "/")
		p.resource, p.group, _ = strings.Cut(s, ".")
		if p.resource == "*" && p.group == "" {
			p.group = "*"
		}
		out = append(out, p)
	})
	return out
}

func (p resourcePattern) matches(k *access.Kubernetes) bool {
	return k.Resource != "" &&
		(p.resource == "*" || p.resource == k.Resource) &&
		(p.group == "*" || p.group == k.Group) &&
		(p.subresource == k.Subresource || p.subresource == "*" && k.Subresource != "")
}

// outcome is what became of a rule or of a part of it.
type outcome uint8

const (
	notMet outcome = iota
	met
	unknown // it depends on a field that could not be read
	failed  // its condition could not be evaluated
)

// covers reports whether the operation is one of the rule's verbs and resources. It is unknown, with the fields,
// where those could not be read.
func (s scope) covers(in *input) (outcome, []string) {
	var fields []string
	if len(s.verbs) > 0 {
		if u := in.verbUnreadable(); u != nil {
			fields = append(fields, u...)
		} else if !slices.Contains(s.verbs, in.verb()) {
			return notMet, nil
		}
	}
	if len(s.resources) > 0 {
		if u := in.resourceUnreadable(); u != nil {
			for _, f := range u {
				fields = appendNew(fields, f)
			}
		} else if !slices.ContainsFunc(s.resources, func(p resourcePattern) bool { return p.matches(in.kubernetes()) }) {
			return notMet, nil
		}
	}
	if fields != nil {
		return unknown, fields
	}
	return met, nil
}
