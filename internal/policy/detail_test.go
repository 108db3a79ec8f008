package policy

import (
	"testing"

	"gatebook/internal/access"
)

// Each protocol's rules see what that protocol tells of its operations, and where nothing could be decoded it is unknown.
func TestDetails(t *testing.T) {
	for _, c := range []struct {
		protocol, when string
		op             access.Operation
	}{
		{"git", `git.change == "force" && git.commits.exists(c, c.message.contains("oops") && "a@b" in [c.author])`,
			access.Operation{Git: &access.Git{Change: "force", Commits: []access.Commit{{Message: "fine"}, {Author: "a@b", Message: "oops!"}}}}},
		{"git", `git.commits[0].id == "c0" && size(git.commits) == 1 && git.paths.exists(p, p.startsWith(".github/"))`,
			access.Operation{Git: &access.Git{Commits: []access.Commit{{ID: "c0"}}, Paths: []string{".github/w.yml"}}}},
		{"postgres", `sql.effect == "write" && sql.noWhere && "customers" in sql.writes && sql.parameters == ["1"]`,
			access.Operation{SQL: &access.SQL{Effect: "write", NoWhere: true, Writes: []string{"customers"}, Parameters: []string{"1"}}}},
		{"model", `model.model.startsWith("claude-") && model.dayTokens > 5 && "Bash" in model.tools`,
			access.Operation{Model: &access.Model{Model: "claude-x", DayTokens: 6, Tools: []string{"Bash"}}}},
		{"web", `web.mcp.tool == "delete" && web.mcp.arguments.all == true && web.query["q"][0] == "x" && web.body.a[1].b == "c"`,
			access.Operation{Web: &access.Web{MCP: &access.MCP{Tool: "delete", Arguments: map[string]any{"all": true}}, Query: map[string][]string{"q": {"x"}},
				Body: map[string]any{"a": []any{1.0, map[string]any{"b": "c"}}}}}},
	} {
		t.Run(c.protocol, func(t *testing.T) {
			s := load(t, "rules:\n  - id: r\n    protocol: "+c.protocol+"\n    effect: allow\n    when: |\n      "+c.when+"\n")
			c.op.Target = access.Target{Name: "t", Protocol: c.protocol}
			if d, _ := s.Decide(&c.op); d.Effect != access.Allow {
				t.Errorf("%s is not met: %+v", c.when, d)
			}
			if d, _ := s.Decide(&access.Operation{Target: c.op.Target}); d.Effect != access.Deny {
				t.Error("met by what could not be decoded")
			}
			deny := load(t, "rules:\n  - {id: all, effect: allow, when: 'true'}\n  - id: r\n    protocol: "+c.protocol+"\n    effect: deny\n    reason: no\n    when: |\n      "+c.when+"\n")
			if d, _ := deny.Decide(&access.Operation{Target: c.op.Target}); d.Effect != access.Deny {
				t.Error("what could not be decoded gets round a rule that denies")
			}
		})
	}
}

// What a rule is for is compared with what the API server will read, as its condition is: a resource whose name is hidden from
// the record, because somebody has made it known as a secret, is that resource all the same.
func TestScopeIsExact(t *testing.T) {
	s := load(t, "rules:\n  - {id: all, effect: allow, when: 'true'}\n  - id: r\n    protocol: kubernetes\n    effect: deny\n    reason: no\n    verbs: [delete]\n    resources: [sealedsecrets.bitnami.com]\n")
	op := &access.Operation{Target: access.Target{Protocol: "kubernetes"}, Verb: "delete",
		Kubernetes: &access.Kubernetes{Verb: "gbm-x", Group: "bitnami.com", Resource: "gbm-y"},
		Exact:      &access.Kubernetes{Verb: "delete", Group: "bitnami.com", Resource: "sealedsecrets"}}
	if d, _ := s.Decide(op); d.Effect != access.Deny {
		t.Errorf("decided %+v", d)
	}
}
