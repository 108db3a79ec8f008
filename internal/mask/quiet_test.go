package mask

import (
	"strings"
	"testing"
)

// What is only claimed is masked where it stands, with the same placeholder, and nowhere else; once it is seen for
// what it is, it is known.
func TestQuiet(t *testing.T) {
	for name, value := range map[string]string{"short": "kube-system", "long": strings.Repeat("metadata apiVersion namespace ", 5000)} {
		for _, doc := range []string{`{"data":{"a":"` + b64(value) + `"}}`, `{"stringData":{"a":"` + value + `"}}`} {
			t.Run(name+doc[:8], func(t *testing.T) {
				s := newScope(t)
				shape := compile(t, secretRules()...)
				elsewhere := `{"x":"` + value[:11] + ` and more"}`
				quiet, err := maskJSON(t, s.Quiet(), shape, true, doc)
				if err != nil || strings.Contains(quiet, doc[10:30]) {
					t.Fatalf("masked as %q, %v", quiet, err)
				}
				if got, _ := maskJSON(t, s, nil, true, elsewhere); got != elsewhere || s.e.Stats().Patterns != 0 {
					t.Errorf("it was learned: %s", got)
				}
				loud, err := maskJSON(t, s, shape, true, doc)
				if err != nil || loud != quiet {
					t.Errorf("masked as %q, then as %q: %v", quiet, loud, err)
				}
				if s.e.Stats().Patterns == 0 {
					t.Error("it is not learned any more")
				}
			})
		}
	}
}

// A public value is masked where a rule names it, and stays what it is elsewhere; its neighbours do not.
func TestPublic(t *testing.T) {
	s := newScope(t)
	shape := compile(t, Rule{Path: "data", Encoding: Base64}, Rule{Path: "data.namespace", Encoding: Base64, Public: true},
		Rule{Path: `data.ca\.crt`, Encoding: Base64, Public: true}, Rule{Path: "data.deep.er", Encoding: Base64, Public: true})
	doc := `{"data":{"namespace":"` + b64("kube-system") + `","ca.crt":"` + b64("certificate-of-a-ca") + `","token":"` + b64("tok3n-secret-value") + `","deep":"` + b64("another-s3cret-one") + `"}}`
	got, err := maskJSON(t, s, shape, true, doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"kube-system", "certificate-of-a-ca", "tok3n-secret-value", "another-s3cret-one"} {
		if strings.Contains(got, b64(v)) {
			t.Errorf("%s is not masked", v)
		}
	}
	const other = `["kube-system","certificate-of-a-ca","tok3n-secret-value","another-s3cret-one"]`
	got, _ = maskJSON(t, s, nil, true, other)
	for v, known := range map[string]bool{"kube-system": false, "certificate-of-a-ca": false, "tok3n-secret-value": true, "another-s3cret-one": true} {
		if strings.Contains(got, v) == known {
			t.Errorf("%s: known should be %v in %s", v, known, got)
		}
	}
}
