package attack

import (
	"strings"
	"testing"

	"gatebook/internal/access"
	wire "gatebook/internal/wire/postgres"
)

// onlyReads denies everything else at once, so that nobody is held.
const onlyReads = `rules:
  - {id: reads, protocol: postgres, effect: allow, when: 'sql.effect in ["read", "session"]', reason: reads alone}
  - {id: inserts, protocol: postgres, effect: allow, when: 'sql.kinds == ["insert", "select"]', reason: and inserts}
`

// H107: a refusal in the middle of a pipeline stands in its place, what follows it up to Sync does not run, what was before it is undone as
// by any error, and the next pipeline is answered as it should be.
func TestH107RefusalInAPipeline(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(onlyReads), "create table h107 (id int)", "insert into h107 values (0)")
	rows := func() string { return s.state("select string_agg(id::text, ',' order by id) from h107") }
	x := s.speak(s.agent)
	for _, c := range []struct {
		name string
		do   func()
		n    int
		want string
		rows string
	}{
		{"first", func() { x.run("delete from h107").run("select 1").sync() }, 1, "E:42501 Z:I", "0"},
		{"behind a change", func() {
			x.run("insert into h107 values (1)").run("delete from h107").run("insert into h107 values (2)").sync()
		}, 1, "1 2 C E:42501 Z:I", "0"},
		{"two pipelines at once", func() { x.run("select 1").run("delete from h107").sync().run("select 2").sync() }, 2, "1 2 D:1 C E:42501 Z:I 1 2 D:2 C Z:I", "0"},
		{"refused ones at both ends", func() { x.run("delete from h107").sync().run("select 2").sync().run("delete from h107").sync() }, 3, "E:42501 Z:I 1 2 D:2 C Z:I E:42501 Z:I", "0"},
		{"the server's error first", func() { x.run("select 1/0").run("delete from h107").run("select 3").sync().run("select 4").sync() }, 2, "1 E:22012 Z:I 1 2 D:4 C Z:I", "0"},
		{"in a transaction", func() {
			x.query("begin").query("insert into h107 values (3)").query("delete from h107").query("insert into h107 values (4)").query("commit")
		}, 5, "C Z:T C Z:T E:42501 Z:E E:25P02 Z:E C Z:I", "0"},
		{"extended in a transaction", func() {
			x.run("begin").sync().run("insert into h107 values (5)").sync().run("delete from h107").sync().run("commit").sync()
		}, 4, "1 2 C Z:T 1 2 C Z:T E:42501 Z:E 1 2 C Z:I", "0"},
		{"with a savepoint", func() {
			x.query("begin").query("insert into h107 values (6)").query("savepoint a").query("delete from h107").query("rollback to a").query("commit")
		}, 6, "C Z:T C Z:T C Z:T E:42501 Z:E C Z:T C Z:I", "0,6"},
		{"a statement that cannot be read", func() { x.run("select 1").run("selec").run("insert into h107 values (7)").sync() }, 1, "1 2 D:1 C E:42601 Z:I", "0,6"},
		{"a statement that is not there", func() {
			x.parse("ins", "insert into h107 values ($1)").bind("p", "none").sync().bind("p", "ins", "8").execute("p", 0).sync()
		}, 2, "1 E:42601 Z:I 2 C Z:I", "0,6,8"},
		{"simple behind extended without Sync", func() { x.run("select 1").query("delete from h107").query("select 2") }, 2, "1 2 D:1 C E:42501 Z:I T D:2 C Z:I", "0,6,8"},
		{"a portal in pieces", func() {
			x.query("begin").parse("", "select generate_series(1, 3)").bind("g", "").execute("g", 2).execute("g", 2).sync().query("commit")
		}, 3, "C Z:T 1 2 D:1 D:2 s D:3 C Z:T C Z:I", "0,6,8"},
		{"a portal of SQL's", func() {
			x.query("begin").query("declare c cursor for select 1").execute("c", 0).sync().query("rollback")
		}, 4, "C Z:T C Z:T E:42601 Z:E C Z:I", "0,6,8"},
	} {
		c.do()
		if got := x.talk(c.n); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if got := rows(); got != c.rows {
			t.Errorf("%s: rows %s, want %s", c.name, got, c.rows)
		}
		if got := x.query("select 9").talk(1); got != "T D:9 C Z:I" {
			t.Fatalf("%s: not in step any more: %s", c.name, got)
		}
	}
	if log := s.p.Log(); !strings.Contains(log, "insert into h107 values (1)\n") || strings.Contains(log, "delete from h107\n") { // a table that no other test has
		t.Error("a refused statement has reached the server, or the log does not show what did")
	}
}

// A name means what the server takes it for, whatever was sent meanwhile.
func TestSQLNamesMeanWhatTheServerTakes(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(onlyReads), "create table t (id int)", "insert into t values (0)")
	for name, c := range map[string]struct {
		do func(x *speaker)
		n  int
	}{
		// The server has the first meaning still, since the second failed with the pipeline.
		"replaced in a pipeline that fails": {func(x *speaker) {
			x.parse("a", "select 1").sync().run("select 1/0")
			x.out.Begin(wire.Close).Byte('S').Text("a").End()
			x.parse("a", "select 2").sync().bind("", "a").execute("", 0).sync()
		}, 3},
		"deallocated by SQL": {func(x *speaker) {
			x.parse("a", "select 5").sync().query("deallocate a").parse("a", "select 1").sync().bind("", "a").execute("", 0).sync()
		}, 4},
	} {
		x := s.speak(s.agent)
		c.do(x)
		if got := x.talk(c.n); !strings.HasSuffix(got, "2 D:1 C Z:I") {
			t.Errorf("%s: %s", name, got)
		}
	}
	// The same, where what the server still has is not allowed to run: the failure comes after all of it was sent.
	d := newSQLScene(t, held("10ms"), "create table t (id int)", "insert into t values (0)")
	y := d.speak(d.agent)
	y.parse("a", "delete from t").sync().talk(1)
	y.run("select 1 / length(pg_sleep(0.5)::text)")
	y.out.Begin(wire.Close).Byte('S').Text("a").End()
	y.parse("a", "select 1").sync().bind("", "a").execute("", 0).sync()
	if got := y.talk(2); !strings.HasSuffix(got, "E:22012 Z:I E:42501 Z:I") {
		t.Error(got)
	}
	if got := d.state("select count(*) from t"); got != "1" {
		t.Error("deleted under another statement's name")
	}
	// PREPARE of a name that there is fails, and EXECUTE then runs the old one.
	o := newSQLScene(t, sqlPolicy(allowAllSQL+"  - {id: no-deletes, protocol: postgres, effect: deny, verbs: [execute], when: '\"delete\" in sql.kinds && !(\"prepare\" in sql.kinds)', reason: no, advice: no}\n"), "create table t (id int)", "insert into t values (0)")
	x := o.speak(o.agent)
	if got := x.query("prepare p as delete from t").query("prepare p as select 1").query("execute p").talk(3); got != "C Z:I E:42P05 Z:I E:42501 Z:I" {
		t.Error(got)
	}
	if got := o.state("select count(*) from t"); got != "1" {
		t.Error("deleted by an old name")
	}
}

// S56: after an error nothing is asked or run until Sync, and what did not run is recorded as that.
func TestS56NothingUntilSync(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(allowAllSQL), "create table t (id int)", "insert into t values (0)")
	x := s.speak(s.agent)
	x.run("select 1/0").run("delete from t /*s56*/").sync()
	if got := x.talk(1); got != "1 E:22012 Z:I" {
		t.Error(got)
	}
	if got := s.state("select count(*) from t"); got != "1" {
		t.Error("it ran")
	}
	for _, r := range s.recorded("s56") {
		if r.Outcome == nil || !strings.Contains(r.Outcome.Truncated, "did not run") {
			t.Errorf("recorded as %+v", r.Outcome)
		}
	}
	for _, r := range s.recorded("select 1/0") {
		if r.Outcome == nil || r.Outcome.Code == 0 || !strings.Contains(r.Outcome.Message, "division by zero") {
			t.Errorf("recorded as %+v", r.Outcome)
		}
	}
}

// S58: what is not decoded does not pass: FunctionCall, and replication.
func TestS58NotDecoded(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(allowAllSQL))
	x := s.speak(s.agent)
	x.out.Begin(wire.FunctionCall).Int32(1262).Int16(0).Int16(0).Int16(0).End()
	if got := x.talk(1); got != "E:42501 Z:I" {
		t.Error(got)
	}
	if got := x.query("select 1").talk(1); got != "T D:1 C Z:I" {
		t.Error(got)
	}
	for _, v := range []string{"database", "true", "on", "1"} {
		c := s.secure()
		if _, err := c.Write(startup("user", "agent", "database", "db", "replication", v)); err != nil {
			t.Fatal(err)
		}
		y := &speaker{t: t, conn: c, in: wire.NewReader(c, 1<<20)}
		y.out.Begin(wire.Password).Text(s.agent).End()
		y.flush()
		for m := range y.until(wire.ErrorResponse) {
			if m.Type == wire.ErrorResponse && field(t, m, 'C') != "42501" {
				t.Errorf("replication=%s: %q", v, m.Body)
			}
		}
		closed(t, "replication="+v, c)
	}
	if got := s.book("claude"); len(got) == 0 || got[len(got)-1].Refused == nil || got[len(got)-1].Refused.Code != access.CodeDenied {
		t.Errorf("%+v", got)
	}
}
