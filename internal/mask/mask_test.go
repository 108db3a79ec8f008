package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

var testKey = bytes.Repeat([]byte{7}, 32)

func newScope(t testing.TB) *Scope {
	t.Helper()
	e, err := New(Options{Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	return e.Scope("s1")
}

func compile(t testing.TB, rules ...Rule) *Shape {
	t.Helper()
	s, err := Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const lastApplied = `metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration`

func secretRules() []Rule {
	object := []Rule{{Path: "data.*", Encoding: Base64}, {Path: "stringData.*", Encoding: Text}}
	object = append(object, Rule{Path: lastApplied, Encoding: JSON, Nested: object})
	var all []Rule
	for _, root := range []string{"items.*", "object", "rows.*.object"} {
		all = append(all, Under(root, object)...)
	}
	return append(all, object...)
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// chunked writes in pieces cut at the given places, and gives what came out.
func maskJSON(t testing.TB, s *Scope, shape *Shape, known bool, doc string, cuts ...int) (string, error) {
	t.Helper()
	var out bytes.Buffer
	w := s.JSON(&out, shape, known)
	err := writeCut(w, doc, cuts)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return out.String(), err
}

func writeCut(w interface{ Write([]byte) (int, error) }, doc string, cuts []int) error {
	at := 0
	for _, c := range append(cuts, len(doc)) {
		if _, err := w.Write([]byte(doc[at:c])); err != nil {
			return err
		}
		at = c
	}
	return nil
}

func maskText(t testing.TB, s *Scope, text string, cuts ...int) string {
	t.Helper()
	var out bytes.Buffer
	w := s.Text(&out)
	if err := writeCut(w, text, cuts); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestJSONSecret(t *testing.T) {
	s := newScope(t)
	shape := compile(t, secretRules()...)
	p := s.Placeholder([]byte("hunter2hunter2"))
	nested := `{"apiVersion":"v1","data":{"password":"` + b64("hunter2hunter2") + `"},"x":"<&>"}`
	quotedNested, _ := json.Marshal(nested)
	doc := ` { "kind":"Secret","metadata":{"name":"a","annotations":{"kubectl.kubernetes.io/last-applied-configuration":` + string(quotedNested) + `}}, "d\u0061ta" : {"password":"` + b64("hunter2hunter2") + `","empty":"","nil":null, "n":12345},"stringData":{"x":"hunter2hunter2"}}` + "\n"
	want := strings.ReplaceAll(doc, b64("hunter2hunter2"), b64(p))
	want = strings.ReplaceAll(want, `"hunter2hunter2"`, `"`+p+`"`)
	var f face
	want = strings.ReplaceAll(want, `12345`, string(s.numberOf(&f, s.e.digestOf([]byte("12345")))))
	for i := 0; i <= len(doc); i++ {
		got, err := maskJSON(t, s, shape, false, doc, i)
		if err != nil {
			t.Fatalf("split at %d: %v", i, err)
		}
		if got != want {
			t.Fatalf("split at %d:\n got %s\nwant %s", i, got, want)
		}
	}
}

func TestTextEncodings(t *testing.T) {
	secret := "s3cr3t/Pa$$ w\"rd+ü\n"
	s := newScope(t)
	s.e.Learn([]byte(secret))
	trimmed := strings.TrimSpace(secret)
	js, _ := json.Marshal(trimmed)
	js2, _ := json.Marshal(string(js))
	js3, _ := json.Marshal(string(js2))
	var uni, pct strings.Builder
	for _, c := range trimmed {
		fmt.Fprintf(&uni, `\u%04x`, c)
	}
	for _, c := range []byte(trimmed) {
		fmt.Fprintf(&pct, `%%%02x`, c)
	}
	wrapped := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 50) + trimmed + strings.Repeat("y", 30)))
	wrapped = wrapped[:76] + "\n" + wrapped[76:]
	cases := map[string]string{
		"raw": secret, "hex": hex.EncodeToString([]byte(trimmed)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(trimmed))),
		"b64": b64(trimmed), "b64nl": b64(secret), "b64 1": b64("x" + secret), "b64 2": b64("xy" + secret), "b64 key": b64("password=" + secret + "more"),
		"url b64": base64.URLEncoding.EncodeToString([]byte(secret)), "raw b64": base64.RawStdEncoding.EncodeToString([]byte(secret)),
		"json": string(js), "json2": string(js2), "json3": string(js3), "u": uni.String(), "pct": pct.String(),
		"path": url.PathEscape(trimmed), "pct b64": url.QueryEscape(b64("x" + secret)), "wrap": wrapped,
		"json wrap": strings.ReplaceAll(wrapped, "\n", `\n`),
	}
	for name, enc := range cases {
		for _, around := range [][2]string{{"", ""}, {"some text ", " more text"}, {strings.Repeat(`a\"b %41 `, 20), "z"}} {
			in := around[0] + enc + around[1]
			want := ""
			for i := -1; i <= len(in); i++ {
				var cuts []int
				if i >= 0 {
					cuts = []int{i}
				}
				got := maskText(t, s, in, cuts...)
				if i < 0 {
					want = got
					if !strings.HasPrefix(got, around[0]) || !s.HasPlaceholder([]byte(got)) {
						t.Errorf("%s: %q -> %q", name, in, got)
					}
				}
				if got != want {
					t.Fatalf("%s: split at %d of %q: %q, whole %q", name, i, in, got, want)
				}
			}
		}
	}
}

func TestRestore(t *testing.T) {
	s := newScope(t)
	shape := compile(t, secretRules()...)
	stored := `{"metadata":{"name":"a"},"data":{"a":"` + b64("first-secret") + `","b":"` + b64("second-secret") + `"},"spec":{"env":[{"name":"A","value":"x first-secret y"}]}}`
	masked, err := maskJSON(t, s, shape, true, stored)
	if err != nil {
		t.Fatal(err)
	}
	got, n, err := s.Restore([]byte(masked), shape, []byte(stored))
	if err != nil || string(got) != stored || n != 3 {
		t.Fatalf("restored %d: %v\n%s\n%s", n, err, got, stored)
	}
	pa := b64(s.Placeholder([]byte("first-secret")))
	for _, bad := range []string{
		`{"data":{"b":"` + pa + `"}}`,
		`{"data":{"c":"` + pa + `"}}`,
		`{"metadata":{"annotations":{"x":"` + pa + `"}}}`,
		`{"stringData":{"a":"` + s.Placeholder([]byte("first-secret")) + `"}}`,
		`{"data":{"a":"` + b64("x"+s.Placeholder([]byte("first-secret"))) + `"}}`,
		`{"data":{"a":"` + b64(s.e.Scope("other").Placeholder([]byte("first-secret"))) + `"}}`,
		`{"` + s.Placeholder([]byte("first-secret")) + `":1}`,
	} {
		var pe *PlaceholderError
		if _, _, err := s.Restore([]byte(bad), shape, []byte(stored)); !errors.As(err, &pe) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	patch := `[{"op":"replace","path":"/data/a","value":"` + pa + `"}]`
	got, n, err = s.Restore([]byte(patch), shape, []byte(stored))
	if err != nil || n != 1 || !strings.Contains(string(got), b64("first-secret")) {
		t.Fatalf("%s %v", got, err)
	}
}
