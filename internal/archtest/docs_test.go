package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var metric = regexp.MustCompile(`(?:Name: |gauge\()"(gatebook_[a-z_]+)"`)

// Each metric is in docs/reference/metrics.md, and nothing else is.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/reference/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("`(gatebook_[a-z_]+)`").FindAllSubmatch(page, -1) {
		told[string(m[1])] = true
	}
	for _, s := range sources(t) {
		if s.tests {
			continue
		}
		text, err := os.ReadFile(s.file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range metric.FindAllSubmatch(text, -1) {
			if !told[string(m[1])] {
				t.Errorf("%s: %s is not in docs/reference/metrics.md", s.file, m[1])
			}
			delete(told, string(m[1]))
		}
	}
	for name := range told {
		t.Errorf("docs/reference/metrics.md tells of %s, which there is not", name)
	}
}
