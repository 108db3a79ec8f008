package policy

import (
	"testing"

	"gatebook/internal/access"
)

func BenchmarkDecideRead(b *testing.B) {
	s, err := Load(Default())
	if err != nil {
		b.Fatal(err)
	}
	op := &access.Operation{
		Principal: access.Principal{Issuer: "k", Subject: "s", Name: "system:serviceaccount:agents:claude"},
		Target:    access.Target{Name: "c", Protocol: "kubernetes"}, Verb: "get",
		Kubernetes: &access.Kubernetes{Verb: "get", Version: "v1", Resource: "pods", Namespace: "a", Name: "p"},
	}
	b.ReportAllocs()
	for b.Loop() {
		if d, _ := s.Decide(op); d.Effect != access.Allow {
			b.Fatal(d)
		}
	}
}
