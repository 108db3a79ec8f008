package policy

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/reference/policy.md anew")

const reference = "../../docs/reference/policy.md"

// The reference page is made from the comments of the code that reads policies and of the types that they see; this
// test holds the page to them.
func TestReferenceIsTrue(t *testing.T) {
	var out bytes.Buffer
	out.WriteString(referenceHead)
	writeKeys(t, &out)
	writeVariables(t, &out)
	out.WriteString("## Functions\n\n| function | gives | |\n|---|---|---|\n")
	for _, f := range functions() {
		fmt.Fprintf(&out, "| `%s(object)` | %s | %s |\n", f.name, f.result, f.doc)
	}
	out.WriteString(referenceTail)
	if *update {
		if err := os.WriteFile(reference, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(reference)
	if err != nil || !bytes.Equal(have, out.Bytes()) {
		t.Errorf("%s is not what the comments say (%v); run go test ./internal/policy -run Reference -update", reference, err)
	}
}

const referenceHead = `# Policy

A policy is a folder of YAML files. This page lists their keys and what a condition can use;
[docs/design/policy.md](../design/policy.md) says how decisions are made of them, and
[the default policy](../../internal/policy/pack/kubernetes.yaml) is the best example.

Made from the comments of ` + "`internal/policy` and `internal/access`" + `; do not edit.

`

const referenceTail = `
An object is one of those above, such as ` + "`kubernetes.object`" + ` or ` + "`kubernetes.stored`" + `, or any part of one.

Besides these there are CEL's own functions and macros (` + "`has`, `all`, `exists`, `exists_one`, `map`, `filter`, `size`, `startsWith`, `endsWith`, `contains`, `matches`" + `,
the functions of times and durations), optional fields (` + "`object.?spec.?replicas.orValue(1)`" + `), and the extensions
[strings](https://github.com/google/cel-go/blob/v0.31.0/ext/README.md#strings),
[lists](https://github.com/google/cel-go/blob/v0.31.0/ext/README.md#lists),
[sets](https://github.com/google/cel-go/blob/v0.31.0/ext/README.md#sets),
[regex](https://github.com/google/cel-go/blob/v0.31.0/ext/README.md#regex),
[bindings](https://github.com/google/cel-go/blob/v0.31.0/ext/README.md#bindings) and
[two-variable comprehensions](https://github.com/google/cel-go/blob/v0.31.0/ext/README.md#twovarcomprehensions) of cel-go.
`

// writeKeys finds every mapping that the reader decodes, with the comments of its keys.
func writeKeys(t *testing.T, out *bytes.Buffer) {
	titles := map[string]string{"a policy file": "A file", "a rule": "A rule", "approvers": "Approvers of a rule", "a mask": "A mask"}
	order := []string{"a policy file", "a rule", "approvers", "a mask"}
	tables := map[string]string{}
	for _, name := range []string{"document.go", "rule.go"} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		comments := ast.NewCommentMap(fset, f, f.Comments)
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 3 {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "mapping" {
				return true
			}
			what := unquote(t, call.Args[1])
			tables[what] = keyTable(t, comments, call.Args[2].(*ast.CompositeLit))
			return true
		})
	}
	if len(tables) != len(order) {
		t.Fatalf("%d kinds of mapping are read, %d are documented", len(tables), len(order))
	}
	for _, what := range order {
		fmt.Fprintf(out, "## %s\n\n| key | |\n|---|---|\n%s\n", titles[what], tables[what])
	}
}

func keyTable(t *testing.T, comments ast.CommentMap, lit *ast.CompositeLit) string {
	var out strings.Builder
	for _, e := range lit.Elts {
		var doc []string
		for _, c := range comments[e] {
			doc = append(doc, c.Text())
		}
		key := unquote(t, e.(*ast.KeyValueExpr).Key)
		if len(doc) == 0 {
			t.Errorf("key %s has no comment", key)
		}
		fmt.Fprintf(&out, "| `%s` | %s |\n", key, cell(strings.Join(doc, " ")))
	}
	return out.String()
}

func unquote(t *testing.T, e ast.Expr) string {
	s, err := strconv.Unquote(e.(*ast.BasicLit).Value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// cell makes a comment fit into a table.
func cell(s string) string { return strings.ReplaceAll(fold(s), "|", `\|`) }

// writeVariables lists the variables and, type by type, their fields.
func writeVariables(t *testing.T, out *bytes.Buffer) {
	docs := fieldComments(t)
	s := defaultSet(t).schema
	out.WriteString("## Variables\n\nA field that is not known here is an error when the policy is loaded. `has(x.y)` asks whether a field is there; a field that could not be read is unknown, and never counts as absent.\n\n| variable | type | seen by |\n|---|---|---|\n")
	for _, v := range variables() {
		seenBy := "every rule"
		if v.protocol != "" {
			seenBy = "rules of protocol " + v.protocol
		}
		typ := "string"
		if st := s.goTypes[v.goType]; st != nil {
			typ = typeLink(st)
		}
		fmt.Fprintf(out, "| `%s` | %s | %s |\n", v.name, typ, seenBy)
	}
	done := map[string]bool{}
	for _, v := range variables() {
		if st := s.goTypes[v.goType]; st != nil {
			writeType(t, out, docs, st, done)
		}
	}
	out.WriteString("\n")
}

func typeLink(st *structType) string {
	return fmt.Sprintf("[%s](#%s)", st.name, strings.ToLower(st.name))
}

func writeType(t *testing.T, out *bytes.Buffer, docs map[string]string, st *structType, done map[string]bool) {
	if done[st.name] {
		return
	}
	done[st.name] = true
	fmt.Fprintf(out, "\n### %s\n\n| field | type | |\n|---|---|---|\n", st.name)
	for _, name := range st.order {
		f := st.fields[name]
		typ := strings.ReplaceAll(f.typ.String(), "google.protobuf.Timestamp", "timestamp")
		if f.child != nil {
			typ = typeLink(f.child)
		}
		if f.each != nil {
			typ = "list of " + typeLink(f.each)
		}
		fmt.Fprintf(out, "| `%s` | %s | %s |\n", name, typ, cell(docs[st.name+"."+name]))
	}
	for _, name := range st.order {
		f := st.fields[name]
		for _, c := range []*structType{f.child, f.each} {
			if c != nil {
				writeType(t, out, docs, c, done)
			}
		}
	}
}

// fieldComments reads the comments of every struct's fields, by the names of their JSON form.
func fieldComments(t *testing.T) map[string]string {
	out := map[string]string{}
	files, err := filepath.Glob("../access/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files, "schema.go") {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			ts, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if st, ok := ts.Type.(*ast.StructType); ok {
				for _, f := range st.Fields.List {
					if f.Tag == nil {
						continue
					}
					tag, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
					out[ts.Name.Name+"."+tag] = f.Doc.Text()
				}
			}
			return true
		})
	}
	return out
}
