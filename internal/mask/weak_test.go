package mask

import (
	"fmt"
	"strings"
	"testing"
)

// Nobody can have hidden what every answer is made of; what only has such words in it is still learned.
func TestWeak(t *testing.T) {
	e, err := New(Options{Key: testKey, Vocabulary: []string{"app", "kubernetes", "io", "name", "kube", "system", "serviceaccount", "Terminating", "creationTimestamp", "v", "namespace", "metadata"}})
	if err != nil {
		t.Fatal(err)
	}
	s := e.Scope("s")
	for value, learned := range map[string]bool{
		"Terminating": false, "terminating": false, "kube-system": false, "app.kubernetes.io/name": false, "system:serviceaccount:kube-system": false, "kubernetes-12": false,
		`{"metadata":{"name":`: false, "metadata: namespace": false, "creationTimestamp": false, "12345678": false, "202611221400": true, "abcabcabcabc": false, "0101010101010101": false,
		"kubernetes1234": true, "kubernetes-hunter2": true, "metadata-é-name": true, "a1b2c3d4e5f6": true, "correct-horse": true, "namespace\u00e9": true, "hunter2hunter2": true,
		strings.Repeat("kubernetes", 13): true,
	} {
		before := e.Stats().Patterns
		e.Learn([]byte(value))
		if got := e.Stats().Patterns > before; got != learned {
			t.Errorf("%q: learned %t, want %t", value, got, learned)
		}
		text := fmt.Sprintf("it says %s here", value)
		if got := maskText(t, s, text); (got != text) != learned {
			t.Errorf("%q: %q", value, got)
		}
	}
	shape := compile(t, secretRules()...)
	doc := `{"data":{"a":"` + b64("kube-system") + `"},"x":"kube-system"}`
	if got, err := maskJSON(t, s, shape, true, doc); err != nil || !strings.Contains(got, `"x":"kube-system"`) || strings.Contains(got, b64("kube-system")) {
		t.Errorf("%s, %v: what is not learned is still masked in its place", got, err)
	}
}
