package attack

import (
	"strings"
	"testing"
)

// Whoever is asked is told how many rows the planner takes a statement to reach, with its parameters, and nothing is run for that.
func TestSQLEstimateOnTheCard(t *testing.T) {
	o := held("20s")
	o.Target = "    estimate: true\n"
	s := newSQLScene(t, o, append(sqlWorld, "create table many (id int primary key, name text)", "insert into many select i, 'n' from generate_series(1, 5000) i", "analyze many")...)
	ada := s.g.API(s.g.Person("ada", "approvers"))
	x := s.speak(s.agent)
	for i, c := range []struct {
		do   func(mark string)
		want string
	}{
		{func(m string) { x.query("delete from many /*" + m + "*/") }, "takes it to reach 5000 rows"},
		{func(m string) { x.query("update many set name = 'x' where id = 7 /*" + m + "*/") }, "takes it to reach 1 rows"},
		{func(m string) { x.run("delete from many where id = $1 /*"+m+"*/", "7").sync() }, "takes it to reach 1 rows"},
		{func(m string) { x.run("delete from many where id = any($1) /*"+m+"*/", "{7,8,9}").sync() }, "takes it to reach 3 rows"},
		{func(m string) { x.query("select * from many for update /*" + m + "*/") }, "takes it to reach 5000 rows"},
		{func(m string) { x.query("insert into many select id + 5000, name from many /*" + m + "*/") }, "takes it to reach 5000 rows"},
		{func(m string) { x.query("delete from many where id = touch() /*" + m + "*/") }, "no estimate of the rows that it reaches: it calls what is not known to be harmless"},
		{func(m string) { x.query("truncate many /*" + m + "*/") }, "no estimate of the rows that it reaches: it is not one"},
		{func(m string) { x.query("delete from nothing /*" + m + "*/") }, "no estimate of the rows that it reaches: the database refuses: 42P01"},
		{func(m string) { x.query("delete from many /*" + m + "*/; select 1") }, "no estimate"},
	} {
		mark := "estimate" + string(rune('a'+i))
		c.do(mark)
		x.flush()
		if a := pending(t, ada, mark); !strings.Contains(a.Card.Object, c.want) {
			t.Errorf("%s: the card says %q", mark, a.Card.Object)
		}
		s.cancel(x.key)
		if got := x.talk(1); !strings.HasSuffix(got, "E:42501 Z:I") {
			t.Error(got)
		}
	}
	if got := s.state("select count(*) || (select string_agg(name, ',' order by id) from t) from many"); got != "5000n1,n2,n3,n4,n5" {
		t.Error(got)
	}
	// It is off unless it is asked for.
	q := newSQLScene(t, held("20s"), "create table t (id int)")
	y := q.speak(q.agent)
	y.query("delete from t /*quiet*/").flush()
	if a := pending(t, q.g.API(q.g.Person("ada", "approvers")), "quiet"); strings.Contains(a.Card.Object, "planner") || strings.Contains(a.Card.Object, "estimate") {
		t.Error(a.Card.Object)
	}
}
