package policy

import (
	"regexp"
	"time"

	"github.com/google/cel-go/cel"
	"go.yaml.in/yaml/v3"

	"gatebook/internal/access"
)

// rule is one rule as written, and its compiled condition.
type rule struct {
	id       string
	protocol string
	scope    scope
	when     string
	// decides is false for a rule without an effect: it adds its risk and its masks only.
	decides bool
	effect  access.Effect
	risk    access.Risk
	reason  string
	advice  string
	asks    approvers
	masks   []string

	// at is where the rule stands; whenAt where its condition does.
	at     position
	whenAt text

	// program is nil where there is no condition: then it holds.
	program cel.Program
	ast     *cel.Ast
	// late are the late fields that the condition may look at.
	late []string
}

type position struct {
	file         string
	line, column int
}

// approvers is what a rule asks of an approval. What is nil or empty is no opinion, and leaves it to other rules.
type approvers struct {
	groups, users            []string
	count                    *int
	expires, valid, maxGrant *time.Duration
}

func (a approvers) isZero() bool {
	return len(a.groups) == 0 && len(a.users) == 0 && a.count == nil && a.expires == nil && a.valid == nil && a.maxGrant == nil
}

var validID = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)

func (r *reader) rule(n *yaml.Node) *rule {
	out := &rule{at: position{r.file, n.Line, n.Column}}
	r.mapping(n, "a rule", map[string]func(*yaml.Node){
		"id":        func(n *yaml.Node) { out.id = r.string(n) },
		"protocol":  func(n *yaml.Node) { out.protocol = r.string(n) },
		"verbs":     func(n *yaml.Node) { out.scope.verbs = r.strings(n); r.some(n, "verbs") },
		"resources": func(n *yaml.Node) { out.scope.resources = r.resources(n); r.some(n, "resources") },
		"when":      func(n *yaml.Node) { out.when, out.whenAt = r.string(n), text{r.file, r.src, n} },
		"effect":    func(n *yaml.Node) { out.effect, out.decides = r.effect(n), true },
		"risk":      func(n *yaml.Node) { out.risk = r.risk(n) },
		"reason":    func(n *yaml.Node) { out.reason = fold(r.string(n)) },
		"advice":    func(n *yaml.Node) { out.advice = fold(r.string(n)) },
		"approvers": func(n *yaml.Node) { out.asks = r.approvers(n) },
		"masks":     func(n *yaml.Node) { out.masks = r.strings(n) },
	})
	if n.Kind == yaml.MappingNode {
		r.checkRule(n, out)
	}
	return out
}

func (r *reader) checkRule(n *yaml.Node, out *rule) {
	switch {
	case out.id == "":
		r.fail(n, "a rule needs an id: it is how records, refusals and tests name it")
	case !validID.MatchString(out.id):
		r.fail(n, "rule id %q: use up to 64 lower-case letters, digits, dots, dashes and underscores, a letter or digit first and last", out.id)
	}
	if out.decides && out.effect != access.Allow && out.reason == "" {
		r.fail(n, "rule %q needs a reason: the agent that is refused or held reads it", out.id)
	}
	if !out.decides && out.risk == access.RiskLow && len(out.masks) == 0 {
		r.fail(n, "rule %q has no effect; give it one (allow, approve or deny), or a risk or masks to add", out.id)
	}
	if !out.asks.isZero() && !(out.decides && out.effect == access.Approve) {
		r.fail(n, "rule %q has approvers, but its effect is not approve", out.id)
	}
	if out.protocol == "" && !out.scope.isZero() {
		r.fail(n, "rule %q has verbs or resources; say of which protocol: add protocol: kubernetes", out.id)
	}
	if len(out.scope.resources) > 0 && out.protocol != protocolKubernetes && out.protocol != "" {
		r.fail(n, "rule %q has resources, which only protocol kubernetes knows", out.id)
	}
	if out.protocol == "" && out.scope.isZero() && out.when == "" && out.decides && out.effect == access.Allow {
		r.fail(n, "rule %q allows everything to everybody; if you mean it, write when: \"true\"", out.id)
	}
}

// some holds that a list says something: an empty one would match nothing, or, forgotten, everything.
func (r *reader) some(n *yaml.Node, key string) {
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		r.fail(n, "%s is empty; leave the key out to mean any", key)
	}
}

func (r *reader) effect(n *yaml.Node) access.Effect {
	var e access.Effect
	if err := e.UnmarshalText([]byte(r.string(n))); err != nil {
		r.fail(n, "%v", err)
	}
	return e
}

func (r *reader) risk(n *yaml.Node) access.Risk {
	var k access.Risk
	if err := k.UnmarshalText([]byte(r.string(n))); err != nil {
		r.fail(n, "%v", err)
	}
	return k
}

func (r *reader) approvers(n *yaml.Node) approvers {
	var a approvers
	r.mapping(n, "approvers", map[string]func(*yaml.Node){
		"groups":   func(n *yaml.Node) { a.groups = r.strings(n); r.some(n, "groups") },
		"users":    func(n *yaml.Node) { a.users = r.strings(n); r.some(n, "users") },
		"count":    func(n *yaml.Node) { a.count = r.positive(n) },
		"expires":  func(n *yaml.Node) { a.expires = r.duration(n) },
		"valid":    func(n *yaml.Node) { a.valid = r.duration(n) },
		"maxGrant": func(n *yaml.Node) { a.maxGrant = r.duration(n) },
	})
	for key, d := range map[string]*time.Duration{"expires": a.expires, "valid": a.valid} {
		if d != nil && *d == 0 {
			r.fail(n, "approvers: %s of 0 could never be answered", key)
		}
	}
	return a
}
