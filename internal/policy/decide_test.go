package policy

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
)

func load(t testing.TB, yaml string) *Set {
	t.Helper()
	s, err := Load(map[string][]byte{"p.yaml": []byte(yaml)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func operation(k access.Kubernetes) *access.Operation {
	return &access.Operation{
		Session:   "s1",
		Time:      time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC),
		Principal: access.Principal{Issuer: "k", Subject: "s", Name: "claude", Groups: []string{"agents"}, Workload: access.Workload{Namespace: "agents", ServiceAccount: "claude"}},
		Target:    access.Target{Name: "dev", Protocol: "kubernetes", Labels: map[string]string{"stage": "dev"}},
		Client:    access.Client{Address: "10.0.0.1:5", Reason: "because"},
		Verb:      k.Verb, Command: "kubectl something",
		Kubernetes: &k,
	}
}

// condition evaluates one expression as an allow and as a deny rule and gives allow, deny, or unsure.
func condition(t *testing.T, expr string, op *access.Operation) string {
	t.Helper()
	rule := func(effect string) access.Effect {
		d, _ := load(t, "rules:\n  - {id: base, effect: allow, when: 'true'}\n  - id: r\n    protocol: kubernetes\n    reason: r\n    effect: "+effect+"\n    when: |\n      "+expr+"\n").Decide(op)
		if effect == "deny" {
			return d.Effect
		}
		for _, h := range d.Rules {
			if h.ID == "r" {
				return access.Allow
			}
		}
		return access.Deny
	}
	denies, allows := rule("deny") == access.Deny, rule("allow") == access.Allow
	switch {
	case denies && allows:
		return "true"
	case !denies && !allows:
		return "false"
	case denies && !allows:
		return "unsure"
	}
	return "met where it allows and not where it denies"
}

func TestConditions(t *testing.T) {
	pod := map[string]any{"kind": "Pod", "metadata": map[string]any{"labels": map[string]any{"app": "x"}},
		"spec": map[string]any{"replicas": float64(3), "n": int64(4), "containers": []any{map[string]any{"name": "c", "image": "evil.io/x"}}}}
	plain := operation(access.Kubernetes{Verb: "create", Version: "v1", Resource: "pods", Namespace: "a", Object: pod,
		Exec: &access.Exec{Command: []string{"sh", "-c"}, TTY: true}, Ports: []int64{80}})
	blind := operation(access.Kubernetes{Verb: "create", Version: "v1", Resource: "pods", Namespace: "a"})
	blind.Uninspectable = []access.Uninspectable{{Field: "kubernetes.object", Why: "too large"}}
	part := operation(access.Kubernetes{Verb: "create", Resource: "pods", Object: pod})
	part.Uninspectable = []access.Uninspectable{{Field: "kubernetes.object.spec", Why: "?"}}
	foreign := operation(access.Kubernetes{Verb: "create", Resource: "pods"})
	foreign.Uninspectable = []access.Uninspectable{{Field: "body", Why: "?"}}
	late := operation(access.Kubernetes{Verb: "delete", Resource: "pods", Name: "p"})
	gone := operation(access.Kubernetes{Verb: "delete", Resource: "pods", Name: "p", Stored: map[string]any{}})

	for _, c := range []struct {
		expr string
		op   *access.Operation
		want string
	}{
		{`kubernetes.resource == "pods" && kubernetes.namespace != "b"`, plain, "true"},
		{`kubernetes.object.metadata.labels.app == "x"`, plain, "true"},
		{`kubernetes.object.spec.replicas > 2 && kubernetes.object.spec.n == 4`, plain, "true"},
		{`kubernetes.object.spec.containers.exists(c, c.image.startsWith("evil.io/"))`, plain, "true"},
		{`podSpecs(kubernetes.object).all(p, p.containers.all(c, c.image.startsWith("good.io/")))`, plain, "false"},
		{`kubernetes.exec.tty && kubernetes.exec.command[0] == "sh" && 80 in kubernetes.ports`, plain, "true"},
		{`"agents" in principal.groups && principal.workload.namespace == "agents"`, plain, "true"},
		{`target.labels["stage"] == "dev" && session == "s1" && client.reason != ""`, plain, "true"},
		{`operation.time.getHours() == 3 && operation.command.startsWith("kubectl ")`, plain, "true"},
		{`operation.uninspectable == []`, plain, "true"},
		{`operation.uninspectable == ["kubernetes.object"]`, blind, "true"},
		{`kubernetes.object.?spec.?missing.orValue("none") == "none"`, plain, "true"},
		{`sets.contains(["a", "b"], [kubernetes.namespace]) && "A".lowerAscii() == "a"`, plain, "true"},
		{`has(kubernetes.stored) || has(kubernetes.object.spec.missing)`, plain, "false"},
		{`dyn(kubernetes).verb == "create" && has(dyn(kubernetes).object)`, plain, "true"},
		{`kubernetes == kubernetes && principal.workload == principal.workload`, plain, "true"},

		// What fails is never taken for an answer.
		{`kubernetes.object.spec.missing == "x"`, plain, "unsure"},
		{`kubernetes.object.kind.nested == "x"`, plain, "unsure"},
		{`has(kubernetes.object.kind.nested)`, plain, "unsure"},
		{`kubernetes.exec.tty`, blind, "unsure"},
		{`kubernetes.exec == kubernetes.exec`, blind, "unsure"},
		{`kubernetes.object.spec.containers[7].name == "x"`, plain, "unsure"},
		{`dyn(kubernetes).nothing == "x"`, plain, "unsure"},
		{`podSecrets(kubernetes.object.kind) == []`, plain, "unsure"},
		{`kubernetes.object.spec.missing == "x" || kubernetes.verb == "create"`, plain, "true"},
		{`kubernetes.object.spec.missing == "x" && kubernetes.verb == "get"`, plain, "false"},

		// Unknown, at every depth and in every shape, is neither.
		{`kubernetes.object.kind == "Pod"`, blind, "unsure"},
		{`kubernetes.object.kind != "Pod"`, blind, "unsure"},
		{`has(kubernetes.object)`, blind, "unsure"},
		{`!has(kubernetes.object.spec)`, blind, "unsure"},
		{`size(kubernetes.object) == 0`, blind, "unsure"},
		{`"spec" in kubernetes.object`, blind, "unsure"},
		{`kubernetes.object == {}`, blind, "unsure"},
		{`podPrivileges(kubernetes.object) == []`, blind, "unsure"},
		{`kubernetes.object.?spec.hasValue()`, blind, "unsure"},
		{`[kubernetes].exists(k, has(k.object))`, blind, "unsure"},
		{`dyn(kubernetes).object == {}`, blind, "unsure"},
		{`kubernetes == kubernetes`, blind, "unsure"},
		{`(kubernetes.verb == "create" ? kubernetes : kubernetes).object == {}`, blind, "unsure"},
		{`cel.bind(o, kubernetes.object, has(o.spec))`, blind, "unsure"},
		{`kubernetes.object.exists(k, k == "spec")`, blind, "unsure"},
		{`kubernetes.verb == "create" || kubernetes.object.kind == "Pod"`, blind, "true"},
		{`kubernetes.verb == "get" && kubernetes.object.kind == "Pod"`, blind, "false"},
		{`kubernetes.object.kind == "Pod"`, part, "true"},
		{`has(kubernetes.object.spec.replicas)`, part, "unsure"},
		{`kubernetes.object["sp" + "ec"].replicas == 3`, part, "unsure"},
		{`podSecrets(kubernetes.object) == []`, part, "unsure"},
		{`kubernetes.verb == "create"`, foreign, "unsure"},
		{`has(kubernetes.stored)`, late, "unsure"},
		{`kubernetes.stored.metadata.labels.app == "x"`, late, "unsure"},
		{`kubernetes == kubernetes`, late, "unsure"},
		{`[kubernetes].exists(k, has(k.stored))`, late, "unsure"},
		{`dyn(kubernetes).stored == {}`, late, "unsure"},
		{`has(kubernetes.object) || kubernetes.?stored.hasValue()`, late, "unsure"},
		{`kubernetes.name == "p"`, late, "true"},
		{`has(kubernetes.stored)`, gone, "false"},
	} {
		if got := condition(t, c.expr, c.op); got != c.want {
			t.Errorf("%s is %s, want %s (uninspectable %v)", c.expr, got, c.want, c.op.Uninspectable)
		}
	}
}

// A condition that would run for long fails, and so counts where it denies; the same operation is always decided the same.
func TestCostIsBounded(t *testing.T) {
	list := make([]any, 3000)
	for i := range list {
		list[i] = int64(i)
	}
	op := operation(access.Kubernetes{Verb: "create", Resource: "pods", Object: map[string]any{"l": list}})
	const slow = `kubernetes.object.l.exists(a, kubernetes.object.l.exists(b, kubernetes.object.l.exists(c, a + b + c < 0)))`
	if got := condition(t, slow, op); got != "unsure" {
		t.Errorf("got %s", got)
	}
	s := load(t, "rules:\n  - {id: r, protocol: kubernetes, effect: deny, reason: no, when: '"+slow+"'}\n")
	d, _ := s.Decide(op)
	if !strings.Contains(d.Rules[0].Error, "cost limit") || strings.Contains(d.Reason, "cost") {
		t.Errorf("error %q, reason %q", d.Rules[0].Error, d.Reason)
	}
}

func TestDecision(t *testing.T) {
	const policy = `
masks: [{name: m, paths: [data.x]}, {name: n, paths: [data.y]}]
rules:
  - {id: low, protocol: kubernetes, effect: approve, reason: low reason, advice: low advice, approvers: {count: 2, maxGrant: 2h}}
  - {id: high, protocol: kubernetes, effect: approve, risk: high, reason: high reason, advice: high advice, when: 'kubernetes.name == "p"', approvers: {groups: [a, b], expires: 10m}, masks: [n]}
  - {id: high2, protocol: kubernetes, effect: approve, risk: high, reason: other reason, when: 'kubernetes.name == "p"', approvers: {groups: [b, c], count: 3, valid: 1m, maxGrant: 1h, expires: 20m}}
  - {id: only-c, protocol: kubernetes, effect: approve, reason: c, when: 'kubernetes.namespace == "c"', approvers: {users: [c]}}
  - {id: yes, protocol: kubernetes, effect: allow, risk: medium, masks: [m]}
  - {id: extra, protocol: kubernetes, risk: critical, masks: [m], when: 'kubernetes.namespace == "x"'}
  - {id: no, protocol: kubernetes, effect: deny, reason: never, when: 'kubernetes.namespace == "no"'}
`
	s := load(t, policy)
	builtin := []access.Mask{{Name: "credentials", Detectors: []string{"credentials"}}, {Name: "known"}, {Name: "m", Paths: []string{"data.x"}}, {Name: "secrets"}}
	withN := []access.Mask{builtin[0], builtin[1], builtin[2], {Name: "n", Paths: []string{"data.y"}}, builtin[3]}
	hit := func(id string, e access.Effect, reason, advice string) access.RuleHit {
		return access.RuleHit{ID: id, Effect: e, Reason: reason, Advice: advice}
	}
	high, high2 := hit("high", access.Approve, "high reason", "high advice"), hit("high2", access.Approve, "other reason", "")
	low, yes := hit("low", access.Approve, "low reason", "low advice"), hit("yes", access.Allow, "rule yes allows it", "")
	for name, c := range map[string]struct {
		k    access.Kubernetes
		want access.Decision
	}{
		"terms": {access.Kubernetes{Verb: "create", Namespace: "a"}, access.Decision{
			Effect: access.Approve, Risk: access.RiskMedium, Reason: "low reason", Advice: "low advice", Masks: builtin, Rules: []access.RuleHit{low, yes},
			Approval: &access.ApprovalTerms{Count: 2, Expires: time.Hour, Valid: 15 * time.Minute, MaxGrant: 2 * time.Hour}}},
		"strictest": {access.Kubernetes{Verb: "create", Namespace: "a", Name: "p"}, access.Decision{
			Effect: access.Approve, Risk: access.RiskHigh, Reason: "high reason; other reason", Advice: "high advice", Masks: withN, Rules: []access.RuleHit{high, high2, low, yes},
			Approval: &access.ApprovalTerms{Groups: []string{"b"}, Count: 3, Expires: 10 * time.Minute, Valid: time.Minute, MaxGrant: time.Hour}}},
		"nobody could approve": {access.Kubernetes{Verb: "create", Namespace: "c", Name: "p"}, access.Decision{
			Effect: access.Deny, Risk: access.RiskHigh, Masks: withN,
			Reason: "rules high, high2, only-c ask for approvers, and no group or user is named by all of them, so nobody can approve it",
			Advice: "Tell whoever keeps the gateway's policy: these rules need an approver in common.",
			Rules:  []access.RuleHit{high, high2, low, hit("only-c", access.Approve, "c", ""), yes}}},
		"deny": {access.Kubernetes{Verb: "create", Namespace: "no"}, access.Decision{
			Effect: access.Deny, Risk: access.RiskMedium, Reason: "never", Masks: builtin, Rules: []access.RuleHit{hit("no", access.Deny, "never", ""), low, yes}}},
		"a rule without effect": {access.Kubernetes{Verb: "create", Namespace: "x"}, access.Decision{
			Effect: access.Approve, Risk: access.RiskCritical, Reason: "low reason", Advice: "low advice", Masks: builtin, Rules: []access.RuleHit{low, yes},
			Approval: &access.ApprovalTerms{Count: 2, Expires: time.Hour, Valid: 15 * time.Minute, MaxGrant: 2 * time.Hour}}},
	} {
		c.want.Policy = s.Digest()
		got, _ := s.Decide(operation(c.k))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
		observed := load(t, "mode: observe\n"+policy)
		got, _ = observed.Decide(operation(c.k))
		if got.Effect != access.Allow || got.Observed == nil || *got.Observed != c.want.Effect || got.Approval != nil || !cmp.Equal(got.Masks, c.want.Masks) || got.Reason != c.want.Reason {
			t.Errorf("%s: observed: %+v", name, got)
		}
	}
}

// One decision's masks are not changed by the next.
func TestMasksAreNotShared(t *testing.T) {
	s := load(t, `
masking: [secrets, known, z]
masks: [{name: z, paths: [z]}, {name: a, paths: [a]}, {name: b, paths: [b]}]
rules:
  - {id: a, protocol: kubernetes, effect: allow, masks: [a], verbs: [get]}
  - {id: b, protocol: kubernetes, effect: allow, masks: [b, a], verbs: [list]}
`)
	names := func(d access.Decision) (out string) {
		for _, m := range d.Masks {
			out += m.Name + " "
		}
		return out
	}
	plain, _ := s.Decide(operation(access.Kubernetes{Verb: "watch"}))
	get, _ := s.Decide(operation(access.Kubernetes{Verb: "get"}))
	list, _ := s.Decide(operation(access.Kubernetes{Verb: "list"}))
	if names(plain) != "known secrets z " || names(get) != "a known secrets z " || names(list) != "a b known secrets z " {
		t.Errorf("%s; %s; %s", names(plain), names(get), names(list))
	}
}

// A policy that lets everything through unmasked can be said, in so many words.
func TestAllowAllMaskNothing(t *testing.T) {
	d, needs := load(t, "masking: []\nrules: [{id: all, effect: allow, when: 'true'}]\n").Decide(operation(access.Kubernetes{Verb: "delete", Resource: "pods", Name: "p"}))
	if d.Effect != access.Allow || len(d.Masks) != 0 || needs != nil {
		t.Errorf("%+v %v", d, needs)
	}
}

func TestUnknownIsSaid(t *testing.T) {
	op := operation(access.Kubernetes{Verb: "create", Resource: "pods"})
	op.Uninspectable = []access.Uninspectable{{Field: "kubernetes.object", Why: "secret path in an error"}}
	s := load(t, `
rules:
  - {id: y, protocol: kubernetes, effect: allow, risk: high, masks: [secrets], when: 'kubernetes.object.kind == "Pod"'}
  - {id: a, protocol: kubernetes, effect: approve, reason: pods are asked for, when: 'kubernetes.object.kind == "Pod"'}
`)
	d, _ := s.Decide(op)
	if d.Effect != access.Approve || d.Risk != access.RiskHigh || !cmp.Equal(d.Rules[0].Unknown, []string{"kubernetes.object"}) || len(d.Rules) != 1 {
		t.Errorf("%+v", d)
	}
	if want := "pods are asked for (kubernetes.object could not be read, so the rule counts as met)"; d.Reason != want {
		t.Errorf("reason %q", d.Reason)
	}
	d, _ = load(t, "rules: [{id: y, protocol: kubernetes, effect: allow, when: 'kubernetes.object.kind == \"Pod\"'}]").Decide(op)
	if want := "no rule allows this: one might, but kubernetes.object could not be read"; d.Effect != access.Deny || d.Reason != want {
		t.Errorf("%+v", d)
	}
}

// A late field is asked for exactly when it can still change the answer.
func TestNeeds(t *testing.T) {
	const dependent = ` when: 'has(kubernetes.stored.metadata)'`
	for name, c := range map[string]struct {
		rules string
		want  []string
	}{
		"a deny depends on it":             {"{id: a, protocol: kubernetes, effect: allow}, {id: d, protocol: kubernetes, effect: deny, reason: r," + dependent + "}", []string{"kubernetes.stored"}},
		"an allow depends on it":           {"{id: d, protocol: kubernetes, effect: allow," + dependent + "}", []string{"kubernetes.stored"}},
		"masks depend on it":               {"{id: a, protocol: kubernetes, effect: allow}, {id: d, protocol: kubernetes, masks: [known]," + dependent + "}", []string{"kubernetes.stored"}},
		"denied anyway":                    {"{id: n, protocol: kubernetes, effect: deny, reason: r}, {id: d, protocol: kubernetes, effect: approve, reason: r," + dependent + "}", nil},
		"allowed anyway":                   {"{id: a, protocol: kubernetes, effect: allow}, {id: d, protocol: kubernetes, effect: allow," + dependent + "}", nil},
		"another part of the rule says no": {"{id: d, protocol: kubernetes, effect: deny, reason: r, verbs: [get]," + dependent + "}", nil},
		"nothing depends on it":            {"{id: a, protocol: kubernetes, effect: allow, when: 'kubernetes.name == \"p\"'}", nil},
	} {
		s := load(t, "rules: ["+c.rules+"]")
		if _, got := s.Decide(operation(access.Kubernetes{Verb: "delete", Resource: "pods", Name: "p"})); !cmp.Equal(got, c.want) {
			t.Errorf("%s: needs %v, want %v", name, got, c.want)
		}
		op := operation(access.Kubernetes{Verb: "delete", Resource: "pods", Name: "p"})
		op.Fetched = []string{"kubernetes.stored"}
		op.Uninspectable = []access.Uninspectable{{Field: "kubernetes.stored", Why: "403"}}
		if _, got := s.Decide(op); got != nil {
			t.Errorf("%s: needs %v although it cannot be had", name, got)
		}
	}
}

func TestResourcePatterns(t *testing.T) {
	for pattern, c := range map[string]struct{ yes, no []access.Kubernetes }{
		"pods":             {[]access.Kubernetes{{Resource: "pods"}}, []access.Kubernetes{{Resource: "pods", Subresource: "exec"}, {Resource: "pods", Group: "x"}, {Path: "/pods"}}},
		"pods/exec":        {[]access.Kubernetes{{Resource: "pods", Subresource: "exec"}}, []access.Kubernetes{{Resource: "pods"}, {Resource: "pods", Subresource: "log"}}},
		"pods/*":           {[]access.Kubernetes{{Resource: "pods", Subresource: "exec"}}, []access.Kubernetes{{Resource: "pods"}}},
		"*":                {[]access.Kubernetes{{Resource: "pods"}, {Resource: "x", Group: "y"}}, []access.Kubernetes{{Resource: "pods", Subresource: "exec"}, {Path: "/version"}}},
		"*/*":              {[]access.Kubernetes{{Resource: "x", Group: "y", Subresource: "z"}}, []access.Kubernetes{{Resource: "pods"}}},
		"*.apps":           {[]access.Kubernetes{{Resource: "x", Group: "apps"}}, []access.Kubernetes{{Resource: "x"}, {Resource: "x", Group: "apps", Subresource: "scale"}}},
		"pods.*":           {[]access.Kubernetes{{Resource: "pods", Group: "metrics.k8s.io"}, {Resource: "pods"}}, []access.Kubernetes{{Resource: "nodes"}}},
		"x.a.b/status":     {[]access.Kubernetes{{Resource: "x", Group: "a.b", Subresource: "status"}}, []access.Kubernetes{{Resource: "x", Group: "a", Subresource: "status"}}},
		"pods.*/ephemeral": {nil, []access.Kubernetes{{Resource: "pods"}}},
	} {
		s := load(t, "rules: [{id: a, protocol: kubernetes, effect: allow, resources: ['"+pattern+"']}]")
		for _, k := range c.yes {
			if d, _ := s.Decide(operation(k)); d.Effect != access.Allow {
				t.Errorf("%s does not match %+v", pattern, k)
			}
		}
		for _, k := range c.no {
			if d, _ := s.Decide(operation(k)); d.Effect != access.Deny {
				t.Errorf("%s matches %+v", pattern, k)
			}
		}
	}
}

func TestZeroRefuses(t *testing.T) {
	s := defaultSet(t)
	for name, op := range map[string]*access.Operation{"nil": nil, "zero": {}, "no facts": {Target: access.Target{Protocol: "kubernetes"}}} {
		if d, _ := s.Decide(op); d.Effect != access.Deny || d.Policy != s.Digest() {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	s := defaultSet(t)
	op := operation(access.Kubernetes{Verb: "create", Resource: "pods", Namespace: "a", Object: map[string]any{"spec": map[string]any{"hostNetwork": true}}})
	want, _ := s.Decide(op)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if got, _ := s.Decide(op); !cmp.Equal(want, got) {
					t.Error("decided otherwise")
					return
				}
			}
		})
	}
	wg.Wait()
}

// A word that is hidden from the record decides as it stands.
func TestNothingIsHiddenFromPolicy(t *testing.T) {
	s := load(t, `rules:
  - {id: all, effect: allow, when: 'true'}
  - {id: host, protocol: kubernetes, effect: deny, reason: r, when: 'has(kubernetes.object.spec.hostNetwork)'}
`)
	op := operation(access.Kubernetes{Verb: "create", Resource: "pods", Object: map[string]any{"spec": map[string]any{"gbm-x": true}}})
	exact := *op.Kubernetes
	exact.Object = map[string]any{"spec": map[string]any{"hostNetwork": true}}
	op.Exact = &exact
	if d, _ := s.Decide(op); d.Effect != access.Deny {
		t.Errorf("decided %v", d)
	}
}

// A rule with grants: false makes wait what another rule lets through, and opens nothing.
func TestGuardGrantsNothing(t *testing.T) {
	const guard = "rules:\n  - {id: g, protocol: kubernetes, effect: approve, grants: false, reason: r}\n"
	op := operation(access.Kubernetes{Verb: "create", Resource: "things"})
	for _, c := range []struct {
		name, more string
		want       access.Effect
	}{
		{"alone", "", access.Deny},
		{"beside an allow", "  - {id: a, protocol: kubernetes, effect: allow}\n", access.Approve},
		{"beside an approve", "  - {id: a, protocol: kubernetes, effect: approve, reason: r}\n", access.Approve},
		{"beside a deny", "  - {id: a, protocol: kubernetes, effect: deny, reason: r}\n", access.Deny},
		{"beside an allow of something else", "  - {id: a, protocol: kubernetes, effect: allow, verbs: [get]}\n", access.Deny},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d, _ := load(t, guard+c.more).Decide(op); d.Effect != c.want {
				t.Errorf("%s, want %s: %s", d.Effect, c.want, d.Reason)
			}
		})
	}
	for _, effect := range []string{"allow", "deny"} {
		if _, err := Load(map[string][]byte{"p.yaml": []byte("rules:\n  - {id: g, protocol: kubernetes, effect: " + effect + ", grants: false, reason: r}\n")}); err == nil {
			t.Errorf("grants: false with effect %s is accepted", effect)
		}
	}
}
