package policy

import (
	"testing"

	"gatebook/internal/access"
)

// A rule sees what is hidden in the record.
func TestModelIsExact(t *testing.T) {
	s := load(t, "rules: [{id: a, protocol: model, effect: allow, when: 'true'}, {id: d, protocol: model, effect: deny, reason: r, advice: a, when: 'model.model == \"dearest\"'}]\n")
	op := &access.Operation{Verb: "post", Target: access.Target{Protocol: "model"}, Model: &access.Model{Model: "gbm-x"}, ExactModel: &access.Model{Model: "dearest"}}
	if d, _ := s.Decide(op); d.Effect != access.Deny {
		t.Error("a masked name escapes the rule about it")
	}
}
