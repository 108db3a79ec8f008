package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// reference masks the slow and obvious way: decode, walk, replace. It knows rules by their segments and nothing of the
// automaton, the scanner or offsets.
type reference struct {
	s     *Scope
	rules []Rule
}

func (r reference) mask(doc []byte) ([]any, error) {
	var out []any
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	for {
		var v any
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, r.value(v, nil))
	}
}

func (r reference) rule(path []string) *Rule {
	for i := range r.rules {
		var segments []string
		var cur strings.Builder
		for j := 0; j < len(r.rules[i].Path); j++ {
			switch c := r.rules[i].Path[j]; c {
			case '\\':
				j++
				cur.WriteByte(r.rules[i].Path[j])
			case '.':
				segments = append(segments, cur.String())
				cur.Reset()
			default:
				cur.WriteByte(c)
			}
		}
		segments = append(segments, cur.String())
		if len(segments) > len(path) { // of a longer path a container was masked
			continue
		}
		ok := true
		for k, s := range segments {
			ok = ok && (s == "*" || s == path[k])
		}
		if ok {
			return &r.rules[i]
		}
	}
	return nil
}

func (r reference) value(v any, path []string) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = r.value(x, append(path[:len(path):len(path)], k))
		}
		return v
	case []any:
		for i, x := range v {
			v[i] = r.value(x, append(path[:len(path):len(path)], "\x00"+strconv.Itoa(i))) // an index is no key
		}
		return v
	}
	rule := r.rule(path)
	if rule == nil {
		return v
	}
	switch v := v.(type) {
	case string:
		return r.text(v, rule)
	case json.Number:
		var f face
		return json.Number(r.s.numberOf(&f, r.s.e.digestOf([]byte(v))))
	case bool:
		return r.s.Placeholder([]byte(strconv.FormatBool(v)))
	}
	return v
}

func (r reference) text(v string, rule *Rule) any {
	if v == "" {
		return v
	}
	switch rule.Encoding {
	case Base64:
		if plain, err := base64.StdEncoding.DecodeString(v); err == nil && len(plain) > 0 {
			return base64.StdEncoding.EncodeToString([]byte(r.s.Placeholder(plain)))
		}
	case JSON:
		if docs, err := (reference{r.s, rule.Nested}).mask([]byte(v)); err == nil && strict(v) {
			return docs
		}
	}
	return r.s.Placeholder([]byte(v))
}

// strict reports whether s, valid for encoding/json, is so for RFC 8259 with no unpaired surrogates.
func strict(s string) bool {
	var check func(v any) bool
	check = func(v any) bool {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				if strings.Contains(k, "\ufffd") || !check(x) {
					return false
				}
			}
		case []any:
			for _, x := range v {
				if !check(x) {
					return false
				}
			}
		case string:
			return !strings.Contains(v, "\ufffd")
		}
		return true
	}
	d := json.NewDecoder(strings.NewReader(s))
	for {
		var v any
		if err := d.Decode(&v); err != nil {
			return errors.Is(err, io.EOF)
		}
		if !check(v) {
			return false
		}
	}
}

// parseNested turns what was masked inside strings of JSON into documents, as the reference gives them.
func parseNested(r reference, v any, path []string) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = parseNested(r, x, append(path[:len(path):len(path)], k))
		}
	case []any:
		for i, x := range v {
			v[i] = parseNested(r, x, append(path[:len(path):len(path)], "\x00"+strconv.Itoa(i)))
		}
	case string:
		rule := r.rule(path)
		if rule == nil || rule.Encoding != JSON || v == "" {
			return v
		}
		docs, err := decodeAll(v)
		if err != nil {
			return v
		}
		for i := range docs {
			docs[i] = parseNested(reference{r.s, rule.Nested}, docs[i], nil)
		}
		if docs == nil {
			return []any(nil)
		}
		return docs
	}
	return v
}

func decodeAll(s string) (out []any, err error) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	for {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
}

var referenceSeeds = []string{
	`{"data":{"a":"aHVudGVyMmh1bnRlcjI=","b":"","c":null,"d":12.5e3,"e":[true,"aHVudGVyMmh1bnRlcjI=",{"x":"y"}],"f":"not base64"}}`,
	`{"d\u0061ta":{"a":"aHVudGVy\nMmh1bnRlcjI="},"data":{"a":"eA=="},"items":[{"data":{"q":"eHl6"}},{"stringData":{"a\"b":"\ud83d\ude00 secret"}}]}`,
	`{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"a\":\"aHVudGVyMmh1bnRlcjI=\",\"t\":true},\"k\":\"\\u003c\"}\n"}}}`,
	`{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{broken"}}} {"object":{"data":{"x":"eHl6eHl6"}}}` + "\n" + `[1,2]`,
	`{"rows":[{"object":{"data":{"x":"eHl6eHl6"}},"cells":["a",1]}]}`, `{"data":"eHl6","stringData":[["a"],"b"]}`, `0`, ` `, `"a"`, `{"a":1}{"b":2}`,
	`{"data":{"a":"\ud800"}}`, "{\"data\":{\"a\":\"\xff\"}}", `{"data":{"a":01}}`, `{"data":{"a":1,}}`, `[1 2]`, `{"a" 1}`, `nul`, `{"data":{"a":"x`, "\"\x01\"", `"\x"`, `-`, `1.`, `[`, `]`, `"\u12"`,
}

// FuzzJSON compares with the reference, and each split with the whole.
func FuzzJSON(f *testing.F) {
	for _, s := range referenceSeeds {
		f.Add(s, uint16(7))
	}
	f.Fuzz(func(t *testing.T, doc string, cut uint16) {
		if len(doc) > 1<<12 {
			return
		}
		s := newScope(t)
		rules := secretRules()
		shape := compile(t, rules...)
		got, err := maskJSON(t, s, shape, false, doc)
		c := int(cut) % (len(doc) + 1)
		cutGot, cutErr := maskJSON(t, s, shape, false, doc, c, c+(len(doc)-c)/2)
		if (err == nil) != (cutErr == nil) || err == nil && got != cutGot {
			t.Fatalf("split at %d: %q %v, whole %q %v", c, cutGot, cutErr, got, err)
		}
		r := reference{s, rules}
		want, refErr := r.mask([]byte(doc))
		ok := refErr == nil && utf8.ValidString(doc) && !strings.Contains(doc, `\u`)
		if ok && err != nil || err == nil && refErr != nil {
			t.Fatalf("%q: error %v, reference %v", doc, err, refErr)
		}
		if err != nil {
			return
		}
		docs, err := decodeAll(got)
		if err != nil {
			t.Fatalf("%q became %q: %v", doc, got, err)
		}
		for i := range docs {
			docs[i] = parseNested(r, docs[i], nil)
		}
		if diff := cmp.Diff(want, docs); diff != "" {
			t.Fatalf("%q became %q (-want +got):\n%s", doc, got, diff)
		}
		known, err := maskJSON(t, newScope(t), shape, true, doc)
		if err != nil || !json.Valid([]byte("["+strings.TrimSpace(known)+"]")) && json.Valid([]byte("["+strings.TrimSpace(doc)+"]")) {
			t.Fatalf("%q became %q with known values: %v", doc, known, err)
		}
	})
}

func TestJSONEverySplit(t *testing.T) {
	for _, doc := range referenceSeeds {
		for _, known := range []bool{false, true} {
			shape := compile(t, secretRules()...)
			want, wantErr := maskJSON(t, newScope(t), shape, known, doc)
			for i := 0; i <= len(doc); i++ {
				for _, j := range []int{i, (i + len(doc)) / 2} {
					got, err := maskJSON(t, newScope(t), shape, known, doc, i, j)
					if (err == nil) != (wantErr == nil) || err == nil && got != want {
						t.Fatalf("%q split at %d and %d: %q %v, whole %q %v", doc, i, j, got, err, want, wantErr)
					}
				}
			}
			var cuts []int
			for i := range doc {
				cuts = append(cuts, i)
			}
			if got, err := maskJSON(t, newScope(t), shape, known, doc, cuts...); (err == nil) != (wantErr == nil) || err == nil && got != want {
				t.Fatalf("%q byte by byte: %q %v, whole %q", doc, got, err, want)
			}
		}
	}
}
