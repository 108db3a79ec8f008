package policy

import (
	"encoding/binary"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"

	"gatebook/internal/access"
)

// memory keeps decisions on operations of one protocol by all that the protocol's rules look at: an operation that looks the
// same to every rule is decided the same. It is for protocols with many small operations, such as a database's statements;
// what is fetched late, or was not readable, is not remembered. It is safe for concurrent use.
type memory struct {
	// parts are the fields that conditions name.
	parts []part

	mu         sync.RWMutex
	young, old map[string]access.Decision // two generations, so that what is used stays
}

// part is a field of one of the variables, or all of it where index is -1.
type part struct {
	variable string
	index    int
}

const (
	// remembered bounds each generation, and maxKeyBytes what is worth remembering.
	remembered  = 4096
	maxKeyBytes = 4 << 10
)

// newMemory looks for what the rules read.
func newMemory(rules []*rule) *memory {
	m := &memory{young: map[string]access.Decision{}}
	for _, r := range rules {
		if r.ast == nil {
			continue
		}
		for _, p := range partsOf(r.ast) {
			if !slices.Contains(m.parts, p) {
				m.parts = append(m.parts, p)
			}
		}
	}
	return m
}

// partsOf lists what a condition reads, as lateFields does: by name, or by taking a variable whole.
func partsOf(a *cel.Ast) []part {
	var out []part
	ast.PostOrderVisit(ast.NavigateAST(a.NativeRep()), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.IdentKind {
			return
		}
		i := slices.IndexFunc(variables(), func(v variable) bool { return v.name == strings.TrimPrefix(e.AsIdent(), ".") })
		if i < 0 {
			return
		}
		v := variables()[i]
		p := part{v.name, -1}
		if nav, ok := e.(ast.NavigableExpr); ok && v.goType.Kind() == reflect.Struct {
			if parent, ok := nav.Parent(); ok && parent.Kind() == ast.SelectKind {
				p.index = fieldIndex(v.goType, parent.AsSelect().FieldName())
			}
		}
		out = append(out, p)
	}))
	return out
}

func fieldIndex(t reflect.Type, name string) int {
	for i := range t.NumField() {
		if tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); tag == name {
			return i
		}
	}
	return -1
}

// key is what the rules see of an operation; false where it is not to be remembered.
func (m *memory) key(b []byte, in *input) ([]byte, bool) {
	op := in.op
	if len(op.Uninspectable) > 0 || len(in.late) > 0 || len(in.blind) > 0 {
		return b, false
	}
	b = appendString(b, op.Verb)
	for _, p := range m.parts {
		v, ok := in.ResolveName(p.variable)
		if !ok {
			return b, false
		}
		r := reflect.ValueOf(v)
		if r.Kind() == reflect.Pointer {
			r = r.Elem()
		}
		if p.index >= 0 {
			r = r.Field(p.index)
		}
		if b, ok = appendValue(b, r); !ok || len(b) > maxKeyBytes {
			return b, false
		}
	}
	return b, true
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendValue writes a value so that no other gives the same bytes. It reports false for what is not to be compared, such as a
// whole object, or would hardly come again, such as a time.
func appendValue(b []byte, v reflect.Value) ([]byte, bool) {
	ok := true
	switch v.Kind() {
	case reflect.String:
		return appendString(b, v.String()), true
	case reflect.Bool:
		if v.Bool() {
			return append(b, 1), true
		}
		return append(b, 0), true
	case reflect.Int, reflect.Int64:
		return binary.AppendVarint(b, v.Int()), true
	case reflect.Slice:
		b = binary.AppendUvarint(b, uint64(v.Len()))
		for i := 0; i < v.Len() && ok; i++ {
			b, ok = appendValue(b, v.Index(i))
		}
		return b, ok
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return b, false
		}
		for i := 0; i < v.NumField() && ok; i++ {
			b, ok = appendValue(b, v.Field(i))
		}
		return b, ok
	case reflect.Pointer:
		if v.IsNil() {
			return append(b, 0), true
		}
		return appendValue(append(b, 1), v.Elem())
	case reflect.Map:
		texts, is := v.Interface().(map[string]string)
		if !is {
			return b, false
		}
		b = binary.AppendUvarint(b, uint64(len(texts)))
		for _, k := range slices.Sorted(maps.Keys(texts)) {
			b = appendString(appendString(b, k), texts[k])
		}
		return b, true
	}
	return b, false
}

func (m *memory) recall(key []byte) (access.Decision, bool) {
	m.mu.RLock()
	d, ok := m.young[string(key)]
	fresh := ok
	if !ok {
		d, ok = m.old[string(key)]
	}
	m.mu.RUnlock()
	if ok && !fresh {
		m.keep(key, d)
	}
	return d, ok
}

func (m *memory) keep(key []byte, d access.Decision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= remembered {
		m.old, m.young = m.young, map[string]access.Decision{}
	}
	m.young[string(key)] = d
}
