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
	id := s.Of(pod, "")
	now = now.Add(time.Hour)
	if !access.ValidID(string(id)) || s.Of(pod, "") != id || open().Of(pod, "") != id {
		t.Errorf("a pod's session is %s, then %s, after a restart %s", id, s.Of(pod, ""), open().Of(pod, ""))
	}
	if s.Of(other, "") == id || s.Of(elsewhere, "") == id {
		t.Error("two pods share a session")
	}
	first := s.Of(ada, "")
	now = now.Add(time.Minute)
	if s.Of(ada, "") != first || s.Of(bob, "") == first {
		t.Error("a session of a person is theirs until they are idle")
	}
	now = now.Add(time.Minute + 1)
	if s.Of(ada, "") == first {
		t.Error("an idle session goes on")
	}
	now = now.Add(time.Hour)
	s.Of(bob, "")
	if len(s.open) != 1 {
		t.Errorf("%d sessions are remembered, want 1", len(s.open))
	}
}

// Each conversation of one principal is a session; what they do besides belongs to the latest, and what came just before
// the first, too. No conversation's name reaches into somebody else's sessions, nor out of a pod.
func TestConversations(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := &Sessions{Idle: time.Minute, Now: func() time.Time { return now }}
	before := s.Of(ada, "")
	one := s.Of(ada, "one")
	if one != before || s.Of(ada, "") != one {
		t.Error("what came just before a conversation is not of its session")
	}
	two := s.Of(ada, "two")
	if two == one || s.Of(ada, "") != two || s.Of(ada, "one") != one || s.Of(ada, "") != one {
		t.Error("two conversations are not two sessions")
	}
	if s.Of(bob, "one") == one {
		t.Error("a name of a conversation opens somebody else's session")
	}
	pod := access.Principal{Issuer: "c", Subject: "sa", Workload: access.Workload{PodUID: "u1"}}
	if s.Of(pod, "one") != s.Of(pod, "") {
		t.Error("a pod is more than one session")
	}
	now = now.Add(time.Minute)
	if s.Of(ada, "one") != one {
		t.Error("a conversation that pauses is another session")
	}
}

// What a conversation's session is, and which one a principal was in, is the same after a restart; a conversation that is
// resumed on the next day goes on where it was, and what is done besides then belongs to it.
func TestSessionsGoOn(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	kept := map[string]access.SessionID{}
	open := func() *Sessions {
		return &Sessions{Idle: time.Minute, Now: func() time.Time { return now },
			Recall: func(p access.Principal, conversation string) access.SessionID { return kept[p.Key()+conversation] }}
	}
	s := open()
	one, two := s.Of(ada, "one"), s.Of(ada, "two")
	kept[ada.Key()+"one"], kept[ada.Key()+"two"] = one, two
	idle := s.Of(bob, "")
	s = open()
	s.Restore(ada.Key(), two, now, true)
	s.Restore(bob.Key(), idle, now, false)
	if s.Of(ada, "") != two || s.Of(ada, "one") != one || s.Of(ada, "two") != two || s.Of(ada, "three") == two {
		t.Error("after a restart conversations are other sessions")
	}
	if s.Of(bob, "") != idle || s.Of(bob, "one") != idle {
		t.Error("after a restart what came before a conversation is not of its session")
	}
	now = now.Add(24 * time.Hour)
	s.Of(bob, "") // forgets what is idle
	if got := s.Of(ada, "one"); got != one || s.Of(ada, "") != one {
		t.Error("a conversation of yesterday is another session")
	}
	if s.Of(bob, "") == idle {
		t.Error("what is done on the next day is of yesterday's session")
	}
}
