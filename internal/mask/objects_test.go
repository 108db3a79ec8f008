package mask

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// objects masks doc in pieces cut at the given places, and gives what came out after each.
func objects(t testing.TB, s *Scope, doc string, flush bool, cuts ...int) (string, []int) {
	t.Helper()
	var out bytes.Buffer
	var after []int
	w := s.Objects(&out, compile(t, secretRules()...), "items", "rows")
	at := 0
	for _, c := range append(cuts, len(doc)) {
		if _, err := w.Write([]byte(doc[at:c])); err != nil {
			t.Fatal(err)
		}
		if flush {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		after, at = append(after, out.Len()), c
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String(), after
}

const copied = "correct-horse-battery"

// early is an object that shows its value, in every way there is, before the field that makes it known.
func early(name string) string {
	nested, _ := json.Marshal(`{"metadata":{"labels":{"` + copied + `":"x ` + copied + `","n":9876543210123}},"data":{"p":"` + b64(copied) + `"}}`)
	return `{"kind":"Secret","cells":["` + name + `","\u0063` + copied[1:] + `",9876543210123],"metadata":{"name":"` + name + `","annotations":{"` + copied + `":"it is ` + copied + `","b":"` + b64("it is "+copied) +
		`","kubectl.kubernetes.io/last-applied-configuration":` + string(nested) + `}},"data":{"p":"` + b64(copied) + `","q":"` + b64("9876543210123") + `"}}`
}

// Nothing of an object shows what its own fields make known, whatever the split; and it goes out with its last byte.
func TestObjects(t *testing.T) {
	for name, doc := range map[string]string{
		"alone": early("a"), "in a list": `{"kind":"List","items":[{"data":{}},` + early("a") + `,` + early("b") + `],"metadata":{}}`,
		"in a table": `{"kind":"Table","rows":[{"cells":["x","` + copied + `"],"object":` + early("a") + `}]}`,
		"watched":    `{"type":"ADDED","object":` + early("a") + "}\n" + `{"type":"ADDED","object":` + early("b") + "}\n",
	} {
		want, _ := objects(t, newScope(t), doc, true)
		for cut := 0; cut < len(doc); cut += 3 {
			got, after := objects(t, newScope(t), doc, true, cut)
			if got != want {
				t.Fatalf("%s, split at %d: %s\nwhole: %s", name, cut, got, want)
			}
			if after[1] != len(got) {
				t.Fatalf("%s, split at %d: %d of %d bytes out after all was in", name, cut, after[1], len(got))
			}
		}
		if way := visible([]byte(want), copied); way != "" || strings.Contains(want, "9876543210123") {
			t.Errorf("%s: %s, in %s", name, way, want)
		}
		for d := json.NewDecoder(strings.NewReader(want)); d.More(); {
			var v any
			if err := d.Decode(&v); err != nil {
				t.Errorf("%s: %v in %s", name, err, want)
				break
			}
		}
	}
}

// The elements of an array are objects only where they are those of a list: what follows an array in an object belongs to it.
func TestObjectsAreWhole(t *testing.T) {
	doc := `{"subsets":[{"a":"` + copied + `"}],"metadata":{"items":[{"a":"` + copied + `"}]},"x":{"items":["` + copied + `"]},"data":{"p":"` + b64(copied) + `"}}`
	for cut := range doc {
		got, after := objects(t, newScope(t), doc, true, cut)
		if after[0] > 0 || strings.Contains(got, copied) {
			t.Fatalf("split at %d: %d bytes went out before the end, %s", cut, after[0], got)
		}
	}
}

// Of a long list what is whole goes out while the rest comes, some batches at a time, and not too much is held.
func TestObjectsGoOut(t *testing.T) {
	var doc strings.Builder
	doc.WriteString(`{"items":[`)
	for i := range 9000 {
		if i > 0 {
			doc.WriteByte(',')
		}
		fmt.Fprintf(&doc, `{"metadata":{"annotations":{"a":"it is value-number-%06d"}},"data":{"p":%q}}`, i, b64(fmt.Sprintf("value-number-%06d", i)))
	}
	doc.WriteString("]}")
	whole := doc.String()
	var cuts []int
	for i := 32 << 10; i < len(whole); i += 32 << 10 {
		cuts = append(cuts, i)
	}
	got, after := objects(t, newScope(t), whole, false, cuts...)
	if strings.Contains(got, "value-number") || !json.Valid([]byte(got)) {
		t.Error("a value is in the list, or it is none")
	}
	for i, n := range after[:len(after)-1] {
		if held := cuts[i] - n; held > batch+3*step+len(got)-len(whole) && i > 10 {
			t.Fatalf("%d bytes in, %d out", cuts[i], n)
		}
	}
}

// An object that is longer than can be held goes out in part; what is known is hidden in its rest, also in a string that is
// as long, and what it makes known after that.
func TestObjectsTooLong(t *testing.T) {
	filling := strings.Repeat("filling ", maxAhead/8)
	for name, doc := range map[string]string{
		"string":  `{"data":{"p":"` + b64(copied) + `"},"a":"` + filling + copied + filling + `","z":"` + copied + `"}`,
		"strings": `{"data":{"p":"` + b64(copied) + `"},"a":[` + strings.Repeat(`"filling",`, maxAhead/10) + `"` + copied + `"],"z":"` + copied + `"}`,
		"secret":  `{"data":{"p":"` + b64(copied) + `","q":"` + strings.Repeat("QUFB", maxAhead/2) + `"},"z":"` + copied + `"}`,
	} {
		var cuts []int
		for i := 32 << 10; i < len(doc); i += 32 << 10 {
			cuts = append(cuts, i)
		}
		got, _ := objects(t, newScope(t), doc, false, cuts...)
		if strings.Contains(got, copied) || !json.Valid([]byte(got)) || name != "secret" && len(got) < len(doc) {
			t.Errorf("%s: %d bytes of %d, %d times in clear", name, len(got), len(doc), strings.Count(got, copied))
		}
	}
}
