package policy

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"gatebook/internal/access"
)

// compilerOnce spares the properties making the same environments thousands of times.
var compilerOnce = sync.OnceValues(newCompiler)

// ruleText is one rule of a policy made up for a property, in YAML's flow style.
type ruleText struct{ id, effect, text string }

// conditions read different fields in different ways; some fail on some operations.
var conditions = []string{
	`true`, `false`,
	`kubernetes.namespace == "a"`, `kubernetes.name != "p"`, `has(kubernetes.exec)`, `kubernetes.exec.tty`,
	`has(kubernetes.object.spec)`, `kubernetes.object.spec.x == 1`, `!has(kubernetes.object.spec.x)`,
	`kubernetes.object.exists(k, k == "spec")`, `podPrivileges(kubernetes.object) != []`, `size(kubernetes.object) == 0`,
	`has(kubernetes.stored.spec)`, `kubernetes.stored == kubernetes.object`,
	`kubernetes.verb == "get" || kubernetes.object.spec.x == 1`, `kubernetes.verb == "get" && kubernetes.stored.spec.x == 1`,
	`"g" in principal.groups`, `principal.workload.pod == ""`, `operation.uninspectable.exists(f, f == "kubernetes.exec")`,
}

func drawRule(t *rapid.T, id, effect string) ruleText {
	text := "{id: " + id + ", protocol: kubernetes, reason: r, effect: " + effect
	if effect == "" {
		text = "{id: " + id + ", protocol: kubernetes, risk: high"
	} else {
		text += ", risk: " + rapid.SampledFrom([]string{"low", "medium", "high", "critical"}).Draw(t, "risk")
	}
	if v := rapid.SampledFrom([]string{"", "[get]", "[get, create]", "[update, delete]"}).Draw(t, "verbs"); v != "" {
		text += ", verbs: " + v
	}
	if r := rapid.SampledFrom([]string{"", "[pods]", "['*', pods/exec]", "['*.apps']"}).Draw(t, "resources"); r != "" {
		text += ", resources: " + r
	}
	if m := rapid.SampledFrom([]string{"", "[known]", "[secrets, m]"}).Draw(t, "masks"); m != "" {
		text += ", masks: " + m
	}
	if effect == "approve" {
		text += rapid.SampledFrom([]string{"", ", approvers: {groups: [x, y]}", ", approvers: {groups: [y], count: 2}", ", approvers: {users: [u], expires: 5m}"}).Draw(t, "approvers")
	}
	text += ", when: '" + rapid.SampledFrom(conditions).Draw(t, "when") + "'}"
	return ruleText{id, effect, text}
}

func drawRules(t *rapid.T) []ruleText {
	var out []ruleText
	for i := range rapid.IntRange(1, 6).Draw(t, "rules") {
		out = append(out, drawRule(t, fmt.Sprintf("r%d", i), rapid.SampledFrom([]string{"allow", "allow", "approve", "deny", ""}).Draw(t, "effect")))
	}
	return out
}

func setOf(t *rapid.T, rules []ruleText) *Set {
	c, err := compilerOnce()
	if err != nil {
		t.Fatal(err)
	}
	text := "masking: []\nmasks: [{name: m, paths: [a]}]\nrules:\n"
	for _, r := range rules {
		text += "  - " + r.text + "\n"
	}
	s, err := c.load(map[string][]byte{"p.yaml": []byte(text)})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return s
}

func drawObject(t *rapid.T, label string) map[string]any {
	return rapid.SampledFrom([]map[string]any{
		nil, {}, {"kind": "Pod"}, {"spec": map[string]any{}}, {"spec": map[string]any{"x": int64(1)}},
		{"spec": map[string]any{"x": int64(2), "hostNetwork": true}}, {"spec": "text"},
	}).Draw(t, label)
}

func drawOperation(t *rapid.T) *access.Operation {
	k := &access.Kubernetes{
		Verb:      rapid.SampledFrom([]string{"get", "create", "update", "delete", "proxy"}).Draw(t, "verb"),
		Resource:  rapid.SampledFrom([]string{"pods", "deployments", ""}).Draw(t, "resource"),
		Group:     rapid.SampledFrom([]string{"", "apps"}).Draw(t, "group"),
		Namespace: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "namespace"),
		Name:      rapid.SampledFrom([]string{"", "p"}).Draw(t, "name"),
		Object:    drawObject(t, "object"), Stored: drawObject(t, "stored"),
	}
	if rapid.Bool().Draw(t, "exec") {
		k.Subresource, k.Exec = "exec", &access.Exec{TTY: rapid.Bool().Draw(t, "tty")}
	}
	return &access.Operation{Principal: access.Principal{Groups: rapid.SampledFrom([][]string{nil, {"g"}}).Draw(t, "groups")},
		Target: access.Target{Protocol: "kubernetes"}, Verb: k.Verb, Kubernetes: k, Fetched: []string{"kubernetes.object", "kubernetes.stored"}}
}

func TestPropertyOrderMeansNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules, op := drawRules(t), drawOperation(t)
		a, b := setOf(t, rules), setOf(t, rapid.Permutation(rules).Draw(t, "order"))
		da, na := a.Decide(op)
		db, nb := b.Decide(op)
		if diff := cmp.Diff(da, db) + cmp.Diff(na, nb); diff != "" {
			t.Error(diff)
		}
	})
}

// Precedence against an obvious model: look at the rules that count one by one.
func TestPropertyPrecedence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules, op := drawRules(t), drawOperation(t)
		d, _ := setOf(t, rules).Decide(op)
		want, risk := "", access.RiskLow
		masks := map[string]bool{}
		for _, r := range rules {
			alone := setOf(t, []ruleText{r})
			e, _ := alone.Decide(op)
			risk = max(risk, e.Risk)
			for _, m := range e.Masks {
				masks[m.Name] = true
			}
			if len(e.Rules) == 0 {
				continue
			}
			if want == "" || r.effect == "deny" || r.effect == "approve" && want == "allow" {
				want = r.effect
			}
		}
		if want == "" {
			want = "deny"
		}
		nobody := want == "approve" && d.Effect == access.Deny && strings.Contains(d.Reason, "nobody can approve")
		if d.Effect.String() != want && !nobody {
			t.Errorf("effect %s, want %s", d.Effect, want)
		}
		if d.Risk != risk || len(d.Masks) != len(masks) {
			t.Errorf("risk %s, want %s; masks %v, want %v", d.Risk, risk, d.Masks, masks)
		}
		if (d.Approval != nil) != (d.Effect == access.Approve) || d.Reason == "" {
			t.Errorf("%+v", d)
		}
	})
}

// stricter fails unless b allows no more than a, masks no less and ranks no lower.
func stricter(t *rapid.T, a, b access.Decision) {
	if b.Effect > a.Effect || b.Risk < a.Risk {
		t.Errorf("%s at %s became %s at %s", a.Effect, a.Risk, b.Effect, b.Risk)
	}
	have := map[string]bool{}
	for _, m := range b.Masks {
		have[m.Name] = true
	}
	for _, m := range a.Masks {
		if !have[m.Name] {
			t.Errorf("mask %s is gone", m.Name)
		}
	}
	if a.Approval != nil && b.Approval != nil {
		x, y := a.Approval, b.Approval
		if y.Count < x.Count || y.Expires > x.Expires || y.Valid > x.Valid {
			t.Errorf("approval %+v became easier: %+v", *x, *y)
		}
		if len(x.Groups)+len(x.Users) > 0 && len(y.Groups)+len(y.Users) == 0 {
			t.Errorf("approvers %+v became anybody", *x)
		}
	}
}

func TestPropertyAnotherRefusalIsStricter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules, op := drawRules(t), drawOperation(t)
		a, _ := setOf(t, rules).Decide(op)
		more := drawRule(t, "more", rapid.SampledFrom([]string{"deny", "approve", ""}).Draw(t, "more"))
		b, _ := setOf(t, append(rules, more)).Decide(op)
		if a.Effect == access.Deny && len(a.Rules) == 0 && more.effect == "approve" {
			return // nothing was said before; asking a person is the first thing that is
		}
		stricter(t, a, b)
	})
}

// What cannot be read is never better for the agent than anything that it could be.
func TestPropertyUnknownIsStricter(t *testing.T) {
	fields := []string{"kubernetes.object", "kubernetes.object.spec", "kubernetes.object.spec.x", "kubernetes.stored", "kubernetes.exec", "kubernetes.exec.tty",
		"kubernetes.verb", "kubernetes.resource", "kubernetes.group", "kubernetes.subresource", "kubernetes.namespace", "kubernetes", "principal.groups", "principal", "nonsense"}
	rapid.Check(t, func(t *rapid.T) {
		var rules []ruleText
		for _, r := range drawRules(t) {
			// operation.uninspectable tells a rule what is unknown: such a rule may well change its mind.
			if !strings.Contains(r.text, "operation.uninspectable") {
				rules = append(rules, r)
			}
		}
		if len(rules) == 0 {
			return
		}
		s, op := setOf(t, rules), drawOperation(t)
		a, _ := s.Decide(op)
		blind := *op
		for _, f := range rapid.SliceOfNDistinct(rapid.SampledFrom(fields), 1, 3, rapid.ID).Draw(t, "unreadable") {
			blind.Uninspectable = append(blind.Uninspectable, access.Uninspectable{Field: f, Why: "?"})
		}
		b, _ := s.Decide(&blind)
		if a.Effect == access.Deny && len(a.Rules) == 0 && b.Effect == access.Approve {
			return // a rule that asks counts now: a person looks at it, knowing what cannot be read
		}
		stricter(t, a, b)
	})
}

// A decision made before a late field was read is never better for the agent than the one after, whatever is read;
// and where the field was not asked for, it changes nothing.
func TestPropertyLateFieldsOnlyHelp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, op := setOf(t, drawRules(t)), drawOperation(t)
		op.Kubernetes.Name, op.Kubernetes.Resource, op.Kubernetes.Verb = "p", "pods", "update"
		early := *op
		k := *op.Kubernetes
		k.Stored = nil
		early.Kubernetes, early.Fetched = &k, nil
		before, needs := s.Decide(&early)
		if op.Kubernetes.Stored == nil {
			op.Kubernetes.Stored = map[string]any{}
		}
		after, _ := s.Decide(op)
		if len(needs) == 0 && before.Effect != after.Effect {
			t.Errorf("%s became %s by a field that was not asked for", before.Effect, after.Effect)
		}
		if after.Effect == access.Deny && len(after.Rules) == 0 && before.Effect == access.Approve {
			return
		}
		stricter(t, after, before)
	})
}
