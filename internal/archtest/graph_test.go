package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "gatebook/"
)

// may lists, for each package below internal, what it may import of ours; its own sub-packages are always allowed
// to import it and what it may import. A trailing /* stands for every package below.
var may = map[string][]string{
	"access":             {},
	"guard":              {},
	"wire/*":             {"wire/*", "guard"}, // a framing may ride on another
	"ledger":             {},
	"journal":            {},
	"config":             {"access"},
	"policy":             {"access", "mask/detect"}, // to know the detectors' names
	"mask":               {"access"},
	"spool":              {"access"},
	"mask/detect":        {},
	"store":              {"access"},
	"identity":           {"access", "guard"},
	"identity/*":         {"access", "identity"},
	"approval":           {"access"},
	"archive":            {"access", "ledger", "journal"},
	"recording":          {"access", "ledger", "journal", "archive"},
	"recording/terminal": {"access", "recording"},
	"recording/export":   {"access", "recording", "recording/terminal"},
	"attribution":        {"access", "store"},
	"report":             {"access", "store"},
	"gate":               {"access", "policy", "approval", "recording", "attribution"},
	"credential":         {"access", "gate"},
	"protocol":           {"access", "gate"},
	"protocol/*":         {"access", "gate", "recording", "protocol", "credential", "mask", "mask/detect", "spool", "wire/*", "guard"},
	"server":             {"access", "protocol", "identity", "guard", "wire/http1"},
	"api":                {"access", "store", "approval", "archive", "recording", "attribution", "report", "api/client"},
	"api/client":         {"access", "api"},
	"archtest":           {},

	// the real gate and recorder, for protocols' tests
	"protocol/protocoltest": {"access", "gate", "mask", "protocol", "recording", "archive", "journal", "ledger"},
}

// banned imports, each with its reason.
var banned = []struct{ pkg, imports, why string }{
	{"policy", "net", "a decision depends on nothing but the operation and the rules"},
	{"policy", "net/http", "a decision depends on nothing but the operation and the rules"},
	{"policy", "os", "files are read by the caller, so that a reload is atomic"},
	{"access", "net/http", "the vocabulary is values only"},
	{"mask", "os", "a masker sees bytes and nothing else"},
	{"mask", "net", "a masker sees bytes and nothing else"},
	{"protocol/postgres", "github.com/jackc/pgx/v5/pgconn", "databases are dialled by credential alone, with a permit"},
	{"ledger", "filippo.io/age", "the ledger does not know what its entries mean"},
}

type source struct {
	pkg   string // below internal, or cmd/gatebook
	file  string
	tests bool
	imps  []string
	blank []string
}

// sources parses the imports of every Go file of the module, but for the modules of their own below test/.
func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root || strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "node_modules" || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, filepath.Dir(path))
		s := source{pkg: strings.TrimPrefix(filepath.ToSlash(rel), "internal/"), file: path, tests: strings.HasSuffix(path, "_test.go")}
		for _, i := range f.Imports {
			p, _ := strconv.Unquote(i.Path.Value)
			s.imps = append(s.imps, p)
			if i.Name != nil && i.Name.Name == "_" {
				s.blank = append(s.blank, p)
			}
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func allowed(pkg string) ([]string, bool) {
	for p := pkg; p != "."; p = filepath.Dir(p) {
		if a, ok := may[p+"/*"]; ok && p != pkg {
			return append(a, pkg), true
		}
		if a, ok := may[p]; ok {
			return append(a, p), true
		}
	}
	return nil, false
}

func TestImportGraph(t *testing.T) {
	for _, s := range sources(t) {
		if s.tests || strings.HasPrefix(s.pkg, "cmd/") || strings.HasPrefix(s.pkg, "test/") || strings.HasPrefix(s.pkg, "bench") {
			continue
		}
		list, known := allowed(s.pkg)
		if !known {
			t.Errorf("%s: package %s is not in the graph; add it to docs/ARCHITECTURE.md and here, with its place", s.file, s.pkg)
			continue
		}
		for _, imp := range s.imps {
			ours, ok := strings.CutPrefix(imp, module+"internal/")
			if !ok {
				continue
			}
			fits := func(a string) bool {
				return a == ours || strings.HasSuffix(a, "/*") && strings.HasPrefix(ours, strings.TrimSuffix(a, "*")) || strings.HasPrefix(ours, s.pkg+"/")
			}
			if !slices.ContainsFunc(list, fits) {
				t.Errorf("%s: %s must not import %s (it may: %q)", s.file, s.pkg, ours, list)
			}
		}
	}
}

func TestNoProtocolKnowsAnother(t *testing.T) {
	for _, s := range sources(t) {
		if p, ok := strings.CutPrefix(s.pkg, "protocol/"); ok {
			for _, imp := range s.imps {
				if q, ok := strings.CutPrefix(imp, module+"internal/protocol/"); ok && q != p && q != "protocoltest" && !strings.HasPrefix(q, p+"/") {
					t.Errorf("%s imports protocol %s", s.file, q)
				}
			}
		}
	}
}

func TestBannedImports(t *testing.T) {
	for _, s := range sources(t) {
		if s.tests {
			continue
		}
		for _, b := range banned {
			if s.pkg == b.pkg && slices.Contains(s.imps, b.imports) {
				t.Errorf("%s imports %s: %s", s.file, b.imports, b.why)
			}
		}
		for _, imp := range s.blank {
			if imp != "embed" {
				t.Errorf("%s imports %s for its side effect only", s.file, imp)
			}
		}
	}
}
