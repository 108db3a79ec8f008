package model

import (
	"fmt"
	"testing"
	"time"

	"gatebook/internal/access"
)

// L99: whose a conversation is, is remembered while it is used, and forgotten when it no longer is: so there is room for others
// however long a gateway runs, and nothing grows.
func TestConversationsAreForgotten(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := newUsage(func() time.Time { return now })
	use := func(p, conversation string) {
		s.add(access.ModelUse{Principal: access.Principal{Issuer: "i", Subject: p}, Session: "s", Conversation: conversation, Time: now})
	}
	flags := func(p, conversation string) int {
		m := &access.Model{Conversation: conversation}
		s.flag(access.Principal{Issuer: "i", Subject: p}, m, "")
		return len(m.Flags)
	}
	use("ada", "kept")
	for n := range 3 * maxConversations {
		now = now.Add(2 * UsageMemory / maxConversations)
		c := fmt.Sprint("c", n)
		use("ada", c)
		use("ada", "kept")
		if flags("bob", c) != 1 || flags("bob", "kept") != 1 {
			t.Fatalf("conversation %d: nobody's", n)
		}
	}
	if len(s.owners) > maxConversations+2 || s.owned["i\x00ada"] > maxConversations {
		t.Errorf("%d are kept", len(s.owners))
	}
	now = now.Add(2 * UsageMemory)
	use("bob", "last")
	if len(s.owners) != 1 || len(s.owned) != 1 {
		t.Errorf("%d conversations of %d are kept", len(s.owners), len(s.owned))
	}
}
