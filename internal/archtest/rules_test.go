package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// dialers are the ways out of the process. Only these packages may use one, each for its reason. All but credential go where the
// operator's configuration says and nowhere that an agent has a word in, so that they need no rule about addresses.
var dialers = map[string]string{
	"credential":       "the one place that dials targets, with a permit",
	"identity":         "an issuer's keys and TokenReview",
	"identity/login":   "runs in the CLI: talks to the issuer",
	"approval/webhook": "notices to people",
	"api/client":       "runs in the CLI: talks to the gateway",
	"wire/websocket":   "its handshake rides on the round tripper that the caller brings",
}

var waysOut = map[string][]string{
	"net":        {"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialUnix", "DialIP", "Dialer"},
	"net/http":   {"Get", "Post", "PostForm", "Head", "DefaultClient", "DefaultTransport", "Client", "Transport"},
	"crypto/tls": {"Dial", "DialWithDialer", "Dialer"},
}

// parsed gives the syntax of every non-test file of a package below internal or cmd.
func parsed(t *testing.T, fn func(s source, fset *token.FileSet, f *ast.File)) {
	t.Helper()
	for _, s := range sources(t) {
		if s.tests || strings.HasPrefix(s.pkg, "test/") || strings.HasPrefix(s.pkg, "bench") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, s.file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		fn(s, fset, f)
	}
}

func importName(f *ast.File, path string) string {
	for _, i := range f.Imports {
		if strings.Trim(i.Path.Value, `"`) == path {
			if i.Name != nil {
				return i.Name.Name
			}
			return filepath.Base(path)
		}
	}
	return ""
}

func TestOnlyCredentialDials(t *testing.T) {
	found := false
	parsed(t, func(s source, fset *token.FileSet, f *ast.File) {
		if strings.HasPrefix(s.pkg, "cmd/") {
			// The binary joins packages and listens; what it hands to identity and the like are clients it makes.
			return
		}
		for path, names := range waysOut {
			local := importName(f, path)
			if local == "" {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, ok := sel.X.(*ast.Ident)
				if !ok || x.Name != local || x.Obj != nil {
					return true
				}
				for _, name := range names {
					if sel.Sel.Name != name {
						continue
					}
					found = true
					if _, ok := dialers[s.pkg]; !ok && !typeOnly(f, sel) {
						t.Errorf("%s: %s.%s: only credential dials", fset.Position(n.Pos()), path, name)
					}
				}
				return true
			})
		}
	})
	if !found {
		t.Error("no dialling was found at all; the rule no longer sees what it is for")
	}
}

// typeOnly reports whether sel names a type in a field, parameter or result (a client handed in), not a value made.
func typeOnly(f *ast.File, sel *ast.SelectorExpr) bool {
	only := false
	ast.Inspect(f, func(n ast.Node) bool {
		if fl, ok := n.(*ast.Field); ok {
			if star, ok := fl.Type.(*ast.StarExpr); ok && star.X == sel {
				only = true
			}
		}
		return !only
	})
	return only
}

func TestNoInit(t *testing.T) {
	parsed(t, func(s source, fset *token.FileSet, f *ast.File) {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init", fset.Position(fn.Pos()))
			}
		}
	})
}

// A package-level variable may hold what is made once and never changes: nothing assigns to it, or into it.
func TestNoGlobalMutableState(t *testing.T) {
	parsed(t, func(s source, fset *token.FileSet, f *ast.File) {
		//lint:ignore SA1019 within one file, an identifier's object tells a package variable from one that hides it
		globals := map[*ast.Object]bool{}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
				for _, sp := range g.Specs {
					for _, n := range sp.(*ast.ValueSpec).Names {
						globals[n.Obj] = true
					}
				}
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			var targets []ast.Expr
			switch n := n.(type) {
			case *ast.AssignStmt:
				targets = n.Lhs
			case *ast.IncDecStmt:
				targets = []ast.Expr{n.X}
			}
			for _, e := range targets {
				if id := base(e); id != nil && id.Obj != nil && globals[id.Obj] {
					t.Errorf("%s: assigns to package variable %s", fset.Position(id.Pos()), id.Name)
				}
			}
			return true
		})
	})
}

func base(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

func TestOnePackageComment(t *testing.T) {
	comments := map[string]int{}
	parsed(t, func(s source, _ *token.FileSet, f *ast.File) {
		if _, ok := comments[s.pkg]; !ok {
			comments[s.pkg] = 0
		}
		if f.Doc != nil {
			comments[s.pkg]++
		}
		for _, bad := range []string{"util", "utils", "common", "helpers", "base", "manager"} {
			if f.Name.Name == bad {
				t.Errorf("%s: a package is a noun that a security reader knows, not %q", s.file, bad)
			}
		}
	})
	for p, n := range comments {
		if n != 1 {
			t.Errorf("package %s has %d package comments, want one", p, n)
		}
	}
}
