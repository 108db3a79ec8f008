package recording

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"gatebook/internal/access"
)

// Openings, ends and leaves are written as encoding/json writes them. What is in their operations, decisions and outcomes is
// package access's to test.
func TestAppendedJSON(t *testing.T) {
	refused := &access.Refused{Code: access.CodeDenied, Message: "<no>"}
	for i, v := range []any{
		&Opening{}, &Opening{Change: true}, &Opening{Refused: refused}, &Opening{Approval: &access.Approval{ID: "a"}, Change: true, Refused: refused},
		&Closing{}, &Closing{Outcome: access.Outcome{Code: 200, Truncated: "it was cut"}}, &Leaf{},
	} {
		check(t, i, v)
	}
	for i := range reflect.TypeFor[Leaf]().NumField() { // each field alone, and with those before it
		alone, all := Leaf{}, Leaf{}
		set(reflect.ValueOf(&alone).Elem().Field(i))
		for j := range i + 1 {
			set(reflect.ValueOf(&all).Elem().Field(j))
		}
		check(t, i, &alone)
		check(t, i, &all)
	}
}

func check(t *testing.T, i int, v any) {
	t.Helper()
	want, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	switch v := v.(type) {
	case *Opening:
		got, err = v.append(nil)
	case *Closing:
		got, err = v.append(nil)
	case *Leaf:
		got = v.append(nil)
	}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%T %d: %v\n got %s\nwant %s", v, i, err, got, want)
	}
}

func set(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("é\"<\xff")
	case reflect.Int, reflect.Int64:
		v.SetInt(-7)
	case reflect.Uint64:
		v.SetUint(1 << 63)
	case reflect.Array:
		v.Index(1).SetUint(200)
	case reflect.Struct:
		v.Set(reflect.ValueOf(time.Unix(1, 500).UTC()))
	}
}
