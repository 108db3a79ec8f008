package postgres

import (
	"strings"
	"sync"
	"testing"

	"gatebook/internal/access"
	wire "gatebook/internal/wire/postgres"
)

// facts gives what policy sees of each of the statements, which need not succeed.
func (w *world) facts(t *testing.T, statements ...string) []access.SQL {
	t.Helper()
	var mu sync.Mutex
	var seen []access.SQL
	w.decide = func(op *access.Operation) access.Decision {
		if op.Verb == "execute" {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, *op.SQL)
			if len(op.Uninspectable) > 0 {
				t.Errorf("%s: %v", op.SQL.Text, op.Uninspectable)
			}
		}
		return access.Decision{Effect: access.Allow}
	}
	x := w.connect(t)
	for _, sql := range statements {
		var b wire.Builder
		query(&b, sql)
		x.send(b.Bytes)
		x.answer(1)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != len(statements) {
		t.Fatalf("policy saw %d of %d statements", len(seen), len(statements))
	}
	return seen
}

// Who writes to a view, or to a relation with rules, writes to what is behind it, and does what the rules do.
func TestWritesReachWhatIsBehind(t *testing.T) {
	w := newWorld(t, nil, "create table payroll (id int, pay text)", "create view paid as select id, pay from payroll", "create view twice as select * from paid",
		"create table inbox (id int)", "create table audit (id int)", "create function danger(int) returns int language sql as 'select 1'",
		"create rule spread as on insert to inbox do also delete from audit", "create rule call as on update to inbox do also insert into audit values (danger(new.id))",
		"create view outbox as select id from inbox", "create rule instead as on delete to outbox do instead update payroll set pay = '' where id = old.id")
	for i, f := range w.facts(t, "update paid set pay = 'x' where id = 1", "delete from twice where id = 1", "insert into inbox values (1)", "update inbox set id = 2 where id = 1", "delete from outbox where id = 1", "delete from inbox where id = 1") {
		want := []struct{ writes, tables, kinds, effect string }{
			{"paid payroll public.payroll", "paid payroll public.payroll", "update", "write"}, {"paid payroll public.paid public.payroll twice", "paid payroll public.paid public.payroll twice", "delete", "write"},
			{"audit inbox public.audit", "audit inbox public.audit", "insert select delete", "write"}, {"audit inbox public.audit", "audit inbox public.audit", "update insert select", "admin"},
			{"inbox outbox payroll public.inbox public.payroll", "inbox outbox payroll public.inbox public.payroll", "delete update", "write"}, {"inbox", "inbox", "delete", "write"},
		}[i]
		if got := [4]string{strings.Join(f.Writes, " "), strings.Join(f.Tables, " "), strings.Join(f.Kinds, " "), f.Effect}; got != [4]string{want.writes, want.tables, want.kinds, want.effect} {
			t.Errorf("%s: %q, want %q", f.Text, got, want)
		}
		if f.NoWhere != (i == 2) {
			t.Errorf("%s: no WHERE is %v", f.Text, f.NoWhere)
		}
	}
}

// Rules that lead back to themselves, by ever more ways, are followed once: the server refuses them, and only when they are used.
func TestRulesThatLeadBack(t *testing.T) {
	both := func(to string) string {
		return " do also (" + strings.Repeat("insert into "+to+" values (1); ", 8) + "delete from seen)"
	}
	w := newWorld(t, nil, "create table a (id int)", "create table b (id int)", "create table seen (id int)", "create rule on_a as on insert to a"+both("b"), "create rule on_b as on insert to b"+both("a"))
	if f := w.facts(t, "insert into a values (1)")[0]; strings.Join(f.Writes, " ") != "a b public.a public.b public.seen seen" {
		t.Errorf("%v", f.Writes)
	}
}

// An extension's operators and types of code that only computes leave what is a read a read; a database's own code behind an operator
// makes it one that can do anything, also where the operator is not written.
func TestOperatorsOfTheDatabasesOwn(t *testing.T) {
	reads := []string{"select * from t where id = 1 and name <> 'a'", "select max(id), min(name) from t", "select name::citext from t", "select '1.2.3'::ltree", "select 1 between 0 and 2"}
	w := newWorld(t, nil, "create extension citext", "create extension ltree", "create extension pg_trgm", "create table t (id int, name citext)")
	for _, f := range w.facts(t, reads...) {
		if f.Effect != "read" {
			t.Errorf("%s: %s because of %v", f.Text, f.Effect, f.Volatile)
		}
	}
	w = newWorld(t, nil, "create table t (a text)", "create table u (a int)", "create function evil(text, int) returns boolean language sql as 'select true'",
		"create operator public.= (leftarg = text, rightarg = int, function = evil)", "create operator public.<= (leftarg = text, rightarg = int, function = evil)", "create operator public.>= (leftarg = text, rightarg = int, function = evil)")
	for _, f := range w.facts(t, "select 'a'::text = 1", "select case 'a'::text when 1 then 2 end", "select 'a'::text in (select 1)", "select 'a'::text in (1, 2)", "select 'a'::text between 1 and 2", "select 'a'::text not between symmetric 1 and 2",
		"select 1 from t join u using (a)", "select 1 from t natural join u", "select nullif('a'::text, 1)", "select 'a'::text is distinct from 1") {
		if f.Effect != "admin" {
			t.Errorf("%s: %s", f.Text, f.Effect)
		}
	}
	for _, f := range w.facts(t, "select 1 from t join u on true", "select 'a' < 'b'") {
		if f.Effect != "read" {
			t.Errorf("%s: %s because of %v", f.Text, f.Effect, f.Volatile)
		}
	}
}
