package grammar

import (
	"slices"
	"strings"
	"sync"
	"testing"
)

// shared is one for all tests: it takes seconds to make.
var shared = sync.OnceValue(func() *Grammar { return New("") })

func one(t *testing.T, text string) *Statement {
	t.Helper()
	list, err := shared().Read(text)
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %d statements, %v", text, len(list), err)
	}
	return list[0]
}

func TestWhatAStatementCanDo(t *testing.T) {
	for text, want := range map[string]struct {
		effect, kinds, tables, writes, volatile string
	}{
		"select * from a, b.c": {Read, "select", "a b.c c", "", ""},
		"drop table s.t":       {DDL, "drop table", "s.t t", "s.t t", ""},
		"select set_config('search_path', 'public'::char(3), false)":                                              {Admin, "select set", "", "", ""},
		"select set_config('search_path', 'public'::varchar(3), false)":                                           {Admin, "select set", "", "", ""},
		"select set_config('search_path', 'public'::name, false)":                                                 {Admin, "select set", "", "", ""},
		"select set_config('search_path', 'public'::text, false)":                                                 {Session, "select set", "", "", ""},
		"with t as (select 1) select * from t union select * from (with u as (select 2) select * from u, t) z, u": {Read, "select", "u", "", ""},
		"with x as (delete from t returning *) select * from x, t":                                                {Write, "delete select", "t", "t", ""},
		"with t as (select 1) insert into t select * from t":                                                      {Write, "select insert", "t", "t", ""},
		"explain analyze delete from t":                                                                           {Write, "explain analyze delete", "t", "t", ""},
		"explain (analyze off) delete from t":                                                                     {Read, "explain", "t", "", ""},
		"explain (analyze 'tru') delete from t":                                                                   {Write, "explain analyze delete", "t", "t", ""},
		"select nextval('x'), pg_catalog.lower('a')":                                                              {Write, "select", "", "", "nextval"},
		"select public.lower('b')":                                                                                {Admin, "select", "", "", "public.lower"},
		"select 1 into t":                                                                                         {DDL, "select,select into", "t", "", ""},
		"lock table a in access share mode":                                                                       {Session, "lock", "a", "", ""},
		"lock table a":                                                                                            {Write, "lock", "a", "", ""},
		"set search_path = public, pg_catalog":                                                                    {Session, "set", "", "", ""},
		"set search_path = evil":                                                                                  {Admin, "set", "", "", ""},
		"select set_config('search_path', '', false)":                                                             {Session, "select set", "", "", ""},
		"select set_config(name, 'view, foreign-table', false) from pg_settings where name = 'restrict_nonsystem_relation_kind'": {Session, "select set", "pg_settings", "", ""},
		"commit prepared 'x'":     {Admin, "commit prepared", "", "", ""},
		"prepare transaction 'x'": {Admin, "prepare transaction", "", "", ""},
		"explain execute p(1)":    {Read, "explain", "", "", ""},
		"explain execute p(f())":  {Admin, "explain", "", "", "f"},
		"explain create table t as execute p(set_config('role', 'x', false))": {Admin, "explain,set", "t", "", ""},
		"explain execute p(set_config('search_path', 'evil', false))":         {Admin, "explain,set", "", "", ""},
		"alter table a owner to b":                                            {Admin, "alter table", "a", "a", ""},
		"alter table a add x int":                                             {DDL, "alter table", "a", "a", ""},
		"create function f() returns int language c as 'x'":                   {Admin, "create function", "", "", ""},
		"create function f() returns int language sql as 'x'":                 {DDL, "create function", "", "", ""},
		"grant all on a to b":                                                 {Admin, "grant", "a", "", ""},
		"create trigger x before insert on a execute function f()":            {DDL, "create trigger", "a", "a", ""},
		"-- nothing": {Read, "empty", "", "", ""},
	} {
		s := one(t, text)
		got := []string{s.Effect, strings.Join(s.Kinds, " "), strings.Join(s.Tables, " "), strings.Join(s.Writes, " "), strings.Join(s.Volatile, " ")}
		if want := []string{want.effect, strings.ReplaceAll(want.kinds, ",", " "), want.tables, want.writes, want.volatile}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// What would make later text mean something else is never let through.
func TestMisread(t *testing.T) {
	for _, text := range []string{"set client_encoding = 'SJIS'", "set names 'latin1'", "set standard_conforming_strings = off", "set standard_conforming_strings to 0", "set backslash_quote = on",
		"select set_config('standard_conforming_strings', 'off', true)", "select set_config(x, 'off', true) from t", "select set_config('client_encoding', x, true) from t",
		"update pg_settings set setting = 'off' where name = 'standard_conforming_strings'", "with x as (update pg_catalog.pg_settings set setting = '1') select 1", "copy t to stdout (encoding 'latin1')", "copy t from stdin encoding 'sjis'",
		"explain execute p(set_config('client_encoding', 'sjis', false))",
		"select set_config(name, 'off', false) from pg_settings where name = 'standard_conforming_strings'", "select set_config(name, 'off', false) from pg_settings where name = 'x' or name = 'y'"} {
		if one(t, text).Refuse == "" {
			t.Errorf("%s goes through", text)
		}
	}
	for _, text := range []string{"set client_encoding = 'UTF8'", "set names 'utf-8'", "set standard_conforming_strings = on", "reset client_encoding", "show client_encoding"} {
		if s := one(t, text); s.Refuse != "" || isStronger(s.Effect, Session) {
			t.Errorf("%s: %s, %s", text, s.Effect, s.Refuse)
		}
	}
}

func isStronger(a, b string) bool { return Stronger(a, b) != b }

// The parts of a text are the whole of it, so that nothing of it goes unrecorded.
func TestPartsAreTheWhole(t *testing.T) {
	for _, text := range []string{"select 1", " /* a */ select ';' ; -- b\n; ; delete from t where x = 'é;' ;\n /* c */", "begin;select 'ü';commit", ";;", "select $$;$$;select 2"} {
		list, err := shared().Read(text)
		if err != nil {
			t.Fatal(text, err)
		}
		all := ""
		for _, s := range list {
			all += s.Text
		}
		if all != text {
			t.Errorf("%q became %q", text, all)
		}
	}
}

func FuzzRead(f *testing.F) {
	g := shared()
	if err := g.Wait(); err != nil { // a fuzzer takes what is not done in ten seconds for hung
		f.Fatal(err)
	}
	for _, s := range []string{"select 1; delete from t", "select E'\\'' -- x", "with recursive a as (select 1 union select * from a) select * from a", "copy t to stdout", "set role x", "select U&'d!0061' uescape '!'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := g.Read(text)
		all := ""
		for _, s := range list {
			all += s.Text
			s.Exposes(everything{})
		}
		if err == nil && (all != text || len(list) == 0) {
			t.Errorf("%q became %q", text, all)
		}
	})
}

// everything hides one column of every relation.
type everything struct{}

func (everything) Relation(Name) Hidden {
	return Hidden{Masked: map[string]bool{"secret": true}, All: []string{"id", "secret"}}
}
func (everything) Suspects() bool                { return true }
func (everything) Own(of Code, name string) bool { return name == "own" || name == "|>|" }

func TestExposes(t *testing.T) {
	for text, want := range map[string]string{
		"select id, secret, secret || id from t": "-++", "select secret as id, id as secret from t": "+-", "select x from (select secret from t) s(x)": "+", "select b, a from t as u(a, b)": "+-", "select t from t": "+", "select t.id, t.other from t": "-+",
		"select id from t union select secret from t": "+", "select * from t": "-+", "with c(a, b) as (select * from t) select a, b from c": "-+", "select (select secret from t limit 1), exists (select secret from t)": "+-", "delete from t returning id, secret": "-+",
		"select f(id) from t": "+", "select 1 |>| 2, own(1), pg_catalog.own(1), 1::own, t.own, (t).own from t": "++++++", "select count(*), max(secret) from t": "-+", "values ((select secret from t), 1)": "+-", "select x.id from t x join t y using (secret)": "-",
	} {
		e := one(t, text).Exposes(everything{})
		got := ""
		for i, o := range e.Outputs {
			if e.Shows(i, len(e.Outputs), o.Name) {
				got += "+"
			} else {
				got += "-"
			}
		}
		if got != want || !e.Touches {
			t.Errorf("%s: %s, want %s (touches: %v)", text, got, want, e.Touches)
		}
	}
}

// What would carry hidden columns elsewhere is told apart from what only reads them.
func TestCopies(t *testing.T) {
	for text, want := range map[string]bool{
		"select secret from t": false, "select upper(secret) from t": false, "select count(*) from t where secret = 'x'": false, "update t set id = 1 where secret = 'x'": false, "explain analyze select secret from t": false,
		"alter table t add column x int": false, "alter table t rename column id to ident": false, "create index on t (upper(secret))": false, "create rule r as on update to t do also notify x": false, "insert into t (id) select 1": false,
		"select f(secret) from t": true, "select pg_notify('x', secret) from t": true, "select 1 from t where pg_notify('x', secret) is null": true, "select set_config('a.b', secret, true) from t": true,
		"select 1 from t a join t b on f(a.secret)": true, "select 1 from t group by id having f(max(secret))": true, "select 1 from t order by f(secret)": true, "select 1 from t limit (select f(secret) from t)": true,
		"delete from t where f(secret)": true, "update t set id = 1 where f(secret)": true, "insert into u select secret from t": true, "select secret into u from t": true, "create table u as select secret from t": true,
		"explain analyze create table u as select secret from t": true, "merge into u using t on f(t.secret) when matched then do nothing": true, "insert into t values (1) on conflict (id) do update set id = 1 where f(excluded.secret)": true,
		"alter table t rename column secret to open": true, "alter table t rename to u": true, "alter table t set schema u": true, "alter table t alter column id type text using secret": true, "alter table t add column x text generated always as (secret) stored": true,
		"create rule r as on update to t do also insert into u values (old.secret)": true, "create trigger r before update on t for each row execute function f()": true,
	} {
		if e := one(t, text).Exposes(everything{}); e.Copies != want {
			t.Errorf("%s: copies: %v", text, e.Copies)
		}
	}
}

// nothing hides nothing.
type nothing struct{}

func (nothing) Relation(Name) Hidden  { return Hidden{All: []string{"id", "other"}} }
func (nothing) Suspects() bool        { return true }
func (nothing) Own(Code, string) bool { return false }

// Where nothing is hidden, nothing is taken for it.
func TestExposesNothing(t *testing.T) {
	for _, text := range []string{"select x.* from a join b using (id) as x", "select a.*, b from a, b", "select (a).* from a", "with x as (select * from a) select x.*, (select max(id) from x) from x", "select * from generate_series(1, 2) g(x)", "select row(a.*) from a"} {
		if e := one(t, text).Exposes(nothing{}); e.Hides() || e.Touches || e.Copies {
			t.Errorf("%s: %+v", text, e)
		}
	}
}

func BenchmarkCached(b *testing.B) {
	g := New("")
	const text = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;"
	if _, err := g.Read(text); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		_, _ = g.Read(text)
	}
}

func BenchmarkParse(b *testing.B) {
	g := New("")
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		_, _ = g.read("SELECT abalance FROM pgbench_accounts WHERE aid = 4711;")
	}
}
