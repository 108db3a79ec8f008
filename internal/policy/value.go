package policy

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// NativeToValue implements types.Adapter: the schema's structs, and JSON however it was decoded.
func (s *schema) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case ref.Val:
		return v
	case map[string]any:
		return types.NewStringInterfaceMap(s, v)
	case []any:
		return types.NewDynamicList(s, v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return types.Int(n)
		}
		f, err := v.Float64()
		if err != nil {
			return types.NewErr("not a number: %s", v)
		}
		return types.Double(f)
	}
	switch t := reflect.TypeOf(v); {
	case t == nil:
	case t.Kind() == reflect.Pointer:
		if st := s.goTypes[t.Elem()]; st != nil {
			return &object{st: st, schema: s, v: v}
		}
	case t.Kind() == reflect.Slice && s.goTypes[t.Elem()] != nil:
		return types.NewDynamicList(s, v)
	case s.goTypes[t] != nil: // an element of such a list
		p := reflect.New(t)
		p.Elem().Set(reflect.ValueOf(v))
		return &object{st: s.goTypes[t], schema: s, v: p.Interface()}
	}
	return s.adapter.NativeToValue(v)
}

// object is a struct of the schema as a whole: comparable, and indexable where its type was lost to dyn.
type object struct {
	st     *structType
	schema *schema
	v      any
}

func (o *object) Type() ref.Type { return o.st.cel }
func (o *object) Value() any     { return o.v }

func (o *object) ConvertToNative(t reflect.Type) (any, error) {
	if reflect.TypeOf(o.v).AssignableTo(t) {
		return o.v, nil
	}
	return nil, fmt.Errorf("%s cannot be converted to %s", o.st.name, t)
}

func (o *object) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case o.st.cel:
		return o
	case types.TypeType:
		return o.st.cel
	}
	return types.NewErr("%s cannot be converted to %s", o.st.name, t.TypeName())
}

func (o *object) Equal(other ref.Val) ref.Val {
	p, ok := other.(*object)
	return types.Bool(ok && reflect.DeepEqual(o.v, p.v))
}

// IsSet implements traits.FieldTester.
func (o *object) IsSet(name ref.Val) ref.Val {
	f := o.field(name)
	if f == nil {
		return types.NewErr("no such field: %v", name.Value())
	}
	return types.Bool(f.get.IsSet(o.v))
}

// Get implements traits.Indexer.
func (o *object) Get(name ref.Val) ref.Val {
	f := o.field(name)
	if f == nil {
		return types.NewErr("no such field: %v", name.Value())
	}
	v, err := f.get.GetFrom(o.v)
	if err != nil {
		return types.WrapErr(err)
	}
	return o.schema.NativeToValue(v)
}

func (o *object) field(name ref.Val) *field {
	s, ok := name.(types.String)
	if !ok {
		return nil
	}
	return o.st.fields[string(s)]
}
