package policy

import (
	"os"
	"path/filepath"
	"testing"
)

func defaultSet(t testing.TB) *Set {
	t.Helper()
	s, err := Load(Default())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func caseFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	names, err := filepath.Glob("testdata/cases/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatal("no cases", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = b
	}
	return files
}

func TestDefaultPackCases(t *testing.T) {
	report, err := RunCases(defaultSet(t), caseFiles(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range report.Results {
		for _, d := range c.Differences {
			t.Errorf("%s:%d: %s: %s", c.File, c.Line, c.Name, d)
		}
	}
	if len(report.Untested) > 0 {
		t.Errorf("rules that no case meets: %v", report.Untested)
	}
}

// What an agent is told must help it on.
func TestDefaultPackAdvises(t *testing.T) {
	for _, r := range defaultSet(t).rules {
		if r.rank() < 2 && r.advice == "" {
			t.Errorf("%s:%d: rule %s refuses or asks without advice", r.at.file, r.at.line, r.id)
		}
		if r.protocol == "" {
			t.Errorf("%s:%d: rule %s is for every protocol", r.at.file, r.at.line, r.id)
		}
	}
}

// A defence that is taken away is noticed: without any one rule that refuses or asks, some case fails.
func TestEveryRefusalIsTested(t *testing.T) {
	for _, r := range defaultSet(t).rules {
		if missesNothing(t, func(k *rule) *rule {
			if k.id == r.id {
				return nil
			}
			return k
		}) {
			t.Errorf("without rule %s every case still passes", r.id)
		}
	}
}

// A rule that opens nothing by itself is noticed when it does.
func TestEveryGuardIsTested(t *testing.T) {
	for _, r := range defaultSet(t).rules {
		if r.guards && missesNothing(t, func(k *rule) *rule {
			if k.id != r.id {
				return k
			}
			opens := *k
			opens.guards = false
			return &opens
		}) {
			t.Errorf("without grants: false of rule %s every case still passes", r.id)
		}
	}
}

// missesNothing reports whether the default policy meets every case with its rules changed; nil leaves one out.
func missesNothing(t *testing.T, change func(*rule) *rule) bool {
	t.Helper()
	s := defaultSet(t)
	var rules []*rule
	for _, r := range s.rules {
		if r = change(r); r != nil {
			rules = append(rules, r)
		}
	}
	s.rules = rules
	if err := s.seal(); err != nil {
		t.Fatal(err)
	}
	report, err := RunCases(s, caseFiles(t))
	if err != nil {
		t.Fatal(err)
	}
	return report.Failed() == 0
}
