package policy

import (
	"testing"

	"gatebook/internal/access"
)

func benchmark(b *testing.B, s *Set, op *access.Operation, want access.Effect) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		if d, _ := s.Decide(op); d.Effect != want {
			b.Fatalf("%+v", d)
		}
	}
}

// A typical read under the default pack.
func BenchmarkDecideRead(b *testing.B) {
	benchmark(b, defaultSet(b), operation(access.Kubernetes{Verb: "get", Version: "v1", Resource: "pods", Namespace: "a", Name: "p"}), access.Allow)
}

func BenchmarkDecideDiscovery(b *testing.B) {
	benchmark(b, defaultSet(b), operation(access.Kubernetes{Verb: "get", Path: "/apis/apps/v1"}), access.Allow)
}

func BenchmarkDecideExec(b *testing.B) {
	benchmark(b, defaultSet(b), operation(access.Kubernetes{Verb: "create", Version: "v1", Resource: "pods", Subresource: "exec", Namespace: "a", Name: "p", Exec: &access.Exec{Command: []string{"id"}}}), access.Approve)
}

// A change whose whole object is looked through by three rules.
func BenchmarkDecideCreateDeployment(b *testing.B) {
	containers := []any{map[string]any{"name": "c", "image": "nginx", "env": []any{map[string]any{"name": "A", "value": "b"}}}}
	op := operation(access.Kubernetes{Verb: "create", Group: "apps", Version: "v1", Resource: "deployments", Namespace: "a", Object: map[string]any{
		"metadata": map[string]any{"name": "d", "labels": map[string]any{"app": "d"}},
		"spec":     map[string]any{"replicas": int64(1), "template": map[string]any{"spec": map[string]any{"containers": containers}}}}})
	benchmark(b, defaultSet(b), op, access.Approve)
}

// What the most costly condition takes that is not cut off before.
func BenchmarkCostLimit(b *testing.B) {
	list := make([]any, 3000)
	for i := range list {
		list[i] = int64(i)
	}
	s, err := Load(map[string][]byte{"p.yaml": []byte("rules:\n  - {id: r, protocol: kubernetes, effect: deny, reason: no, when: 'kubernetes.object.l.exists(a, kubernetes.object.l.exists(b, a + b < 0))'}\n")})
	if err != nil {
		b.Fatal(err)
	}
	benchmark(b, s, operation(access.Kubernetes{Verb: "create", Resource: "pods", Object: map[string]any{"l": list}}), access.Deny)
}

func BenchmarkLoadDefault(b *testing.B) {
	for b.Loop() {
		if _, err := Load(Default()); err != nil {
			b.Fatal(err)
		}
	}
}

// A statement whose like was decided before.
func BenchmarkDecideStatement(b *testing.B) {
	op := &access.Operation{Verb: "execute", Command: "SELECT abalance FROM pgbench_accounts WHERE aid = $1\n-- $1 = '1'", Target: access.Target{Name: "db", Protocol: protocolPostgres},
		SQL: &access.SQL{Database: "db", Role: "gate", Kinds: []string{"select"}, Effect: "read", Tables: []string{"pgbench_accounts"}, Columns: []string{"abalance", "aid"},
			Text: "SELECT abalance FROM pgbench_accounts WHERE aid = $1", Parameters: []string{"1"}}}
	s := defaultSet(b)
	b.Run("again", func(b *testing.B) { benchmark(b, s, op, access.Allow) })
	b.Run("anew", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if d, _ := s.judge(s.schema.newInput(op)); d.Effect != access.Allow {
				b.Fatalf("%+v", d)
			}
		}
	})
}
