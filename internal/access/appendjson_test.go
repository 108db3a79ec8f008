package access

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What AppendJSON writes is what encoding/json writes, whatever is in which field: a field that it forgets is seen, since
// every field gets a value.
func TestAppendJSONIsEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		full := rapid.Float64Range(0, 1).Draw(t, "full")
		for _, c := range []struct {
			value  any
			append func(v any) ([]byte, error)
		}{
			{&Operation{}, func(v any) ([]byte, error) { return v.(*Operation).AppendJSON(nil) }},
			{&Decision{}, func(v any) ([]byte, error) { return v.(*Decision).AppendJSON(nil) }},
			{&Outcome{}, func(v any) ([]byte, error) { return v.(*Outcome).AppendJSON(nil) }},
		} {
			fill(reflect.ValueOf(c.value).Elem(), r, full)
			want, err := json.Marshal(c.value)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.append(c.value)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%T: %v\n got %s\nwant %s", c.value, err, got, want)
			}
		}
	})
}

// fill gives a value to every field, or to as many as full says.
func fill(v reflect.Value, r *rand.Rand, full float64) {
	if r.Float64() > full {
		return
	}
	switch v.Interface().(type) {
	case time.Time:
		zone := time.FixedZone("", r.IntN(20)*1800)
		v.Set(reflect.ValueOf(time.Unix(r.Int64N(1<<33), r.Int64N(2)*r.Int64N(1e9)).In(zone)))
		return
	case map[string]any:
		v.Set(reflect.ValueOf(map[string]any{"b": text(r), "a": []any{1.5, nil, map[string]any{text(r): true}}}))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text(r))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(r.Int64() - r.Int64())
	case reflect.Uint8: // an effect, a risk, a rung
		v.SetUint(uint64(r.IntN(3)))
	case reflect.Array: // a digest
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(r.IntN(256)))
		}
	case reflect.Interface:
		v.Set(reflect.ValueOf(text(r)))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), r, full)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 4))
		for i := range v.Len() {
			fill(v.Index(i), r, full)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range r.IntN(4) {
			e := reflect.New(v.Type().Elem()).Elem()
			fill(e, r, full)
			v.SetMapIndex(reflect.ValueOf(text(r)), e)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), r, full)
		}
	default:
		panic(fmt.Sprintf("no values of %s are made here", v.Type()))
	}
}

// text is words with all that JSON writes in its own way.
func text(r *rand.Rand) string {
	parts := []string{"", "a", "kubectl get pods", "\"", "\\", "<b>&", "\n\r\t\b\f\x00\x1f\x7f", "é€😀", "\u2028\u2029\ufffd", "\xff", "\xe2\x80", "\xed\xa0\x80"}
	return parts[r.IntN(len(parts))] + parts[r.IntN(len(parts))] + parts[r.IntN(len(parts))]
}
