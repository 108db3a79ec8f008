package attack

import (
	"fmt"
	"strings"
	"testing"

	"gatebook/internal/access"
)

// sqlWorld is what the statements below would change, read or call.
var sqlWorld = []string{
	"create table t (id int primary key, name text)", "insert into t select i, 'n' || i from generate_series(1, 5) i", "create sequence s",
	"create function touch() returns int language sql as 'insert into t values (99, ''touched'') returning 1'",
	"create function touch(t) returns int language sql as 'delete from t returning 1'",
	"create view innocent as select id, touch() from t limit 1",
	"create view twice as select * from innocent",
	"create schema evil", "create function evil.lower(text) returns text language sql as 'delete from public.t; select ''x'''",
	"create function public.upper(varchar) returns text language sql as 'delete from public.t; select ''x'''",
	"create function add_evil(int, int) returns int language sql as 'delete from public.t; select 1'", "create operator public.|>| (leftarg = int, rightarg = int, function = add_evil)",
	"create function check_evil(int) returns bool language sql as 'delete from public.t; select true'", "create domain touchy as int check (check_evil(value))", "create type wrapped as (a touchy)", "create table boxed (id int, w wrapped)",
	"create table guarded (id int)", "insert into guarded values (1)", "alter table guarded enable row level security", "create policy p on guarded using (check_evil(id))",
	"create materialized view m as select 1 as x", "create extension dblink",
}

// refusedSQL are statements that must not run without a person's yes, or at all, under the default policy. Each is sent in the simple
// protocol and in the extended, alone and behind a harmless one.
var refusedSQL = map[string][]string{
	"S46": {"select 1; delete from t", "select 1;;; /* ; */ delete from t where id = 1", "begin; delete from t; commit", "select ';'; drop table t"},
	"S47": {"select $$;$$; delete from t", "select 1 /* /* */ */; delete from t", `select E'\''; delete from t --'`, `select U&'d!0061t!+000061' uescape '!'; delete from t`,
		"select 'a' -- '\n ; delete from t", "/* -- */ delete from t", "select $a$ $b$ $a$; delete from t -- $b$", "del\u0065te from t", "select 1 as \"x\"\"; --\"; delete from t"},
	"S49": {"with d as (delete from t returning *) select * from d", "with a as (select 1), b as (update t set name = 'x' where id = 1 returning 1) select * from a", "explain analyze delete from t",
		"explain (analyze true, costs off) insert into t values (7, 'x')", "explain (format json, analyze) delete from t", "select * into copied from t", "create table copied as select * from t", "select * from t for update",
		"select * from (with d as (select 1) select * from d) x, (select 1 from t for share) y", "insert into t values (7, 'x')", "merge into t using (select 1 as i) n on n.i = t.id when matched then delete", "truncate t", "table t for update", "refresh materialized view m"},
	"S50": {"select pg_read_file('/etc/hostname')", "select lo_create(0)", "select lo_import('/etc/hostname')", "select nextval('s')", "select setval('s', 7)", "select set_config('role', 'postgres', false)",
		"select query_to_xml('delete from t', true, true, '')", "select * from dblink('host=127.0.0.1', 'select 1') as d(x int)", "select touch()", "select * from touch()", "select t.touch from t", "select touch(t) from t", "select * from innocent", "select count(*) from twice",
		"select evil.lower('A')", "select upper(name::varchar) from t", "select 1 |>| 2", "select 1 operator(public.|>|) 2", "select 5::touchy", "select row(5)::wrapped", "select '(5)'::wrapped", "select '{5}'::touchy[]", "select jsonb_populate_record(b, '{\"w\": {\"a\": 5}}') from boxed b", "select null::boxed, '(1,(5))'::boxed", "select cast(id as touchy) from t", "select * from guarded",
		"select table_to_xml('t', true, true, '')", "select pg_terminate_backend(1)", "select pg_notify('a', 'b')", "select ts_stat('select 1')", "select * from t where id = touch()", "select array(select touch())", "select 1 order by touch()",
		"select case when true then touch() end", "select count(*) filter (where touch() = 1) from t", "values (touch())", "select 1 limit touch()", "select max(id) over (order by touch()) from t", "explain select touch()"},
	"S52": {"do $$ begin delete from t; end $$", "call nothing()", "prepare p as delete from t", "prepare p as select 1", "execute p", "create function f() returns int language sql as 'select 1'", "create procedure f() language sql as 'select 1'"},
	"S53": {"set role postgres", "set session authorization postgres", "set local role postgres", "reset role", "set search_path = evil", "select set_config('search_path', 'evil, pg_catalog', false)", "set search_path to evil, public", "alter role gate set search_path = evil",
		"set session_replication_role = replica", "set standard_conforming_strings = off", "set client_encoding = 'SJIS'", "set names 'LATIN1'", "set backslash_quote = on", "select set_config('standard_con' || 'forming_strings', 'off', false)",
		"discard all; set role postgres", "set \"role\" = postgres", "set ROLE none"},
	"S58": {"copy t to stdout", "copy t from stdin", "copy t to program 'id'", "copy t from '/etc/hostname'", "copy (select 1) to '/tmp/x'", "copy (delete from t returning *) to stdout"},
}

func TestSQLStatementsThatAreNoReads(t *testing.T) {
	s := newSQLScene(t, held("10ms"), sqlWorld...)
	before := s.state("select count(*), sum(id) from t")
	marks := map[string]string{}
	for number, list := range refusedSQL {
		speakers := map[string]*speaker{"simple": s.speak(s.agent), "extended": s.speak(s.agent), "behind one": s.speak(s.agent)}
		for i, sql := range list {
			mark := fmt.Sprintf("mark%s%dx", number, i)
			marks[mark] = sql
			t.Run(fmt.Sprintf("%s/%d", number, i), func(t *testing.T) {
				for protocol, send := range map[string]func(*speaker){
					"simple":     func(x *speaker) { x.query("/*" + mark + "*/" + sql) },
					"extended":   func(x *speaker) { x.run("/*" + mark + "*/" + sql).sync() },
					"behind one": func(x *speaker) { x.query("select 1; /*" + mark + "*/" + sql) },
				} {
					x := speakers[protocol]
					x.t, x.what = t, sql
					send(x)
					got := x.talk(1)
					if !strings.Contains(got, "E:42501") && !strings.Contains(got, "E:42601") {
						t.Errorf("%s, %s: %s", sql, protocol, got)
					}
					if strings.Contains(got, "C") || strings.Contains(got, "D:") {
						t.Errorf("%s, %s: something was answered: %s", sql, protocol, got)
					}
					if got := x.query("select 7").talk(1); got != "T D:7 C Z:I" {
						t.Errorf("%s, %s: the session does not go on: %s", sql, protocol, got)
					}
				}
			})
		}
		for _, x := range speakers {
			x.conn.Close()
		}
	}
	log, book := s.p.Log(), s.recorded("")
	for mark, sql := range marks {
		if strings.Contains(log, mark) {
			t.Errorf("%s: the server has seen it", sql)
		}
		recorded := false
		for _, r := range book {
			if !strings.Contains(r.Operation.Command, mark) {
				continue
			}
			recorded = true
			if r.Refused == nil && !strings.Contains(r.Outcome.Truncated, "refused") && r.Operation.Verb != "prepare" {
				t.Errorf("%s: recorded as %+v, %+v", sql, r.Operation.SQL, r.Outcome)
			}
		}
		if !recorded {
			t.Errorf("%s: it is not recorded", sql)
		}
	}
	if after := s.state("select count(*), sum(id) from t"); after != before {
		t.Errorf("the table was %s, and is %s", before, after)
	}
}

// What is harmless is read as that: an agent that is asked for everything is no use.
func TestSQLReads(t *testing.T) {
	s := newSQLScene(t, held("10ms"), sqlWorld...)
	for _, sql := range []string{"select * from t", "select length('A'), now(), count(*) from t group by 1, 2", "with d as (select * from t) select * from d", "explain delete from t", "explain (analyze off) select 1", "show search_path",
		"begin; select 1; commit", "set statement_timeout = '5s'", "set search_path = public, pg_catalog", "select current_setting('search_path')", "select 'delete from t; drop table t'", "select $$delete from t$$ -- ; delete from t",
		"declare c cursor with hold for select * from t; fetch 2 from c; close c", "select * from pg_stat_activity limit 0", "select jsonb_build_object('a', 1) ->> 'a'", "values (1), (2)", "table t", "select 1::text::varchar(5)", "", "-- nothing", "select id, row_number() over () from t",
		"savepoint x", "listen a; unlisten a", "select * from information_schema.tables limit 1", "select array_agg(id) from t", "set local work_mem = '8MB'", "reset work_mem", "lock table t in access share mode"} {
		x := s.speak(s.agent)
		if got := x.query(sql).talk(1); strings.Contains(got, "E:42501") || strings.Contains(got, "E:42601") {
			t.Errorf("%s: %s", sql, got)
		}
		x.conn.Close()
	}
}

// S54: every statement is on record, in both protocols, with its parameters.
func TestS54Recorded(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(allowAllSQL), "create table t (id int, name text)")
	x := s.speak(s.agent)
	x.query("insert into t values (1, 'one54'); select 'two54'").talk(1)
	x.run("select $1::text || 'three54'", "param54").sync().talk(1)
	for text, effect := range map[string]string{"one54": "write", "two54": "read", "three54": "read"} {
		r := s.recorded(text)
		if len(r) != 1 || r[0].Operation.SQL.Effect != effect || r[0].Outcome == nil || r[0].Outcome.Truncated != "" || r[0].Outcome.Rows != 1 {
			t.Errorf("%s: %+v", text, r)
		}
	}
	if r := s.recorded("three54"); len(r) == 1 && (len(r[0].Operation.SQL.Parameters) != 1 || r[0].Operation.SQL.Parameters[0] != "param54") {
		t.Errorf("parameters %q", r[0].Operation.SQL.Parameters)
	}
}

// S53: the role that is in force is the one that policy sees.
func TestS53RoleIsFollowed(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(allowAllSQL+`  - {id: not-bob, protocol: postgres, effect: deny, verbs: [execute], when: 'sql.role == "bob" && sql.effect != "admin"', reason: bob may not, advice: none}
`), "create table t (id int)")
	s.p.Admin(t, "postgres", "drop role if exists bob", "create role bob")
	x := s.speak(s.agent)
	for _, c := range [][2]string{{"set role bob", "C Z:I"}, {"select 53", "E:42501 Z:I"}, {"set role none", "C Z:I"}, {"select 53", "T D:53 C Z:I"}, {"set role bob; select 53", "E:42501 Z:I"}} {
		if got := strings.ReplaceAll(x.query(c[0]).talk(1), " S ", " "); got != c[1] {
			t.Errorf("%s: %s, want %s", c[0], got, c[1])
		}
	}
}

// I102: a prepared statement that was approved once asks again for other parameters, which are shown.
func TestI102OtherParameters(t *testing.T) {
	s := newSQLScene(t, held("20s"), "create table t (id int)", "insert into t select generate_series(1, 9)")
	x := s.speak(s.agent)
	ada := s.g.API(s.g.Person("ada", "approvers"))
	if got := x.parse("del", "delete from t where id = $1").sync().talk(1); got != "1 Z:I" {
		t.Fatal(got)
	}
	delete := func(id string) string {
		x.bind("", "del", id).execute("", 0).sync().flush()
		a := pending(t, ada, "$1 = '"+id+"'")
		if a.Operation.SQL.Parameters[0] != id || !strings.Contains(a.Card.Object, "delete from t where id = $1") {
			t.Errorf("the approver sees %+v", a.Card)
		}
		approveSQL(t, ada, a.ID)
		return x.talk(1)
	}
	for _, id := range []string{"3", "4", "3"} {
		if got := delete(id); !strings.HasSuffix(got, "2 C Z:I") {
			t.Errorf("%s: %s", id, got)
		}
	}
	// Approved for 5 when its client had taken it back: not good for 6.
	x.bind("", "del", "5").execute("", 0).sync().flush()
	a := pending(t, ada, "$1 = '5'")
	s.cancel(x.key)
	if got := x.talk(1); !strings.HasSuffix(got, "E:42501 Z:I") {
		t.Error(got)
	}
	approveSQL(t, ada, a.ID)
	x.bind("", "del", "6").execute("", 0).sync().flush()
	pending(t, ada, "$1 = '6'")
	s.cancel(x.key)
	if got := x.talk(1); !strings.HasSuffix(got, "E:42501 Z:I") {
		t.Error(got)
	}
	if got := s.state("select string_agg(id::text, ',' order by id) from t"); got != "1,2,5,6,7,8,9" {
		t.Error(got)
	}
	if r := s.recorded("delete from t"); len(r) != 6 || r[1].Approval == "" || r[1].Approval == r[3].Approval || r[0].Decision.Effect != access.Allow {
		t.Errorf("%d records: %+v", len(r), r)
	}
}
