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
	// guards is set for an approve rule that lets nothing through by itself: it makes wait what another rule lets through.
	guards bool
	risk   access.Risk
	reason string
	advice string
	asks   approvers
	masks  []string

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
		// How records, refusals and tests name the rule. Unique in the whole policy. Required.
		"id": func(n *yaml.Node) { out.id = r.string(n) },
		// Limits the rule to targets of this protocol, and gives it the protocol's variable.
		"protocol": func(n *yaml.Node) { out.protocol = r.string(n) },
		// Limits the rule to these verbs. Without it, any verb.
		"verbs": func(n *yaml.Node) { out.scope.verbs = r.strings(n); r.some(n, "verbs") },
		// Limits the rule to these resources: resource[.group][/subresource], with * for any one part, such as pods,
		// pods/exec, deployments.apps, *.rbac.authorization.k8s.io, */status. Without a group it is the core group, but a
		// bare * is any resource of any group. Without a subresource it is the object itself. Without the key, anything.
		"resources": func(n *yaml.Node) { out.scope.resources = r.resources(n); r.some(n, "resources") },
		// The condition, in CEL, over the variables below. Without it, the rule holds wherever verbs and resources do.
		"when": func(n *yaml.Node) { out.when, out.whenAt = r.string(n), text{r.file, r.src, n} },
		// allow, approve or deny. Without it, the rule only adds its risk and its masks.
		"effect": func(n *yaml.Node) { out.effect, out.decides = r.effect(n), true },
		// true (the default) or false. A rule that approves also lets through, once approved, what no other rule allows. With
		// false it does not: it only makes wait what another rule lets through. Only where the effect is approve.
		"grants": func(n *yaml.Node) { out.guards = !r.bool(n) },
		// low (the default), medium, high or critical. A decision has the highest risk of its rules.
		"risk": func(n *yaml.Node) { out.risk = r.risk(n) },
		// Why: for the agent and for the record. Required to approve or deny.
		"reason": func(n *yaml.Node) { out.reason = fold(r.string(n)) },
		// What the agent should do instead.
		"advice": func(n *yaml.Node) { out.advice = fold(r.string(n)) },
		// Who may approve, how many, and for how long. Only where the effect is approve.
		"approvers": func(n *yaml.Node) { out.asks = r.approvers(n) },
		// Names of masks to apply to the answer, besides those of masking. They also apply where it could not be read
		// whether the rule is met.
		"masks": func(n *yaml.Node) { out.masks = r.strings(n) },
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
	if out.guards && !(out.decides && out.effect == access.Approve) {
		r.fail(n, "rule %q has grants: false, but its effect is not approve", out.id)
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
		// An approver is in one of these groups, or one of users. Without both: anyone with the approver role.
		"groups": func(n *yaml.Node) { a.groups = r.strings(n); r.some(n, "groups") },
		// Names of approvers, besides groups.
		"users": func(n *yaml.Node) { a.users = r.strings(n); r.some(n, "users") },
		// How many distinct people must say yes. The default is 1.
		"count": func(n *yaml.Node) { a.count = r.positive(n) },
		// How long the question stays open. The default is 1h.
		"expires": func(n *yaml.Node) { a.expires = r.duration(n) },
		// How long an answer holds until it is used. The default is 15m.
		"valid": func(n *yaml.Node) { a.valid = r.duration(n) },
		// How long, at most, an approver may grant the same operation for. The default is 0s: once only.
		"maxGrant": func(n *yaml.Node) { a.maxGrant = r.duration(n) },
	})
	for key, d := range map[string]*time.Duration{"expires": a.expires, "valid": a.valid} {
		if d != nil && *d == 0 {
			r.fail(n, "approvers: %s of 0 could never be answered", key)
		}
	}
	return a
}
