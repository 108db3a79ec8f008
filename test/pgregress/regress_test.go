// Package pgregress runs PostgreSQL's own regression tests directly and through the gateway, and compares what psql prints. What
// differs is listed in exceptions.txt with its reason; an exception that no longer differs is an error as well.
package pgregress

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatebook/test/lab"
)

// everything is the policy: each statement is let through, and nothing is masked but what the gateway masks by itself.
const everything = `rules:
  - {id: everything, protocol: postgres, effect: allow, reason: PostgreSQL's own tests do everything}
`

//go:embed exceptions.txt
var exceptionsFile string

// exceptions are tests whose output differs, by name, and why.
func exceptions(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for l := range strings.Lines(exceptionsFile) {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		name, why, ok := strings.Cut(l, "\t")
		if !ok || why == "" || out[name] != "" {
			t.Fatalf("exceptions.txt: %q: want a name, a tab and a reason, once", l)
		}
		out[name] = strings.TrimSpace(why)
	}
	return out
}

// source gives the folder of the tests, fetching it where it is not there yet.
func source(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("GATEBOOK_PG_REGRESS")
	if dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(cache, "gatebook", "pgregress")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if b, err := exec.CommandContext(ctx, "./fetch.sh", dir).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: POSTGRESQL'S REGRESSION TESTS CANNOT BE HAD, SO THAT NOTHING IS COMPARED: %v\n%s", err, b)
	}
	return dir
}

// schedule are the tests in their order. Those of a group could run at once; they run one by one, so that both runs see the same.
func schedule(t *testing.T, dir string) []string {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "parallel_schedule"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if tests, ok := strings.CutPrefix(lines.Text(), "test:"); ok {
			out = append(out, strings.Fields(tests)...)
		}
	}
	return out
}

// OUT, if it is set, is a folder that keeps what was printed; TESTS are the only ones that run.

// place copies the tests to where the server may read them, which is the same for both runs since they print it.
func place(t *testing.T, from string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gbregress")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if b, err := exec.Command("cp", "-r", from+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	for _, d := range []string{"results", "testtablespace"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, lib := range []string{"autoinc.so", "refint.so"} { // of Debian's package; tests use them as well
		all, err := filepath.Glob("/usr/lib/postgresql/*/lib/" + lib)
		if err != nil || len(all) == 0 {
			continue
		}
		if b, err := exec.Command("cp", all[len(all)-1], dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
	}
	if b, err := exec.Command("chmod", "-R", "a+rwX", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return dir
}

// suite runs the tests one after the other, and gives what psql printed for each. It is pg_regress, in short.
func suite(t *testing.T, kind, dir string, tests, env []string) map[string]string {
	t.Helper()
	keep := os.Getenv("OUT")
	if err := os.RemoveAll(filepath.Join(dir, "results")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "results"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "results"), 0o777); err != nil {
		t.Fatal(err)
	}
	env = append(env, "HOME="+dir, "PATH="+os.Getenv("PATH"), "PGTZ=PST8PDT", "PGDATESTYLE=Postgres, MDY", "PGOPTIONS=-c intervalstyle=postgres_verbose", "LC_ALL=C", "PG_ABS_SRCDIR="+dir, "PG_ABS_BUILDDIR="+dir,
		"PG_LIBDIR="+dir, "PG_DLSUFFIX=.so")
	out := map[string]string{}
	began := time.Now()
	for _, name := range tests {
		in, err := os.Open(filepath.Join(dir, "sql", name+".sql"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		cmd := exec.CommandContext(ctx, "psql", "-X", "-a", "-q", "-d", "regression", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on")
		cmd.Env, cmd.Dir, cmd.Stdin = env, dir, in
		b, err := cmd.CombinedOutput()
		cancel()
		in.Close()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		out[name] = string(b)
		if keep != "" {
			if err := os.WriteFile(filepath.Join(keep, name+"."+kind), b, 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	t.Logf("%d tests in %s", len(tests), time.Since(began).Round(time.Second))
	return out
}

func TestRegression(t *testing.T) {
	if os.Getenv("PGREGRESS") == "" {
		t.Skip("SKIPPED: make pgregress runs PostgreSQL's own tests; they take some minutes")
	}
	dir := place(t, source(t))
	bin := os.Getenv("GATEBOOK_BINARY")
	if bin == "" {
		var err error
		if bin, err = lab.Build(t.Context(), t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
	tests := schedule(t, dir)
	if only := os.Getenv("TESTS"); only != "" {
		tests = strings.Fields(only)
	} else if len(tests) < 150 {
		t.Fatalf("the schedule has %d tests", len(tests))
	}
	// Autovacuum and parallel workers come when they come.
	server := func() *lab.Postgres {
		p, err := lab.NewPostgresWith("autovacuum=off\ntimezone='PST8PDT'\nmax_prepared_transactions=2\nmax_connections=120\n")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Stop)
		p.Admin(t, "postgres", "CREATE DATABASE regression TEMPLATE template0", "ALTER DATABASE regression SET lc_messages TO 'C'", "ALTER DATABASE regression SET timezone_abbreviations TO 'Default'")
		return p
	}
	direct := server()
	p := server()
	g := p.StartGateway(t, bin, "postgres", lab.Options{Policy: map[string]string{"sql.yaml": everything}, Targets: p.Target("regression", "regression", "")})
	want := suite(t, "direct", dir, tests, direct.ClientEnv())
	got := suite(t, "gateway", dir, tests, g.ClientEnv(g.Person("claude", "agents"), "gate"))
	compare(t, tests, want, got)
}

func compare(t *testing.T, tests []string, want, got map[string]string) {
	known, same := exceptions(t), 0
	for name := range known {
		if !slices.Contains(tests, name) && os.Getenv("TESTS") == "" {
			t.Errorf("exceptions.txt: there is no test %s", name)
		}
	}
	for _, name := range tests {
		why, listed := known[name]
		switch {
		case want[name] == got[name] && listed:
			t.Errorf("%s: it is an exception (%s), and does not differ any more: take it out of exceptions.txt", name, why)
		case want[name] == got[name]:
			same++
		case !listed:
			t.Errorf("%s: it differs:\n%s", name, diff(want[name], got[name]))
		}
	}
	t.Logf("%d of %d tests are the same through the gateway, %d exceptions", same, len(tests), len(known))
}

// diff shows the first lines that differ.
func diff(want, got string) string {
	dir, err := os.MkdirTemp("", "gbdiff")
	if err != nil {
		return err.Error()
	}
	defer os.RemoveAll(dir)
	a, b := filepath.Join(dir, "direct"), filepath.Join(dir, "gateway")
	if err := errors.Join(os.WriteFile(a, []byte(want), 0o600), os.WriteFile(b, []byte(got), 0o600)); err != nil {
		return err.Error()
	}
	out, _ := exec.Command("diff", "-U1", a, b).Output() // that they differ is its error
	if lines := bytes.SplitAfter(out, []byte("\n")); len(lines) > 40 {
		out = append(bytes.Join(lines[:40], nil), fmt.Sprintf("and %d lines more\n", len(lines)-40)...)
	}
	return string(out)
}
