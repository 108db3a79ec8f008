package libpgquery

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

func newParser(t *testing.T, folder string) *Parser {
	t.Helper()
	p, err := New(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func statements(p *Parser, text string) (int, error) {
	b, err := p.Parse(text)
	if err != nil {
		return 0, err
	}
	tree := &pg.ParseResult{}
	err = proto.Unmarshal(b, tree)
	return len(tree.Stmts), err
}

// kept is the one file of machine code in a folder.
func kept(t *testing.T, folder string) (string, fs.FileInfo) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(folder, "*", "*", "*"))
	if err != nil || len(all) != 1 {
		t.Fatalf("%q, %v", all, err)
	}
	info, err := os.Stat(all[0])
	if err != nil {
		t.Fatal(err)
	}
	return all[0], info
}

// What is compiled is kept, and used as it is; where it is damaged, it is made anew.
func TestParserIsKept(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "compiled")
	read := func(p *Parser) {
		t.Helper()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 20 {
					if n, err := statements(p, "select 1; delete from t where a = 'ä'"); n != 2 || err != nil {
						t.Error(n, err)
					}
					var said *Error
					if _, err := statements(p, "select 'ä' from from"); !errors.As(err, &said) || said.Message != `syntax error at or near "from"` || said.Position != 17 || said.Function != "scanner_yyerror" {
						t.Errorf("%+v", err)
					}
					if _, err := statements(p, "select 1\x00; drop table t"); !errors.As(err, &said) {
						t.Errorf("%+v", err)
					}
				}
			})
		}
		all.Wait()
	}
	read(newParser(t, folder))
	file, first := kept(t, folder)
	if first.Mode().Perm() != 0o600 || first.Size() < 1<<20 {
		t.Errorf("%v, %d bytes", first.Mode(), first.Size())
	}
	old := filepath.Join(folder, "wazero-v0.0.1-amd64-linux")
	if err := errors.Join(os.Mkdir(old, 0o700), os.WriteFile(filepath.Join(old, "x"), []byte("code"), 0o600)); err != nil {
		t.Fatal(err)
	}
	read(newParser(t, folder))
	if _, err := os.Lstat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what another version has left is there: %v", err)
	}
	if _, again := kept(t, folder); !os.SameFile(first, again) || !first.ModTime().Equal(again.ModTime()) {
		t.Error("it was compiled anew")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	p := newParser(t, folder)
	read(p)
	if _, again := kept(t, folder); again.Size() != first.Size() {
		t.Errorf("%d bytes, before %d", again.Size(), first.Size())
	}
	tooDeep(t, p)
}

// tooDeep has a text that is beyond the parser, and then another, which is not to suffer from it.
func tooDeep(t *testing.T, p *Parser) {
	for _, text := range []string{"select " + strings.Repeat("(", 200_000) + "1" + strings.Repeat(")", 200_000), "select " + strings.Repeat("a.", 100_000) + "b",
		"select 1" + strings.Repeat("+(1", 100_000) + strings.Repeat(")", 100_000), "select " + strings.Repeat("not ", 300_000) + "true"} {
		if n, err := statements(p, text); err == nil && n != 1 {
			t.Errorf("%.20s…: %d statements", text, n)
		}
		if n, err := statements(p, "select 1; select 2"); n != 2 || err != nil {
			t.Errorf("after %.20s…: %d, %v", text, n, err)
		}
	}
}

// What others could have written is never run.
func TestFolderOfOthersIsEmptied(t *testing.T) {
	for name, harm := range map[string]func(folder, file string) error{
		"the folder":       func(folder, _ string) error { return os.Chmod(folder, 0o777) },
		"the inner folder": func(_, file string) error { return os.Chmod(filepath.Dir(file), 0o720) },
		"the file":         func(_, file string) error { return os.Chmod(file, 0o666) },
		"a link": func(_, file string) error {
			return errors.Join(os.Rename(file, file+".other"), os.Symlink(file+".other", file))
		},
		"a link to the folder": func(folder, _ string) error {
			return errors.Join(os.Rename(folder, folder+".other"), os.Symlink(folder+".other", folder))
		},
	} {
		folder := filepath.Join(t.TempDir(), "compiled")
		file := filepath.Join(folder, "inner", "file")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("code"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := own(folder); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(file); err != nil {
			t.Errorf("%s: this user's own is gone: %v", name, err)
		}
		if err := errors.Join(harm(folder, file), own(folder)); err != nil {
			t.Fatal(name, err)
		}
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
		if info, err := os.Lstat(folder); err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}
