package policy

import (
	"slices"
	"testing"

	"gatebook/internal/access"
)

// What a push's pack does not tell is fetched where a rule depends on it, and nowhere else.
func TestGitFieldsAreLate(t *testing.T) {
	s := load(t, `rules:
  - {id: push, protocol: git, effect: allow, verbs: [push]}
  - {id: force, protocol: git, effect: approve, verbs: [push], reason: r, advice: a, when: 'git.ref == "refs/heads/main" && git.change == "force"'}
  - {id: ci, protocol: git, effect: deny, verbs: [push], reason: r, advice: a, when: 'git.repository == "app" && git.paths.exists(p, p.startsWith(".ci/"))'}
`)
	op := func(repository, ref, change string, paths ...string) *access.Operation {
		return &access.Operation{Verb: "push", Target: access.Target{Protocol: "git"}, Unfetched: []string{access.FieldGitChange, access.FieldGitPaths},
			Git: &access.Git{Repository: repository, Ref: ref, Change: change, Paths: paths}}
	}
	for name, c := range map[string]struct {
		op    *access.Operation
		needs []string
	}{
		"neither": {op("other", "refs/heads/x", "force"), nil},
		"change":  {op("other", "refs/heads/main", "update"), []string{access.FieldGitChange}},
		"paths":   {op("app", "refs/heads/x", "update"), []string{access.FieldGitPaths}},
		"both":    {op("app", "refs/heads/main", "update", "a"), []string{access.FieldGitChange, access.FieldGitPaths}},
	} {
		if _, needs := s.Decide(c.op); !slices.Equal(needs, c.needs) {
			t.Errorf("%s: needs %v, want %v", name, needs, c.needs)
		}
	}
	given := op("other", "refs/heads/main", "update")
	given.Fetched = given.Unfetched
	if d, needs := s.Decide(given); d.Effect != access.Allow || needs != nil {
		t.Errorf("%v, needs %v", d.Effect, needs)
	}
}

// A rule sees what is hidden in the record.
func TestGitIsExact(t *testing.T) {
	s := load(t, "rules: [{id: a, protocol: git, effect: allow, when: 'true'}, {id: d, protocol: git, effect: deny, reason: r, advice: a, when: 'git.ref == \"refs/heads/main\"'}]\n")
	op := &access.Operation{Verb: "push", Target: access.Target{Protocol: "git"}, Git: &access.Git{Ref: "gbm-x"}, ExactGit: &access.Git{Ref: "refs/heads/main"}}
	if d, _ := s.Decide(op); d.Effect != access.Deny {
		t.Error("a masked ref escapes the rule about it")
	}
}
