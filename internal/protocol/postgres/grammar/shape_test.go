package grammar

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var literal = regexp.MustCompile(`'(?:[^']|'')*'|[0-9]+`)

// otherLiterals gives a text with what looks like a literal replaced, wherever it stands: integers by one, strings by another.
func otherLiterals(text, number, str string) (string, bool) {
	return literal.ReplaceAllStringFunc(text, func(l string) string {
		if l[0] == '\'' {
			return str
		}
		return number
	}), literal.MatchString(text)
}

// known is all that is told of a statement, and what it exposes.
func known(s *Statement) string {
	own := *s
	own.root, own.like = nil, nil
	v := reflect.ValueOf(own)
	var out strings.Builder
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && f.Name != "Setting" && f.Name != "Copy" {
			fmt.Fprintf(&out, "%s=%q ", f.Name, fmt.Sprint(v.Field(i)))
		}
	}
	if s.Setting != nil {
		fmt.Fprintf(&out, "%+v", *s.Setting)
	}
	if s.Copy != nil {
		fmt.Fprintf(&out, "%v %v", s.Copy.From, s.Copy.Columns)
	}
	fmt.Fprintf(&out, "%+v %+v", s.Exposes(everything{}), s.Exposes(nothing{}))
	return out.String()
}

// sameAsParsed holds what Read says of text, where it may have seen its shape before, to what the parser says. It reports whether
// it was taken from another text.
func sameAsParsed(t *testing.T, g *Grammar, text string) bool {
	t.Helper()
	got, err := g.Read(text)
	want, werr := g.read(text)
	if fmt.Sprint(err) != fmt.Sprint(werr) || len(got) != len(want) {
		t.Fatalf("%q: %v, parsed it is %v", text, err, werr)
	}
	for i := range got {
		if g, w := known(got[i]), known(want[i]); g != w {
			t.Fatalf("%q:\n%s\nparsed it is\n%s", text, g, w)
		}
	}
	return len(got) == 1 && got[0].like != nil
}

// literals are pairs to be put in place of others.
var literals = [][2]string{{"7", "'x'"}, {"0", "''"}, {"999999999", "'it''s -- /* $1 \"'"}, {"00042", "'role'"}}

// shapely are texts in which a literal's value, or what stands beside it, could matter.
var shapely = []string{
	"select 1", "select 1;", " select 1 ; ", "select 1; select 2", "select 1 limit 5 offset 3", "select abalance from pgbench_accounts where aid = 4711;", "select 1 -- 2", "select /* 1 */ 2", "select 'a''b'", "select 'a'\n'b'", "select 'a' 'b'",
	"select 'a'::regclass", "select regclass 'pg_class'", "select E'a'", "select e'a\\'', 1", "select U&'d!0061' uescape '!'", "select U&\"d!0061\" uescape '!', 1", "select b'1', x'1f', n'a', B'0'", "select $$1$$, 2", "select $1, 2", "select $a$'$a$, 1",
	"select set_config('search_path', 'evil', false)", "select set_config('role', 'x', true), 1", "select set_config(name, 'x', false) from pg_settings where name = 'role'", "set role 'x'", "set statement_timeout = 5", "set time zone interval '1' hour",
	"select cast(1 as float(5))", "select 1::FLOAT(60)", "select 1::numeric(3, 1), 'a'::varchar(5), '1'::bit(3), interval '1' second(3), interval(3) '1'", "select 1.5, 1e5, .5, 1., 5..6", "select 1_000, 0x1f, 0b1, 0o7, 1a, 1e", "select a[1:2], -1, 1-1, 1--1\n",
	"select 2147483647, 2147483648, 99999999999", "select 'é', 1", "select é, 1", "select a1, b_2, c$3 from t4", "select \"a 1\", \"b\"\"2\" from \"t'\" where x = 'y'", "select 1 a, 2b", "select 'a'b", "select 1 where 'a' ~ 'b' and 1 operator(pg_catalog.=) 2", "select '\\', 1",
	"explain (analyze 'off') select 1", "explain (analyze off) delete from t where id = 1", "copy t to stdout (delimiter ',')", "copy t from '/etc/passwd'", "prepare p as select 1", "execute p('x')", "declare c cursor for select 1", "fetch 5 from c", "fetch -1 c",
	"insert into t values (1, 'a'), (2, 'b') on conflict (id) do update set a = 'c' returning 3", "update t set a = 'x' where id = 4", "update t set a = 'x'", "delete from t where id in (1, 2)", "delete from t", "select * from t where id = 1 for update",
	"merge into t using u on t.id = 1 when matched then delete", "select extract('year' from x), position('a' in 'b'), overlay('a' placing 'b' from 1 for 2), trim('a' from 'b'), substring('a' from 1 for 2), 'a' like 'b' escape '!'", "select 'now'::timestamp at time zone 'utc'",
	"select * from json_table('[]', '$' columns (a int path '$.a'))", "select xmlelement(name a, 'b'), xmlroot('<a/>', version '1.0')", "select * from t tablesample bernoulli (10) repeatable (5)", "with recursive r as (select 1 union select 2 from r) cycle id set c to 'y' default 'n' using p select * from r",
	"select 1 order by 1 fetch first 3 rows with ties", "select count(*) over (rows between 1 preceding and 2 following)", "values (1, 'a')", "select nextval('s'), dblink('x', 'delete from t'), query_to_xml('select 1', true, true, '')", "lock table t", "notify a, 'b'", "create table t (a int default 5)", "comment on table t is 'x'",
	"select 1 into t", "create function f() returns int language sql as 'select 1'", "do 'begin end'", "call p(1)", "begin; select 1", "select \x00 1", "select 'a\x00b'", "select 1 'a'", "select ''''", "select '", "select \"", "select 1::int4, '1'::public.mytype, own('a'), 1 |>| 2",
	"select secret from t where id = 5", "select id, secret || 'x' from t", "select (select secret from t limit 1), 'a'", "values ((select secret from t), 1)", "select f(secret, 'a') from t", "insert into u select secret, 1 from t",
}

// What is known of a statement by its shape is what the parser would say of it.
func TestShapes(t *testing.T) {
	g := shared()
	texts := append(shapely, regressionTexts(t)...)
	shared := 0
	for _, text := range texts {
		if sameAsParsed(t, g, text) {
			shared++
		}
		for _, l := range literals {
			if other, ok := otherLiterals(text, l[0], l[1]); ok && sameAsParsed(t, g, other) {
				shared++
			}
		}
	}
	t.Logf("%d texts, and their like with other literals: %d were known by their shape", len(texts), shared)
	if shared < 100 {
		t.Error("so few are known by their shape that it shows nothing")
	}
}

// regressionTexts are the statements of PostgreSQL's own tests that have a shape, one of each, where GATEBOOK_PG_REGRESS names their folder.
func regressionTexts(t *testing.T) (out []string) {
	files, err := filepath.Glob(filepath.Join(os.Getenv("GATEBOOK_PG_REGRESS"), "sql", "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range regexp.MustCompile(`;[ \t]*(--[^\n]*)?\n`).Split(string(b), -1) {
			if shape, ok := appendShape(nil, text); ok && !seen[string(shape)] {
				seen[string(shape)] = true
				out = append(out, text)
			}
		}
	}
	return out
}

func FuzzShapes(f *testing.F) {
	g := shared()
	if err := g.Wait(); err != nil { // or the first text would seem to hang
		f.Fatal(err)
	}
	for i, text := range shapely {
		f.Add(text, uint32(i), "x")
	}
	f.Fuzz(func(t *testing.T, text string, number uint32, word string) {
		sameAsParsed(t, g, text)
		if other, ok := otherLiterals(text, fmt.Sprint(number), "'"+strings.ReplaceAll(word, "'", "''")+"'"); ok {
			sameAsParsed(t, g, other)
		}
	})
}

// Statements of one shape differ in their text alone, and share what is remembered of them.
func TestShapeIsShared(t *testing.T) {
	a, b := one(t, "select shape from t where id = 1 and name = 'a'"), one(t, "select shape from t where id = 22 and name = 'it''s'")
	if a.Shape() != b.Shape() || a.Text == b.Text || !strings.Contains(b.Text, "22") {
		t.Errorf("%+v and %+v", a, b)
	}
	if c := one(t, "select shape from t where id = 1 and name = 1"); c.Shape() == a.Shape() {
		t.Error("a number is no string")
	}
}

func BenchmarkShape(b *testing.B) {
	g := shared()
	texts := make([]string, 1024)
	for i := range texts {
		texts[i] = fmt.Sprintf("SELECT abalance FROM pgbench_accounts WHERE aid = %d;", i)
	}
	_, _ = g.Read(texts[0])
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, _ = g.Read(texts[i%len(texts)])
	}
}
