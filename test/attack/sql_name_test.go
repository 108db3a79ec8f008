package attack

import (
	"fmt"
	"strings"
	"testing"

	wire "gatebook/internal/wire/postgres"
)

// A name of a statement or portal is one name for SQL and for the protocol: what it shows is masked by what it stands for at the server,
// whichever way it was given, and given again.
func TestSQLNamesAreOneForBothWays(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(allowAllSQL))
	const secret = "select rolpassword from pg_authid where rolname = 'gate'"
	hash := s.p.Admin(t, "postgres", secret)
	for name, do := range map[string]func(x *speaker) int{
		"a portal by FETCH": func(x *speaker) int {
			x.query("begin").parse("", secret).bind("c", "").sync().query("fetch all from c").query("rollback")
			return 4
		},
		"a portal of EXECUTE by FETCH": func(x *speaker) int {
			x.query("begin").query("prepare p as "+secret).parse("", "execute p").bind("c", "").sync().query("fetch all from c").query("rollback")
			return 5
		},
		"a cursor declared again": func(x *speaker) int {
			x.query("begin").query("declare c cursor for select 1").query("close c").query("declare c cursor for " + secret).query("fetch all from c").query("rollback")
			return 6
		},
		"prepared again": func(x *speaker) int {
			x.query("prepare p as select 1").query("deallocate p").query("prepare p as " + secret).query("execute p")
			return 4
		},
		"prepared too often": func(x *speaker) int {
			for i := range 20 {
				x.query(fmt.Sprintf("prepare p as select %d", i)).query("deallocate p")
			}
			x.query("prepare p as " + secret).query("execute p")
			return 42
		},
		"a portal's name given to a cursor": func(x *speaker) int {
			x.query("begin").parse("", "select 1").bind("c", "").sync().query("commit").query("begin").query("declare c cursor for "+secret).execute("c", 0).sync().query("rollback")
			return 7
		},
		"the same at once": func(x *speaker) int {
			x.run("begin").parse("", "select 1").bind("c", "").run("commit").run("begin").run("declare c cursor for "+secret).execute("c", 0).sync().query("rollback")
			return 2
		},
		"the same by CLOSE": func(x *speaker) int {
			x.run("begin").parse("", "select 1").bind("c", "").run("close c").run("declare c cursor for "+secret).execute("c", 0).sync().query("rollback")
			return 2
		},
		"the same by ROLLBACK TO": func(x *speaker) int {
			x.query("begin").query("savepoint a").parse("", "select 1").bind("c", "").sync().query("rollback to a").query("declare c cursor for "+secret).execute("c", 0).sync().query("rollback")
			return 7
		},
		"a cursor that a function opens under a portal's name": func(x *speaker) int {
			x.query("begin").parse("", "select 1").bind("c", "").sync().query("commit").query("begin").query("do $$ declare c refcursor := 'c'; begin open c for "+strings.ReplaceAll(secret, "'", "'")+"; end $$").execute("c", 0).sync().query("rollback")
			return 7
		},
		"a statement's name given by PREPARE": func(x *speaker) int {
			x.parse("a", "select 1").sync().query("deallocate a").query("prepare a as "+secret).bind("", "a").execute("", 0).sync()
			return 4
		},
		"the same by DISCARD": func(x *speaker) int {
			x.parse("a", "select 1").sync().query("discard all").query("prepare a as "+secret).bind("", "a").execute("", 0).sync()
			return 4
		},
		"EXECUTE of EXECUTE": func(x *speaker) int {
			x.query("prepare p as "+secret).parse("q", "execute p").sync().query("execute q")
			return 3
		},
		"CREATE TABLE AS EXECUTE": func(x *speaker) int {
			x.query("prepare p as " + secret).query("create temp table stolen as execute p").query("select * from stolen")
			return 3
		},
	} {
		x := s.speak(s.agent)
		x.what = name
		n := do(x)
		x.flush()
		var all []byte
		for range n {
			for m := range x.until(wire.ReadyForQuery) {
				all = append(all, m.Raw...)
			}
		}
		if strings.Contains(string(all), hash[20:40]) {
			t.Errorf("%s: %q", name, all)
		}
		if got := x.query("select 7").talk(1); got != "T D:7 C Z:I" {
			t.Errorf("%s: the session does not go on: %s", name, got)
		}
		x.conn.Close()
	}
	// What they are for goes on: a portal in pieces, over several pipelines, and a statement that is prepared again.
	x := s.speak(s.agent)
	x.query("begin").parse("s", "select generate_series(1, 3)").bind("g", "s").execute("g", 1).sync().execute("g", 1).sync().query("savepoint a").execute("g", 1).sync().query("fetch g").query("commit").query("deallocate s").parse("s", "select 4").bind("", "s").execute("", 0).sync()
	if got := x.talk(9); got != "C Z:T 1 2 D:1 s Z:T D:2 s Z:T C Z:T D:3 s Z:T T C Z:T C Z:I C Z:I 1 2 D:4 C Z:I" {
		t.Error(got)
	}
}

// What is approved of an EXECUTE is what its name stood for then.
func TestI102ExecuteIsApprovedForWhatItExecutes(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(`rules:
  - {id: others, protocol: postgres, effect: allow, when: '!("execute" in sql.kinds)', reason: not what this is about}
  - {id: ask, protocol: postgres, effect: approve, verbs: [execute], when: '"execute" in sql.kinds', reason: a person decides, approvers: {groups: [approvers], maxGrant: 1h}}
`), "create table t (id int)", "insert into t select generate_series(1, 9)")
	ada := s.g.API(s.g.Person("ada", "approvers"))
	x := s.speak(s.agent)
	x.query("prepare p as delete from t where id = 3").query("execute p /*i102*/")
	x.flush()
	a := pending(t, ada, "execute p /*i102*/")
	if !strings.Contains(a.Card.Object, "delete from t where id = 3") {
		t.Errorf("the approver sees %q", a.Card.Object)
	}
	s.cancel(x.key)
	if got := x.talk(2); got != "C Z:I E:42501 Z:I" {
		t.Error(got)
	}
	approveSQL(t, ada, a.ID)
	x.query("deallocate p").query("prepare p as delete from t where true").query("execute p /*i102*/")
	x.flush()
	for deadline := 0; ; deadline++ {
		if b := pending(t, ada, "execute p /*i102*/"); b.ID != a.ID {
			break
		} else if deadline > 100 {
			t.Error("it joined the approval of another statement")
			break
		}
	}
	s.cancel(x.key)
	if got := x.talk(3); got != "C Z:I C Z:I E:42501 Z:I" {
		t.Error(got)
	}
	if got := s.state("select count(*) from t"); got != "9" {
		t.Error(got)
	}
}

// S53: a parameter of the session is set by UPDATE of a view as well, and a role by what may not happen.
func TestS53ParametersByOtherWays(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(allowAllSQL+`  - {id: not-gate, protocol: postgres, effect: deny, verbs: [execute], when: 'sql.role == "gate" && "select" in sql.kinds && !("set" in sql.kinds) && sql.text.contains("53")', reason: gate may not, advice: none}
  - {id: not-bob, protocol: postgres, effect: deny, verbs: [execute], when: 'sql.role == "bob" && sql.text.contains("54")', reason: bob may not, advice: none}
`), "create view parameters as select name, setting from pg_settings")
	s.p.Admin(t, "postgres", "drop role if exists bob", "create role bob")
	for _, sql := range []string{"update pg_settings set setting = 'off' where name = 'standard_conforming_strings'", "update pg_catalog.pg_settings set setting = 'bob' where name = 'role'", "with x as (update pg_settings set setting = 'bob' where name = 'role' returning 1) select 1",
		"update parameters set setting = 'off' where name = 'standard_conforming_strings'", "prepare p(text) as select $1; explain execute p(set_config('standard_conforming_strings', 'off', false))", "copy (select 1) to stdout with (encoding 'latin1')"} {
		x := s.speak(s.agent)
		if got := x.query(sql).talk(1); !strings.Contains(got, "E:42501") {
			t.Errorf("%s: %s", sql, got)
		}
		x.conn.Close()
	}
	for _, c := range [][]string{
		{"select set_config('role', 'bob', false) where false", "select 53", "E:42501 Z:I"},
		{"prepare p(text) as select $1", "explain execute p(set_config('role', 'bob', false))", "select 54", "E:42501 Z:I"},
		{"set session authorization bob", "set role none", "select 54", "E:42501 Z:I"},
		{"set session authorization bob", "reset role", "reset session authorization", "select 54", "T D:54 C Z:I"},
	} {
		x := s.speak(s.agent)
		for _, sql := range c[:len(c)-2] {
			if got := x.query(sql).talk(1); strings.Contains(got, "E:") {
				t.Errorf("%s: %s", sql, got)
			}
		}
		if got := x.query(c[len(c)-2]).talk(1); got != c[len(c)-1] {
			t.Errorf("%q: %s", c, got)
		}
		x.conn.Close()
	}
}
