package config

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/reference/config.md anew")

const reference = "../../docs/reference/config.md"

// The reference page is made from the struct's comments; this test holds it to them.
func TestReferenceIsTrue(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	out.WriteString("# Configuration\n\nOne YAML file, given by `gatebook serve --config FILE`; `gatebook config check FILE` says what is wrong with it. An unknown key is an error. Durations are written like `90s`, `10m`.\n\n")
	out.WriteString("Made from the comments of `internal/config`; do not edit.\n")
	section(&out, structs(f), "Config", "", "")
	if *update {
		if err := os.WriteFile(reference, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(reference)
	if err != nil || !bytes.Equal(have, out.Bytes()) {
		t.Errorf("%s is not what the comments say (%v); run go test ./internal/config -update", reference, err)
	}
}

func structs(f *ast.File) map[string]*ast.StructType {
	out := map[string]*ast.StructType{}
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok {
			for _, s := range g.Specs {
				if ts, ok := s.(*ast.TypeSpec); ok {
					if st, ok := ts.Type.(*ast.StructType); ok {
						out[ts.Name.Name] = st
					}
				}
			}
		}
	}
	return out
}

func section(out *bytes.Buffer, all map[string]*ast.StructType, name, path, doc string) {
	if path != "" {
		fmt.Fprintf(out, "\n## %s\n\n%s\n", path, doc)
	}
	out.WriteString("\n| key | type | default | |\n|---|---|---|---|\n")
	var below []func()
	comment := ""
	for _, f := range all[name].Fields.List {
		if f.Doc != nil {
			comment = strings.Join(strings.Fields(f.Doc.Text()), " ")
		}
		tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`"))
		key, typ, inner := tag.Get("yaml"), typeName(f.Type), innerType(f.Type)
		def := tag.Get("default")
		if def != "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(out, "| `%s` | %s | %s | %s |\n", key, typ, def, strings.ReplaceAll(comment, "|", "\\|"))
		if _, ok := all[inner]; ok && inner != "Secret" && inner != "Members" {
			p, doc := strings.TrimPrefix(path+"."+key, "."), comment
			if strings.HasPrefix(typ, "list") {
				p += "[]"
			}
			below = append(below, func() { section(out, all, inner, p, doc) })
		}
	}
	for _, b := range below {
		b()
	}
}

func innerType(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.ArrayType:
		return innerType(e.Elt)
	case *ast.StarExpr:
		return innerType(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.ArrayType:
		return "list of " + typeName(e.Elt)
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.MapType:
		return "map"
	case *ast.SelectorExpr:
		return "duration"
	case *ast.Ident:
		switch e.Name {
		case "string", "bool":
			return e.Name
		case "int", "int64":
			return "number"
		case "Secret":
			return "`{file}` or `{env}`"
		case "Members":
			return "`{groups, users}`"
		}
		return "section"
	}
	return ""
}
