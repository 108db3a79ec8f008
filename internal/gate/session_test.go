package gate

import (
	"testing"
	"time"

	"gatebook/internal/access"
)

// A pod is one session, on every replica and after a restart; anybody else's ends when they were idle.
func TestSessions(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	open := func() *Sessions { return &Sessions{Idle: time.Minute, Now: func() time.Time { return now }} }
	s := open()
	pod := access.Principal{Issuer: "c", Subject: "sa", Workload: access.Workload{PodUID: "u1"}}
	other := pod
	other.Workload.PodUID = "u2"
	elsewhere := pod
	elsewhere.Issuer = "d"
	id := s.Of(pod)
	now = now.Add(time.Hour)
	if !access.ValidID(string(id)) || s.Of(pod) != id || open().Of(pod) != id {
		t.Errorf("a pod's session is %s, then %s, after a restart %s", id, s.Of(pod), open().Of(pod))
	}
	if s.Of(other) == id || s.Of(elsewhere) == id {
		t.Error("two pods share a session")
	}
	first := s.Of(ada)
	now = now.Add(time.Minute)
	if s.Of(ada) != first || s.Of(bob) == first {
		t.Error("a session of a person is theirs until they are idle")
	}
	now = now.Add(time.Minute + 1)
	if s.Of(ada) == first {
		t.Error("an idle session goes on")
	}
	now = now.Add(time.Hour)
	s.Of(bob)
	if len(s.open) != 1 {
		t.Errorf("%d sessions are remembered, want 1", len(s.open))
	}
}
