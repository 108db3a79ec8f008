package mask

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawObject makes a Secret with some values, an annotation that repeats it, and a password inside other text.
func drawObject(t *rapid.T) string {
	secret := rapid.OneOf(rapid.StringMatching(`[ -~]{1,20}`), rapid.StringMatching(`[!-~é😀]{8,30}\n?`), rapid.StringMatching(`[0-9]{1,12}`))
	data, text := map[string]any{}, map[string]any{}
	for i := range rapid.IntRange(0, 4).Draw(t, "keys") {
		data[fmt.Sprintf("k%d", i)] = b64(secret.Draw(t, "value"))
		text[fmt.Sprintf("k%d", i)] = secret.Draw(t, "text")
	}
	if rapid.Bool().Draw(t, "odd") {
		text["number"], text["bool"], text["null"], text["list"] = 123456789, true, nil, []any{"a", map[string]any{"b": secret.Draw(t, "leaf")}}
	}
	inner, err := json.Marshal(map[string]any{"data": data, "stringData": text, "kind": "Secret<>"})
	if err != nil {
		t.Fatal(err)
	}
	env := []any{}
	for _, v := range text {
		if s, ok := v.(string); ok {
			env = append(env, map[string]any{"name": fmt.Sprint("e", len(env)), "value": "url://" + s + "@host"})
		}
	}
	doc, err := json.MarshalIndent(map[string]any{
		"metadata": map[string]any{"name": "x", "annotations": map[string]any{"kubectl.kubernetes.io/last-applied-configuration": string(inner) + "\n", "note": rapid.StringMatching(`[ -~]{0,20}`).Draw(t, "note")}},
		"data":     data, "stringData": text, "spec": map[string]any{"env": env},
	}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// TestRestoreGivesBack: what was masked and comes back unchanged is the original, byte for byte; with one value
// changed, only that differs.
func TestRestoreGivesBack(t *testing.T) {
	shape, err := Compile(secretRules())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		e, err := New(Options{Key: testKey})
		if err != nil {
			t.Fatal(err)
		}
		s := e.Scope("s1")
		stored := drawObject(t)
		known := rapid.Bool().Draw(t, "known")
		shown := ""
		for range 2 { // the second time all values are known from the start
			var out bytes.Buffer
			w := s.JSON(&out, shape, known)
			write(t, w, stored)
			closeIt(t, w)
			shown = out.String()
		}
		back, n, err := s.Restore([]byte(shown), shape, []byte(stored))
		if err != nil || string(back) != stored {
			t.Fatalf("stored\n%s\nshown\n%s\nrestored %d, %v\n%s", stored, shown, n, err, back)
		}
		if strings.Contains(shown, Prefix) {
			other := e.Scope("s2")
			var pe *PlaceholderError
			if _, _, err := other.Restore([]byte(shown), shape, []byte(stored)); !errors.As(err, &pe) {
				t.Fatalf("another session's placeholders: %v", err)
			}
			if _, _, err := s.Restore([]byte(shown), shape, nil); !errors.As(err, &pe) {
				t.Fatalf("nothing stored: %v", err)
			}
		}
	})
}

func TestRestoreCases(t *testing.T) {
	s := newScope(t)
	shape := compile(t, append(secretRules(), Rule{Path: "spec.pin", Encoding: Text})...)
	a, b := b64("first-secret"), b64("second-secret")
	p := s.Placeholder([]byte("first-secret"))
	pa, pb := b64(p), b64(s.Placeholder([]byte("second-secret")))
	var f face
	pin := string(s.numberOf(&f, s.e.digestOf([]byte("123456"))))
	stored := `{"data":{"a":"` + a + `","b":"` + b + `","slash/key":"` + a + `"},"spec":{"pin":123456,"list":[{"name":"x","value":"` + a + `"},{"name":"y","value":"plain"}],"url":"https://me:first-secret@host/"}}`
	s.e.Learn([]byte("first-secret"))
	nested := func(inner string) string {
		return `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":` + quote(inner) + `}}}`
	}
	for name, c := range map[string]struct{ doc, want string }{
		"whole":                  {`{"data":{"a":"` + pa + `","b":"` + pb + `"}}`, `{"data":{"a":"` + a + `","b":"` + b + `"}}`},
		"one changed":            {`{"data":{"a":"` + pa + `","b":"bmV3"}}`, `{"data":{"a":"` + a + `","b":"bmV3"}}`},
		"escaped":                {`{"d\u0061ta":{"a":"\u005a` + pa[1:] + `"}}`, `{"d\u0061ta":{"a":"` + a + `"}}`},
		"embedded known":         {`{"spec":{"url":"https://me:` + p + `@host/"}}`, `{"spec":{"url":"https://me:first-secret@host/"}}`},
		"number":                 {`{"spec":{"pin":` + pin + `}}`, `{"spec":{"pin":123456}}`},
		"nested from the object": {nested(`{"data":{"a":"` + pa + `"}}`), nested(`{"data":{"a":"` + a + `"}}`)},
		"JSON Patch":             {`[{"op":"test","path":"/data/slash~1key","value":"` + pa + `"},{"op":"replace","path":"/data","value":{"b":"` + pb + `"}}]`, `[{"op":"test","path":"/data/slash~1key","value":"` + a + `"},{"op":"replace","path":"/data","value":{"b":"` + b + `"}}]`},
		"nothing to restore":     {`{"data":{"c":"bmV3"}}`, `{"data":{"c":"bmV3"}}`},
	} {
		got, _, err := s.Restore([]byte(c.doc), shape, []byte(stored))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, c.want)
		}
	}
	// Lists: by name, or by index.
	listed := strings.ReplaceAll(stored, `"value":"`+a, `"value":"first-secret`)
	for _, doc := range []string{`{"spec":{"list":[{"name":"new"},{"value":"` + p + `","name":"x"}]}}`, `[{"op":"replace","path":"/spec/list/0/value","value":"` + p + `"}]`} {
		got, n, err := s.Restore([]byte(doc), shape, []byte(listed))
		if err != nil || n != 1 || string(got) != strings.ReplaceAll(doc, p, "first-secret") {
			t.Errorf("%s: %v %s", doc, err, got)
		}
	}
	for name, doc := range map[string]string{
		"another key":          `{"data":{"b":"` + pa + `"}}`,
		"no such key":          `{"data":{"new":"` + pa + `"}}`,
		"another encoding":     `{"data":{"a":"` + p + `"}}`,
		"cut":                  `{"data":{"a":"` + b64(p[:25]) + `"}}`,
		"in more text":         `{"data":{"a":"` + b64("x"+p) + `"}}`,
		"in more text, 2":      `{"spec":{"url":"` + p + `"}}`,
		"a name":               `{"metadata":{"name":"` + p + `"}}`,
		"a key":                `{"metadata":{"labels":{"` + p + `":"x"}}}`,
		"escaped elsewhere":    `{"metadata":{"labels":{"x":"\u0067bm-` + p[4:] + `"}}}`,
		"hexadecimal":          `{"metadata":{"labels":{"x":"` + fmt.Sprintf("%x", p) + `"}}}`,
		"nested, moved":        nested(`{"data":{"b":"` + pa + `"}}`),
		"nested, not JSON":     nested(`{"data":{"a":"` + pa + `"`),
		"nested elsewhere":     `{"x":` + quote(`{"data":{"a":"`+pa+`"}}`) + `}`,
		"number moved":         `{"spec":{"pan":` + pin + `}}`,
		"JSON Patch, moved":    `[{"op":"add","path":"/data/c","value":"` + pa + `"}]`,
		"JSON Patch, path":     `[{"op":"remove","path":"/data/` + p + `"}]`,
		"JSON Patch, no place": `[{"op":"add","path":"/spec/list/-","value":"` + p + `"}]`,
	} {
		got, _, err := s.Restore([]byte(doc), shape, []byte(stored))
		var pe *PlaceholderError
		if !errors.As(err, &pe) {
			t.Errorf("%s: %v %s", name, err, got)
		} else if strings.Contains(err.Error(), "first-secret") {
			t.Errorf("%s: the error tells: %v", name, err)
		}
	}
	if _, _, err := s.Restore([]byte(`{"data":{"a":"`+pa), shape, []byte(stored)); err == nil {
		t.Error("not JSON: no error")
	}
	doc := []byte(`{"data":{"a":"bmV3"}}`)
	if got, n, err := s.Restore(doc, shape, []byte(stored)); err != nil || n != 0 || &got[0] != &doc[0] {
		t.Errorf("without placeholders: %v %d, or a copy", err, n)
	}
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// FuzzRestore: never a panic, and what comes back holds no placeholder but what is stored.
func FuzzRestore(f *testing.F) {
	p := newScope(f).Placeholder([]byte("first-secret"))
	for _, doc := range []string{`{"data":{"a":"` + b64(p) + `"}}`, `[{"op":"add","path":"/data/a","value":"` + b64(p) + `"}]`, `{"a":[{"name":"x","v":"` + p + `"}]}`, quote(quote(p))} {
		f.Add([]byte(doc), []byte(`{"data":{"a":"`+b64("first-secret")+`"}}`))
	}
	f.Fuzz(func(t *testing.T, doc, stored []byte) {
		if len(doc)+len(stored) > 1<<12 {
			return
		}
		s := newScope(t)
		got, _, err := s.Restore(doc, compile(t, secretRules()...), stored)
		if err == nil && s.HasPlaceholder(got) && !s.HasPlaceholder(stored) {
			t.Fatalf("%q with %q stored gives %q", doc, stored, got)
		}
	})
}

// FuzzText: each split gives the same as the whole, and what is not known passes as it is.
func FuzzText(f *testing.F) {
	for _, enc := range encoders {
		f.Add([]byte(enc(canarySample)), []byte(canarySample), uint16(9))
	}
	f.Fuzz(func(t *testing.T, text, secret []byte, cut uint16) {
		if len(text) > 1<<12 || len(secret) > 1<<11 {
			return
		}
		s := newScope(t)
		if got := maskText(t, s, string(text)); got != string(text) {
			t.Fatalf("%q became %q, and nothing was known", text, got)
		}
		s.e.Learn(secret)
		whole := maskText(t, s, string(text))
		c := int(cut) % (len(text) + 1)
		if got := maskText(t, s, string(text), c, c+(len(text)-c)/3); got != whole {
			t.Fatalf("%q with %q known, split at %d: %q, whole %q", text, secret, c, got, whole)
		}
		if v := bytes.TrimSpace(secret); len(v) >= 8 && !filler(v[:8]) && bytes.Contains([]byte(whole), v) && s.e.Stats().Patterns == 1 {
			t.Fatalf("%q with %q known: %q", text, secret, whole)
		}
	})
}
