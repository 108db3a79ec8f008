package policy

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"gatebook/internal/access"
)

// protocolKubernetes is the protocol whose operations have resources, and fields that are read late.
const protocolKubernetes = "kubernetes"

// protocolPostgres is the protocol whose operations are many and small, so that decisions on them are remembered.
const protocolPostgres = "postgres"

// Facts is what a rule sees of any operation, as the variable operation.
type Facts struct {
	// Verb in the protocol's own words, such as get, create, deletecollection.
	Verb string `json:"verb"`
	// Command is the exact operation in the words of the protocol's usual client, such as
	// "kubectl delete namespace team-a".
	Command string `json:"command"`
	// Time is when the operation arrived.
	Time time.Time `json:"time"`
	// Uninspectable lists the fields that could not be read. They are unknown to a rule that uses them.
	Uninspectable []string `json:"uninspectable,omitempty"`
}

// variable is one top-level name that a condition may use. A protocol of "" makes it visible to every rule.
type variable struct {
	name     string
	protocol string
	goType   reflect.Type
}

func variables() []variable {
	return []variable{
		{"principal", "", reflect.TypeFor[access.Principal]()},
		{"target", "", reflect.TypeFor[access.Target]()},
		{"session", "", reflect.TypeFor[access.SessionID]()},
		{"client", "", reflect.TypeFor[access.Client]()},
		{"operation", "", reflect.TypeFor[Facts]()},
		{"kubernetes", protocolKubernetes, reflect.TypeFor[access.Kubernetes]()},
		{"model", "model", reflect.TypeFor[access.Model]()},
		{"git", "git", reflect.TypeFor[access.Git]()},
		{"sql", protocolPostgres, reflect.TypeFor[access.SQL]()},
		{"web", "web", reflect.TypeFor[access.Web]()},
	}
}

// detailName is the variable that holds what a protocol tells of its operations.
func detailName(protocol string) string {
	if protocol == protocolPostgres {
		return "sql"
	}
	return protocol
}

// schema is the types of the variables, made from the Go structs: a field's name is its JSON tag's. It is the
// provider and the adapter of types to CEL. It never changes once made.
type schema struct {
	types.Provider
	adapter types.Adapter
	structs map[string]*structType
	goTypes map[reflect.Type]*structType
}

type structType struct {
	name   string
	cel    *types.Type
	fields map[string]*field
	order  []string
}

type field struct {
	name  string
	typ   *types.Type
	child *structType // the type of the field, where it is a struct
	each  *structType // the type of its elements, where it is a list of structs
	get   *types.FieldType
}

func newSchema(p types.Provider, a types.Adapter) (*schema, error) {
	s := &schema{Provider: p, adapter: a, structs: map[string]*structType{}, goTypes: map[reflect.Type]*structType{}}
	for _, v := range variables() {
		if v.goType.Kind() == reflect.Struct {
			if _, err := s.add(v.goType); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

func (s *schema) add(t reflect.Type) (*structType, error) {
	if st := s.goTypes[t]; st != nil {
		return st, nil
	}
	st := &structType{name: t.Name(), cel: types.NewObjectType(t.Name()), fields: map[string]*field{}}
	s.goTypes[t], s.structs[st.name] = st, st
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		f := &field{name: name}
		if err := s.describe(f, t, i); err != nil {
			return nil, fmt.Errorf("field %s of %s: %w", name, st.name, err)
		}
		st.fields[name] = f
		st.order = append(st.order, name)
	}
	return st, nil
}

// describe gives f its CEL type and the way to its value.
func (s *schema) describe(f *field, owner reflect.Type, index int) error {
	t := owner.Field(index).Type
	ptr := t.Kind() == reflect.Pointer
	if ptr {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		f.typ = types.TimestampType
	case t.Kind() == reflect.Struct:
		child, err := s.add(t)
		if err != nil {
			return err
		}
		f.typ, f.child = child.cel, child
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		child, err := s.add(t.Elem())
		if err != nil {
			return err
		}
		f.typ, f.each = types.NewListType(child.cel), child
	default:
		if f.typ = celType(t); f.typ == nil {
			return fmt.Errorf("no CEL type for %s", t)
		}
	}
	f.get = &types.FieldType{
		Type:    f.typ,
		IsSet:   func(target any) bool { return isSet(fieldOf(target, owner, index)) },
		GetFrom: func(target any) (any, error) { return value(fieldOf(target, owner, index), f.name) },
	}
	return nil
}

func celType(t reflect.Type) *types.Type {
	switch t.Kind() {
	case reflect.String:
		return types.StringType
	case reflect.Bool:
		return types.BoolType
	case reflect.Int64:
		return types.IntType
	case reflect.Interface:
		return types.DynType
	case reflect.Slice:
		if e := celType(t.Elem()); e != nil {
			return types.NewListType(e)
		}
	case reflect.Map:
		if e := celType(t.Elem()); e != nil && t.Key().Kind() == reflect.String {
			return types.NewMapType(types.StringType, e)
		}
	}
	return nil
}

func fieldOf(target any, owner reflect.Type, index int) reflect.Value {
	v := reflect.ValueOf(target)
	if v.Kind() != reflect.Pointer || v.Type().Elem() != owner || v.IsNil() {
		return reflect.Value{}
	}
	return v.Elem().Field(index)
}

// isSet is has(): a list or map with something in it, anything else that is not its zero value.
func isSet(v reflect.Value) bool {
	if !v.IsValid() {
		return false
	}
	switch v.Kind() {
	case reflect.Map, reflect.Slice:
		return v.Len() > 0
	}
	return !v.IsZero()
}

// value is what CEL computes with. A struct that is not there is an error, so that a condition that forgot to ask
// has() fails instead of comparing with nothing.
func value(v reflect.Value, name string) (any, error) {
	if !v.IsValid() {
		return nil, fmt.Errorf("no such field: %s", name)
	}
	switch v.Kind() {
	case reflect.String:
		return v.String(), nil
	case reflect.Pointer:
		if v.IsNil() {
			return nil, fmt.Errorf("there is no %s in this operation", name)
		}
		return v.Interface(), nil
	case reflect.Struct:
		if t, ok := v.Interface().(time.Time); ok {
			return t, nil
		}
		return v.Addr().Interface(), nil
	}
	return v.Interface(), nil
}

// FindStructType implements types.Provider.
func (s *schema) FindStructType(name string) (*types.Type, bool) {
	if st, ok := s.structs[name]; ok {
		return types.NewTypeTypeWithParam(st.cel), true
	}
	return s.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (s *schema) FindStructFieldNames(name string) ([]string, bool) {
	if st, ok := s.structs[name]; ok {
		return st.order, true
	}
	return s.Provider.FindStructFieldNames(name)
}

// FindStructFieldType implements types.Provider.
func (s *schema) FindStructFieldType(name, fieldName string) (*types.FieldType, bool) {
	if st, ok := s.structs[name]; ok {
		if f, ok := st.fields[fieldName]; ok {
			return f.get, true
		}
		return nil, false
	}
	return s.Provider.FindStructFieldType(name, fieldName)
}

// NewValue implements types.Provider. Conditions cannot make values of the schema's types.
func (s *schema) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if _, ok := s.structs[name]; ok {
		return types.NewErr("%s cannot be made in a condition", name)
	}
	return s.Provider.NewValue(name, fields)
}

// install is the option that gives an environment the schema and the variables of one protocol.
func (s *schema) install(protocol string) []cel.EnvOption {
	out := []cel.EnvOption{cel.CustomTypeProvider(s), cel.CustomTypeAdapter(s)}
	for _, v := range variables() {
		if v.protocol != "" && v.protocol != protocol {
			continue
		}
		t := celType(v.goType)
		if st := s.goTypes[v.goType]; st != nil {
			t = st.cel
		}
		out = append(out, cel.Variable(v.name, t))
	}
	return out
}

// prefix cuts a dotted path down to the part that the schema knows, such as kubernetes.object for
// kubernetes.object[0].x. Below a map any key is known. It is empty where not even the variable is.
func (s *schema) prefix(path string) []string {
	parts := strings.Split(path, ".")
	var st *structType
	open := false
	for _, v := range variables() {
		if v.name == parts[0] {
			st, open = s.goTypes[v.goType], true
		}
	}
	if !open {
		return nil
	}
	n := 1
	for inMap := false; n < len(parts); n++ {
		name := parts[n]
		if inMap {
			if name == "" || strings.ContainsAny(name, "[]\"'") {
				break
			}
			continue
		}
		if st == nil || st.fields[name] == nil {
			break
		}
		f := st.fields[name]
		st, inMap = f.child, f.typ.Kind() == types.MapKind
		if st == nil && !inMap {
			n++
			break
		}
	}
	return parts[:n]
}
