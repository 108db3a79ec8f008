package policy

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
)

func TestExplain(t *testing.T) {
	s := load(t, `rules:
  - id: read
    protocol: kubernetes
    effect: allow
    verbs: [get, list]
  - id: prod
    protocol: kubernetes
    effect: deny
    reason: hands off
    when: |
      kubernetes.namespace.startsWith("prod-") &&
        !("sre" in principal.groups) &&
        (has(kubernetes.exec) ||
          kubernetes.object.spec.replicas > 3)
`)
	op := operation(access.Kubernetes{Verb: "update", Resource: "pods", Subresource: "x", Namespace: "prod-a"})
	op.Uninspectable = []access.Uninspectable{{Field: "kubernetes.object", Why: "?"}}
	got := s.Explain(op)
	want := []RuleExplanation{
		{ID: "prod", File: "p.yaml", Line: 6, Effect: "deny", Outcome: "unknown", Counts: true, Why: "could not be read: kubernetes.object", Facts: []Fact{
			{Line: 11, Part: `kubernetes.namespace.startsWith("prod-")`, Value: "true"},
			{Line: 11, Part: `kubernetes.namespace`, Value: `"prod-a"`},
			{Line: 12, Part: `"sre" in principal.groups`, Value: "false"},
			{Line: 12, Part: `principal.groups`, Value: `["agents"]`},
			{Line: 13, Part: `has(kubernetes.exec)`, Value: "false"},
			{Line: 14, Part: `kubernetes.object.spec.replicas > 3`, Value: "unknown"},
			{Line: 14, Part: `kubernetes.object.spec.replicas`, Value: "unknown"},
		}},
		{ID: "read", File: "p.yaml", Line: 2, Effect: "allow", Outcome: "not met", Why: `verb "update" is none of get, list`},
	}
	if diff := cmp.Diff(want, got.Rules); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	decided, needs := s.Decide(op)
	if diff := cmp.Diff(decided, got.Decision) + cmp.Diff(needs, got.Needs); diff != "" {
		t.Error(diff)
	}
}

// A part of a condition that reads a masked value says so, and the decision of then is beside that of now.
func TestExplainRecorded(t *testing.T) {
	s := load(t, `rules:
  - id: value
    protocol: kubernetes
    effect: deny
    reason: since
    when: kubernetes.object.data.a == "YQ==" || kubernetes.object.stringData.b == "b" || kubernetes.object.metadata.name == "n"
`)
	object := map[string]any{"data": map[string]any{"a": base64.StdEncoding.EncodeToString([]byte("gbm-abcdefghijklmnopqrstuvwxyz"))},
		"stringData": map[string]any{"b": "gbm-abcdefghijklmnopqrstuvwxyz"}, "metadata": map[string]any{"name": "m"}}
	then := access.Decision{Effect: access.Allow, Reason: "as it was"}
	got := s.ExplainRecorded(&access.Record{Operation: *operation(access.Kubernetes{Verb: "create", Resource: "secrets", Object: object}), Decision: then})
	if got.Recorded == nil || got.Recorded.Reason != then.Reason || got.Decision.Effect != access.Deny {
		t.Errorf("%+v", got)
	}
	masked := map[string]bool{}
	for _, f := range got.Rules[0].Facts {
		masked[f.Part] = f.Masked
	}
	for part, want := range map[string]bool{"kubernetes.object.data.a": true, "kubernetes.object.stringData.b": true, "kubernetes.object.metadata.name": false} {
		if m, ok := masked[part]; !ok || m != want {
			t.Errorf("%s is masked: %v (%+v)", part, m, got.Rules[0].Facts)
		}
	}
}

// For every case of the default pack, what Explain says agrees with what Decide does.
func TestExplainAgrees(t *testing.T) {
	s := defaultSet(t)
	for name, b := range caseFiles(t) {
		r := &caseReader{reader: reader{file: name, src: b}}
		for _, c := range r.cases() {
			e := s.Explain(&c.op)
			var counted, hits []string
			for _, x := range e.Rules {
				if x.Why == "" || x.Line == 0 {
					t.Errorf("%s: rule %s is not explained", c.name, x.ID)
				}
				if x.Counts {
					counted = append(counted, x.ID)
				}
			}
			for _, h := range e.Decision.Rules {
				hits = append(hits, h.ID)
			}
			if diff := cmp.Diff(hits, counted); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
			}
		}
	}
}

func TestRunCases(t *testing.T) {
	s := load(t, "rules:\n  - {id: a, protocol: kubernetes, effect: approve, reason: why not, verbs: [create]}\n  - {id: b, protocol: kubernetes, effect: allow, verbs: [get]}\n")
	run := func(expect string) []string {
		t.Helper()
		report, err := RunCases(s, map[string][]byte{"c.yaml": []byte(`
operation: {target: {protocol: kubernetes}, kubernetes: {version: v1, namespace: n}}
cases:
  - name: one
    operation: {kubernetes: {verb: create}}
    expect: ` + expect + "\n")})
		if err != nil {
			t.Fatal(err)
		}
		if got := report.Untested; !cmp.Equal(got, []string{"b"}) {
			t.Errorf("untested are %v", got)
		}
		if (report.Failed() > 0) != (len(report.Results[0].Differences) > 0) || report.Results[0].Line != 4 {
			t.Errorf("%+v", report)
		}
		return report.Results[0].Differences
	}
	if got := run("{effect: approve, risk: low, rules: [a], only: true, reason: why, masks: [secrets, known, credentials], needs: []}"); got != nil {
		t.Errorf("%q", got)
	}
	for expect, want := range map[string]string{
		"{effect: allow}":                          "effect is approve, want allow (why not)",
		"{effect: approve, risk: high}":            "risk is low, want high",
		"{effect: approve, rules: [b]}":            "rule b does not count, but only a",
		"{effect: approve, rules: [], only: true}": "rules that count are a, want only ",
		"{effect: approve, reason: because}":       `reason is "why not", want "because" in it`,
		"{effect: approve, advice: x}":             `advice is "", want "x" in it`,
		"{effect: approve, masks: []}":             "masks are [credentials known secrets], want []",
		"{effect: approve, needs: [x]}":            "needs are [], want [x]",
	} {
		if got := run(expect); !cmp.Equal(got, []string{want}) {
			t.Errorf("%s: %q, want %q", expect, got, want)
		}
	}
}

func TestCasesNameMistakes(t *testing.T) {
	s := defaultSet(t)
	for text, want := range map[string]string{
		"case: []\n": `c.yaml:1:1: unknown key "case" in a file of cases; did you mean "cases"?`,
		"cases:\n  - {name: a, operation: {kubernetes: {verbs: get}}, expect: {effect: deny}}\n":            `c.yaml:2:26: the operation cannot be read: unknown field "verbs"`,
		"cases:\n  - {name: a, operation: {}, expect: {}}\n":                                                "c.yaml:2:38: expect needs an effect",
		"cases:\n  - {operation: {}, expect: {effect: deny}}\n":                                             "c.yaml:2:5: a case needs name, operation and expect",
		"cases:\n  - {name: a, operation: 5, expect: {effect: deny}}\n":                                     "c.yaml:2:26: the operation is not a mapping",
		"cases:\n  - {name: a, operation: {kubernetes: {verb: 5}}, expect: {effect: deny, reasons: [x]}}\n": `unknown key "reasons" in expect; did you mean "reason"?`,
	} {
		report, err := RunCases(s, map[string][]byte{"c.yaml": []byte(text)})
		if err == nil || !strings.Contains(err.Error(), want) || len(report.Results) != 0 {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
