package mask

import (
	"bytes"
	"strings"
	"testing"
)

// What is forgotten stands as it is, is not learned again however it is met, also after a restart, and is still masked in its
// place; nothing else is forgotten.
func TestForget(t *testing.T) {
	s := newScope(t)
	const poison, kept = "team-payments-namespace", "correct-horse-battery"
	line := strings.Repeat("a longer line of it ", 3)
	for _, v := range []string{poison, kept, poison + "\n" + line + "password=hunter2hunter2"} {
		s.e.Learn([]byte(v))
	}
	shape := compile(t, secretRules()...)
	doc := `{"data":{"a":"` + b64(poison) + `"},"x":"` + poison + ` ` + kept + `"}`
	for range 2 {
		if got, err := maskJSON(t, s, shape, true, doc); err != nil || strings.Contains(got, poison) {
			t.Errorf("%v %s", err, got)
		}
	}
	before := s.e.Stats().Patterns
	if n := s.e.Forget([]byte(poison)); n != 1 || s.e.Stats().Patterns != before-1 {
		t.Errorf("%d patterns forgotten, of %d now %d", n, before, s.e.Stats().Patterns)
	}
	if n := s.e.Forget([]byte(poison)); n != 0 {
		t.Errorf("forgotten twice: %d", n)
	}
	blob, err := s.e.Export()
	if err != nil {
		t.Fatal(err)
	}
	after := newScope(t)
	if err := after.e.Import(blob); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Scope{s, after} {
		s.e.Learn([]byte(poison))
		s.e.Learn([]byte(" " + poison + "\n"))
		for range 2 {
			got, err := maskJSON(t, s, shape, true, doc)
			if err != nil || !strings.Contains(got, `"x":"`+poison+` gbm-`) || strings.Contains(got, b64(poison)) || strings.Contains(got, kept) {
				t.Errorf("%v %s", err, got)
			}
		}
		if got := maskText(t, s, line+"hunter2hunter2"); strings.Contains(got, "hunter2") {
			t.Errorf("forgotten as well: %s", got)
		}
	}
	if n := s.e.Forget([]byte(poison + "\n" + line + "password=hunter2hunter2")); n < 2 {
		t.Errorf("%d patterns forgotten", n)
	}
	if got := maskText(t, s, "hunter2hunter2"); got != "hunter2hunter2" {
		t.Errorf("what was in a forgotten value is not forgotten: %s", got)
	}
	if bytes.Contains(blob, []byte(poison)) {
		t.Error("the export holds the value")
	}
}

// One value forgotten and another learned are a change, though there are as many as before.
func TestChangesAreCounted(t *testing.T) {
	s := newScope(t)
	s.e.Learn([]byte("correct-horse-battery"))
	before := s.e.Stats()
	s.e.Learn([]byte("correct-horse-battery"))
	if s.e.Stats() != before {
		t.Errorf("nothing is new: %+v, then %+v", before, s.e.Stats())
	}
	s.e.Forget([]byte("correct-horse-battery"))
	s.e.Learn([]byte("another-horse-battery"))
	if now := s.e.Stats(); now.Patterns != before.Patterns || now.Changes == before.Changes {
		t.Errorf("%+v, then %+v", before, now)
	}
}
