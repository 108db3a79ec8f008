// Package pgregress runs PostgreSQL's own regression tests directly and through the gateway with its default masks, at the same time,
// and compares what psql prints. What differs is listed in exceptions.txt with its reason, and is in differences/NAME.diff, line by
// line: an exception that differs otherwise, or no longer, is an error as well. -update writes the differences of what is listed.
// Without PGREGRESS, which make pgregress sets, those of long.txt are left out.
package pgregress

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatebook/test/lab"
)

// everything is the policy: each statement is let through, and the default masks are on.
const everything = `rules:
  - {id: everything, protocol: postgres, effect: allow, reason: PostgreSQL's own tests do everything}
`

var update = flag.Bool("update", false, "write how the exceptions differ")

var (
	//go:embed exceptions.txt
	exceptionsFile string
	//go:embed long.txt
	longFile string
)

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

// place copies the tests to where a server may read them. The server prints where that is: all such places are equally long.
func place(t *testing.T, from, within, kind string) string {
	t.Helper()
	dir := filepath.Join(within, fmt.Sprintf("%-8.8s", kind)) // eight letters
	dir = strings.ReplaceAll(dir, " ", "_")
	if b, err := exec.Command("cp", "-r", from, dir).CombinedOutput(); err != nil {
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

// suite runs the tests one after the other, and gives what psql printed for each. It is pg_regress, in short. OUT, if it is set, is a
// folder that keeps what was printed.
func suite(t *testing.T, kind, dir string, tests, env []string) map[string]string {
	t.Helper()
	keep := os.Getenv("OUT")
	env = append(env, "HOME="+dir, "PATH="+os.Getenv("PATH"), "PGTZ=PST8PDT", "PGDATESTYLE=Postgres, MDY", "PGOPTIONS=-c intervalstyle=postgres_verbose", "LC_ALL=C", "PG_ABS_SRCDIR="+dir, "PG_ABS_BUILDDIR="+dir,
		"PG_LIBDIR="+dir, "PG_DLSUFFIX=.so")
	out := map[string]string{}
	began := time.Now()
	for _, name := range tests {
		in, err := os.Open(filepath.Join(dir, "sql", name+".sql"))
		if err != nil {
			t.Error(err)
			return out
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		cmd := exec.CommandContext(ctx, "psql", "-X", "-a", "-q", "-d", "regression", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on")
		cmd.Env, cmd.Dir, cmd.Stdin = env, dir, in
		b, err := cmd.CombinedOutput()
		cancel()
		in.Close()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Error(err)
			return out
		}
		out[name] = strings.ReplaceAll(string(b), dir, "DIR")
		if keep != "" {
			if err := os.WriteFile(filepath.Join(keep, name+"."+kind), []byte(out[name]), 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	t.Logf("%s: %d tests in %s", kind, len(tests), time.Since(began).Round(time.Second))
	return out
}

func TestRegression(t *testing.T) {
	from := source(t)
	bin := os.Getenv("GATEBOOK_BINARY")
	if bin == "" {
		var err error
		if bin, err = lab.Build(t.Context(), t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
	tests := schedule(t, from)
	if len(tests) < 150 {
		t.Fatalf("the schedule has %d tests", len(tests))
	}
	for name := range exceptions(t) {
		if !slices.Contains(tests, name) {
			t.Errorf("exceptions.txt: there is no test %s", name)
		}
	}
	if only := os.Getenv("TESTS"); only != "" {
		tests = strings.Fields(only)
	} else if os.Getenv("PGREGRESS") == "" {
		tests = slices.DeleteFunc(tests, func(name string) bool { return slices.Contains(strings.Fields(longFile), name) })
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
	within, err := os.MkdirTemp("", "gbregress")
	if err == nil {
		t.Cleanup(func() { os.RemoveAll(within) })
		err = os.Chmod(within, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]string
	var both sync.WaitGroup
	dir, through := place(t, from, within, "direct"), place(t, from, within, "gateway")
	both.Go(func() { want = suite(t, "direct", dir, tests, direct.ClientEnv()) })
	got = suite(t, "gateway", through, tests, g.ClientEnv(g.Person("claude", "agents"), "gate"))
	both.Wait()
	compare(t, tests, want, got)
}

func compare(t *testing.T, tests []string, want, got map[string]string) {
	known, same := exceptions(t), 0
	for _, name := range tests {
		why, listed := known[name]
		if want[name] == got[name] {
			same++
			if listed {
				t.Errorf("%s: it is an exception (%s), and does not differ any more: take it out of exceptions.txt", name, why)
			}
			continue
		}
		d, file := difference(t, want[name], got[name]), filepath.Join("differences", name+".diff")
		switch was, err := os.ReadFile(file); {
		case !listed:
			t.Errorf("%s: it differs:\n%.8000s", name, d)
		case *update:
			if err := os.WriteFile(file, []byte(d), 0o644); err != nil {
				t.Error(err)
			}
		case err != nil || string(was) != d:
			t.Errorf("%s: it is an exception (%s), and differs otherwise than %s says (%v):\n%.8000s", name, why, file, err, d)
		}
	}
	t.Logf("%d of %d tests are the same through the gateway", same, len(tests))
}

// another is what is another with every run: operations and what stands for masked values.
var another = regexp.MustCompile(`(Operation |gbm-)[0-9a-z]{26}`)

// difference is the lines that differ, without where they stand.
func difference(t *testing.T, want, got string) string {
	t.Helper()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "direct"), filepath.Join(dir, "gateway")
	if err := errors.Join(os.WriteFile(a, []byte(want), 0o600), os.WriteFile(b, []byte(got), 0o600)); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	out, err := exec.Command("diff", "-U0", a, b).Output() // that they differ is its error
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatal(err)
	}
	lines := slices.DeleteFunc(strings.SplitAfter(string(out), "\n")[2:], func(l string) bool { return strings.HasPrefix(l, "@@") })
	return another.ReplaceAllString(strings.Join(lines, ""), "$1…")
}
