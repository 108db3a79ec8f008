package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"gatebook/internal/access"
)

// sqlConditions read what a rule for a database can read, each in its way: by name, whole, in loops, by has().
var sqlConditions = []string{
	`true`, `sql.effect == "read"`, `"users" in sql.tables`, `sql.kinds.exists(k, k == "select")`, `sql.noWhere`, `has(sql.role)`,
	`sql.volatile.all(f, f in ["nextval"])`, `size(sql.parameters) > 1`, `sql.parameters.exists(p, p == "b")`, `sql.text.contains("b")`, `operation.command.contains("b")`,
	`operation.verb == "execute"`, `operation.time > timestamp("2026-01-01T12:00:00Z")`, `operation.time.getHours() < 12`, `session == "b"`, `client.address == "b"`,
	`has(client.trace)`, `"b" in principal.groups`, `principal.workload.pod == "b"`, `target.name == "b"`, `has(target.labels.b)`, `target.labels["b"] == "b"`,
	`[sql].exists(s, s.effect == "read")`, `principal.expires > operation.time`, `size(operation.uninspectable) == 0`, `sql.database == principal.name`,
}

// A remembered decision is what the rules say, whatever they read: two memories of the same policy, one of which has seen
// many operations, decide alike.
func TestRememberedDecisionsAreTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := "masking: []\nmasks: [{name: m, paths: [a]}]\nrules:\n"
		for i := range rapid.IntRange(1, 3).Draw(t, "rules") {
			effect := rapid.SampledFrom([]string{"allow", "approve", "deny"}).Draw(t, "effect")
			text += "  - {id: r" + string(rune('a'+i)) + ", protocol: postgres, reason: r, effect: " + effect + ", masks: [m], when: '" + rapid.SampledFrom(sqlConditions).Draw(t, "when") + "'"
			if rapid.Bool().Draw(t, "verbs") {
				text += ", verbs: [execute]"
			}
			text += "}\n"
		}
		c, err := compilerOnce()
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.load(map[string][]byte{"p.yaml": []byte(text)})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		for range 40 {
			op := drawStatement(t)
			got, gotMissing := s.Decide(op)
			want, wantMissing := s.judge(s.schema.newInput(op))
			if d := cmp.Diff(want, got) + cmp.Diff(wantMissing, gotMissing); d != "" {
				t.Fatalf("%s\n%s\n%+v %+v", d, text, op, op.SQL)
			}
		}
	})
}

// drawStatement has few values for each field, so that operations differ in few.
func drawStatement(t *rapid.T) *access.Operation {
	one := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	some := func(name string, of ...string) []string {
		return rapid.SliceOfN(rapid.SampledFrom(of), 0, 2).Draw(t, name)
	}
	op := &access.Operation{Verb: one("verb", "execute", "prepare"), Session: access.SessionID(one("session", "a", "b")), Command: one("command", "a", "b"),
		Time: time.Date(2026, 1, 1, rapid.SampledFrom([]int{10, 13}).Draw(t, "hour"), 0, 0, 0, time.UTC)}
	op.Principal = access.Principal{Name: one("name", "a", "b"), Groups: some("groups", "a", "b"), Workload: access.Workload{Pod: one("pod", "a", "b")},
		Expires: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	op.Target = access.Target{Name: one("target", "a", "b"), Protocol: protocolPostgres}
	if l := one("label", "", "b", "c"); l != "" {
		op.Target.Labels = map[string]string{"b": l}
	}
	op.Client = access.Client{Address: one("address", "a", "b"), Trace: one("trace", "", "b")}
	if u := one("unread", "", "", "", "sql.text"); u != "" {
		op.Uninspectable = []access.Uninspectable{{Field: u, Why: "secret"}}
	}
	op.SQL = &access.SQL{Database: one("database", "a", "b"), Role: one("role", "", "b"), Text: one("text", "a", "b"), Kinds: some("kinds", "select", "insert"),
		Effect: one("effect", "read", "write"), Tables: some("tables", "users", "orders"), Volatile: some("volatile", "nextval", "f"),
		NoWhere: rapid.Bool().Draw(t, "noWhere"), Parameters: some("parameters", "a", "b")}
	return op
}
