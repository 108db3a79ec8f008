package mask

import (
	"bytes"
	"strings"
	"testing"
)

// A placeholder in base64 that somebody encoded once more is still seen, at every alignment of both.
func TestPlaceholderInBase64Twice(t *testing.T) {
	e, err := New(Options{Key: bytes.Repeat([]byte{3}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	s := e.Scope("s")
	for _, value := range []string{"correct-horse", "battery-staple", "another-one"} {
		p := s.Placeholder([]byte(value))
		for inner := range 4 {
			for outer := range 4 {
				doc := `{"data":{"k":"` + b64(strings.Repeat("x", outer)+b64(strings.Repeat("y", inner)+p)) + `"}}`
				if !s.HasPlaceholder([]byte(doc)) {
					t.Errorf("at %d in %d: not seen in %s", inner, outer, doc)
				}
			}
		}
	}
	if s.HasPlaceholder([]byte(`{"data":{"k":"` + b64(b64("gbm-short and no placeholder")) + `"}}`)) {
		t.Error("a placeholder is seen where none is")
	}
}
