package postgres

import (
	"strings"
	"testing"
	"time"

	wire "gatebook/internal/wire/postgres"
)

// asked are the server's sessions in which the gateway has asked for definitions since the log had so many bytes, and how often it has.
func (w *world) asked(since int) (sessions, times int) {
	seen := map[string]bool{}
	for l := range strings.Lines(w.p.Log()[since:]) {
		if id, _, ok := strings.Cut(strings.TrimPrefix(l, "gatebook|"), "| "); ok && strings.HasPrefix(l, "gatebook|") && strings.Contains(l, "statement:") {
			seen[id] = true
			times++
		}
	}
	return len(seen), times
}

// Where definitions follow one another, the gateway asks over one connection; what defines nothing, or has no names, asks nothing; the
// connection may end in between, keeps nobody from copying the database, and ends with the client's.
func TestDefinitionsAreAskedAside(t *testing.T) {
	w := newWorld(t, nil)
	x := w.connect(t)
	run := func(sql ...string) {
		t.Helper()
		var b wire.Builder
		for _, s := range sql {
			query(&b, s)
			x.send(b.Bytes)
			if got := x.answer(1); strings.Contains(got, "E:") {
				t.Errorf("%s: %s", s, got)
			}
			b.Bytes = nil
		}
	}
	since := len(w.p.Log())
	for range 4 {
		run("create table t (id int)", "insert into t values (1)", "drop table t", "begin", "commit", "set datestyle = 'ISO'")
	}
	if sessions, times := w.asked(since); sessions != 1 || times != 9 {
		t.Errorf("it asked %d times over %d connections, want 9 over one, once for what every database has", times, sessions)
	}
	run("create table t (id int)", "select * from t")
	since = len(w.p.Log())
	run("create index on t (id)", "select * from t", "comment on table t is 'x'", "select * from t", "grant select on t to public", "select * from t")
	if _, times := w.asked(since); times != 0 {
		t.Errorf("it asked %d times after what defines nothing", times)
	}
	run("create table u (id int)")
	w.p.Admin(t, w.db, "select pg_terminate_backend(pid, 60000) from pg_stat_activity where application_name = 'gatebook' and datname = '"+w.db+"'")
	run("select * from u", "create database "+w.db+"_copy template "+w.db)
	w.p.Admin(t, "postgres", "drop database "+w.db+"_copy")
	run("create table v (id int)", "select * from v")
	x.conn.Close()
	for deadline := time.Now().Add(time.Minute); w.p.Admin(t, "postgres", "select count(*) from pg_stat_activity where datname = '"+w.db+"'") != "0"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a connection is left")
		}
	}
}
