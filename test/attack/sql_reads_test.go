package attack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatebook/internal/protocol/postgres/grammar"
)

// readsAlone allows what is called a read, and nothing else.
const readsAlone = `rules:
  - {id: connect, protocol: postgres, effect: allow, verbs: [connect], reason: to be tried}
  - {id: reads, protocol: postgres, effect: allow, verbs: [execute, prepare], when: 'sql.effect == "read"', reason: it is called a read}
`

// stateOf is everything that a server keeps: of all databases definitions, rows, sequences, large objects, roles and settings; what is
// prepared, and held.
func stateOf(t *testing.T, s *sqlScene) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dump := func(args ...string) []byte {
		b, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%s: %s", args[0], exit.Stderr)
		} else if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := append(dump("pg_dumpall", "--globals-only", "-d", s.p.Direct("postgres")), dump("pg_dump", "--blobs", "-d", s.p.Direct(s.database))...)
	b = regexp.MustCompile(`(?m)^\\(un)?restrict .*$`).ReplaceAll(b, nil) // a new word each time
	b = append(b, s.state("select string_agg(s::text, ',' order by sequencename) from pg_sequences s")...)
	b = append(b, s.state("select string_agg(oid::text, ',' order by oid) from pg_class")...)
	b = append(b, s.state("select count(*) from pg_prepared_xacts")...)
	b = append(b, s.state("select string_agg(slot_name::text, ',') from pg_replication_slots")...)
	return fmt.Sprintf("%x %d", sha256.Sum256(b), len(b))
}

// calls are calls of every function that the server has, each with values of its types and with NULLs.
func calls(t *testing.T, s *sqlScene) []string {
	t.Helper()
	values := strings.NewReplacer(`"any"`, "'a'::text", "anyelement", "1", "anyarray", "array[1]", "anycompatiblearray", "array[1]", "anynonarray", "1", "anyenum", "'a'::mood", "anyrange", "int4range(1, 3)", "anycompatible", "1", "cstring", "'a'::cstring",
		"record", "row(1, 'a')", "regclass", "'t'::regclass", "oid", "'t'::regclass::oid", "boolean", "true", "bigint", "1::bigint", "integer", "1", "smallint", "1::smallint", "text", "'a'::text", "name", "'t'::name", "bytea", `'\x61'::bytea`, "jsonb", `'{"a": 1}'::jsonb`, "json", `'{"a": 1}'::json`,
		"double precision", "1.5::float8", "numeric", "1.5", "character varying", "'a'::varchar", "date", "'2020-01-01'::date", "xml", "'<a/>'::xml", "inet", "'10.0.0.1'::inet", "interval", "'1 day'::interval")
	plain := map[string]string{}
	for _, l := range strings.Split(s.state("select distinct format_type(x, null) from pg_proc, unnest(proargtypes) x"), "\n") {
		plain[l] = "null::" + l
		if v := values.Replace(l); v != l && !strings.Contains(l, " without") && !strings.Contains(l, " with") && !strings.HasSuffix(l, "[]") {
			plain[l] = v
		}
	}
	var out []string
	for _, l := range strings.Split(s.state("select n.nspname || '.' || quote_ident(proname) || '|' || (select coalesce(string_agg(format_type(x, null), '|' order by i), '') from unnest(proargtypes) with ordinality a(x, i)) "+
		"from pg_proc p join pg_namespace n on n.oid = pronamespace where prokind in ('f', 'a') and not exists (select from unnest(proargtypes) x where x in ('internal'::regtype))"), "\n") {
		name, types, _ := strings.Cut(l, "|")
		var some, none []string
		for _, x := range strings.Split(types, "|") {
			if x != "" {
				some, none = append(some, plain[x]), append(none, "null::"+strings.ReplaceAll(x, `"any"`, "text"))
			}
		}
		out = append(out, "select "+name+"("+strings.Join(some, ", ")+")", "select * from "+name+"("+strings.Join(none, ", ")+") as x")
	}
	return out
}

// regression gives the statements of PostgreSQL's own regression tests, from the folder that GATEBOOK_PG_REGRESS names (src/test/regress of the
// server's source, such as apt-get source postgresql-15 gives), and makes what they are about.
func regression(t *testing.T, s *sqlScene) []string {
	dir := os.Getenv("GATEBOOK_PG_REGRESS")
	if dir == "" {
		t.Log("GATEBOOK_PG_REGRESS is not set: PostgreSQL's own tests are left out")
		return nil
	}
	schedule, err := os.ReadFile(filepath.Join(dir, "parallel_schedule"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	g := grammar.New("")
	for _, l := range strings.Split(string(schedule), "\n") {
		tests, ok := strings.CutPrefix(l, "test:")
		if !ok {
			continue
		}
		for _, name := range strings.Fields(tests) {
			b, err := os.ReadFile(filepath.Join(dir, "sql", name+".sql"))
			if err != nil || name == "tablespace" || name == "event_trigger" || name == "subscription" || name == "security_label" {
				continue
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			cmd := exec.CommandContext(ctx, "psql", "-X", "-q", "-d", s.p.Direct(s.database))
			cmd.Env = append(os.Environ(), "PG_ABS_SRCDIR="+dir, "PG_LIBDIR=/usr/lib/postgresql/15/lib", "PG_DLSUFFIX=.so", "PG_ABS_BUILDDIR="+t.TempDir())
			cmd.Stdin = strings.NewReader(string(b))
			_ = cmd.Run() // many are to fail
			cancel()
			out = append(out, statementsOf(g, string(b))...)
		}
	}
	return out
}

var copiedRows = regexp.MustCompile(`(?ms)^(COPY|copy)[^;]*(stdin|STDIN)[^;]*;\n.*?^\\\.$`)

func statementsOf(g *grammar.Grammar, text string) []string {
	text = copiedRows.ReplaceAllString(text, "")
	text = regexp.MustCompile(`(?m)\\[a-z;].*$`).ReplaceAllString(text, ";")
	var out []string
	for _, part := range regexp.MustCompile(`;[ \t]*(--[^\n]*)?\n`).Split(text, -1) {
		if list, err := g.Read(part); err == nil {
			for _, st := range list {
				out = append(out, st.Text)
			}
		}
	}
	return out
}

// What the gateway calls a read changes nothing, whatever else it may be: run by a superuser, each in a transaction of its own.
func TestReadsChangeNothing(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(readsAlone), append(slices.Clone(sqlWorld), "create type mood as enum ('a')", "select lo_create(4711)")...)
	corpus := append(append(calls(t, s), regression(t, s)...), leaks...)
	for _, list := range refusedSQL {
		corpus = append(corpus, list...)
	}
	before := stateOf(t, s)
	if again := stateOf(t, s); again != before {
		t.Fatalf("the state is not stable: %s, %s", before, again)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	connect := func() *pgx.Conn {
		c, err := pgx.Connect(ctx, s.g.DSN(s.agent, "db")+" default_query_exec_mode=simple_protocol")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := connect()
	read, refused, failed, unread := 0, 0, 0, 0
	codes := map[string]int{}
	slow := ""
	for _, sql := range corpus {
		if c.IsClosed() {
			c = connect()
		}
		began := time.Now()
		one, stop := context.WithTimeout(ctx, 20*time.Second)
		_, err := c.PgConn().Exec(one, sql).ReadAll()
		stop()
		if d := time.Since(began); d > 3*time.Second {
			slow += fmt.Sprintf("\n%v %.100s", d, sql)
		}
		var said *pgconn.PgError
		switch {
		case err == nil:
			read++
		case errors.As(err, &said) && strings.HasPrefix(said.Message, "gatebook:") && said.Code == "42501":
			refused++
		case errors.As(err, &said) && strings.HasPrefix(said.Message, "gatebook:"):
			unread++
		default:
			failed++
			if said != nil {
				codes[said.Code[:2]]++
			} else {
				codes[fmt.Sprintf("%.40v", err)]++
			}
		}
	}
	t.Logf("%d statements: %d read, %d refused, %d could not be read, %d failed in the database %v%s", len(corpus), read, refused, unread, failed, codes, slow)
	if len(corpus) < 2000 || read < 1000 || refused < 300 {
		t.Error("the corpus is too small to show anything")
	}
	if after := stateOf(t, s); after != before {
		t.Errorf("the state was %s, and is %s", before, after)
	}
}
