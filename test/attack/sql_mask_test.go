package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// columnPolicy allows everything, and hides columns.
const columnPolicy = `masks:
  - {name: pii, paths: [users.password, public.users.email, salary, shard.token]}
rules:
  - {id: everything, protocol: postgres, effect: allow, masks: [pii], reason: a test allows everything}
`

// hiddenSQL is a database with hidden columns, and things made of them.
func hiddenSQL(password, email string) []string {
	return []string{
		"create table users (id int primary key, name text, password text, email varchar, salary numeric, age int)",
		fmt.Sprintf("insert into users values (1, 'ann', '%s', '%s', 71234567891234, 30)", password, email),
		"create view directory as select id, upper(password) as p, name from users", "create view further as select d.p as q, d.id from directory d",
		"create view whole as select u as u, name from users u", "create materialized view kept as select name, password as secret from users",
		"create table parent (id int, token text) partition by list (id)", "create table shard partition of parent for values in (1)", fmt.Sprintf("insert into parent values (1, '%s')", password),
		"create function leak() returns text language sql as 'select password from users'", "create table other (id int, note text)", "insert into other values (1, 'plain')",
		"analyze users", "create type pair as (a text, b text)", "create table raw (id int)", "create function complain(text) returns text language plpgsql as $$ begin raise notice 'it is %', $1; raise exception 'no: %', $1; end $$",
		"create unique index on users (password)", "create table log (line text)",
		// Code of the database's own behind names that look harmless.
		"create function lower(int) returns text language sql as 'select password from users'", "create function op_leak(int, int) returns text language sql as 'select password from users'", "create operator |>| (leftarg = int, rightarg = int, function = op_leak)",
		"create type leaky as (x text)", "create function to_leaky(int) returns leaky language sql as 'select row(password)::leaky from users'", "create cast (int as leaky) with function to_leaky(int)",
		"create function row_leak(other) returns text language sql as 'select password from users'", "create function early() returns int language plpgsql immutable as $$ begin raise exception 'it is %', (select password from users); end $$",
		"alter table users add constraint one_email unique (email)", "create table refs (email varchar references users (email) deferrable initially deferred)", "insert into refs select email from users",
		"create rule tell as on insert to raw do also select password from users", "create function folded() returns text immutable language plpgsql as $$ begin return (select password from users); end $$",
		"create table shard_b partition of parent for values in (2)", fmt.Sprintf("insert into parent values (2, '%s')", password), "create table staff (salary text)", fmt.Sprintf("insert into staff values ('%[1]s'), ('%[1]s')", password),
		"create type kind as (id int, salary text)", "create table typed of kind", fmt.Sprintf("insert into typed values (1, '%s')", password), "create statistics casts on (password::int), id from users",
	}
}

// leaks are ways to get at hidden columns.
var leaks = []string{
	"select * from users", "select password from users", "select u.password from users u", "select password as id, id as password from users", "select users.* from users", "table users", "select u from users u", "select users from users",
	"select upper(password) from users", "select reverse(email) from users", "select password || '' from users", "select (u).password from users u", "select (u.*)::text from users u", "select row_to_json(u) from users u", "select u.row_to_json from users u", "select to_jsonb(users) from users",
	"select array_agg(password) from users", "select string_agg(password, ',') from users", "select max(email) from users", "select min(salary) from users", "select substr(password, 1, 20), substr(password, 21) from users", "select regexp_split_to_table(password, '') from users",
	"with x as (select password as p from users) select p from x", "with x(a, b) as (select id, password from users) select b from x", "with recursive r as (select password as p, 1 as n from users union all select p, n + 1 from r where n < 3) select p from r",
	"select p from (select password as p from users) s", "select s.* from (select * from users) s", "select x from (select password from users) s(x)", "select b from users as t(a, x, b)", "select t.b from users as t(a, x, b, c)", "select (select password from users where id = 1)", "select (select u.password) from users u",
	"select 'a' union all select password from users", "select password from users union select 'b'", "(select id::text from users) except (select 'x') union all (select email from users)", "values ((select password from users))", "select case when true then password end from users", "select coalesce(null, email) from users",
	"select p from directory", "select * from directory", "select q from further", "select * from further", "select * from whole", "select u from whole", "select (u).password from whole", "select secret from kept", "select * from kept", "select token from shard", "select * from shard", "select token from parent", "select * from parent",
	"select leak()", "select * from leak()", "select x from leak() x", "select j.password from other o join users j using (id)", "select * from other natural join users", "select p from other o, lateral (select password as p from users) l", "select x.e from other o left join (select id, email as e from users) x on true",
	"select unnest(array(select password from users))", "select json_agg(u) from users u", "select jsonb_build_object('p', password) from users", "select format('%s', password) from users", "select password::varchar(100) from users", "select encode(password::bytea, 'hex') from users", "select encode(convert_to(email, 'utf8'), 'base64') from users",
	"update users set name = 'ann' returning *", "update users set name = 'ann' returning password", "delete from users where id = 7 returning password", "update other o set note = 'x' from users u returning u.email", "with d as (update users set age = 30 returning password) select * from d", "insert into other select 2, 'z' returning (select password from users)",
	"select most_common_vals from pg_stats where tablename = 'users'", "select * from pg_stats where tablename = 'users'", "select histogram_bounds::text from pg_stats where tablename = 'users'", "select stavalues1 from pg_statistic where starelid = 'users'::regclass",
	"begin; declare c cursor for select password from users; fetch all from c; commit", "begin; declare c cursor for select * from users; fetch 1 from c; commit", "prepare p as select password from users; execute p", "select first_value(password) over () from users", "select lag(email) over (order by id) from users, generate_series(1, 2)",
	"copy users to stdout", "copy users (id, password) to stdout", "copy (select password from users) to stdout", "copy (select password as x from users) to stdout", "copy users to stdout with csv", "copy users to stdout with binary", "copy (select * from users) to stdout with (format text)", "copy directory to stdout", "copy (select leak()) to stdout",
	"select password::int from users", "select password::date from users", "select (password || 'x')::numeric from users", "insert into users select id + 1, name, password from users", "update users set password = password where email::int = 1", "select complain(password) from users", "select complain(leak())", "select * from users where password::int = 1", "select email::inet from users",
	"select query_to_xml('select password from users', true, true, '')", "select table_to_xml('users', true, true, '')", "select * from xmltable('/a' passing (select xmlelement(name a, password) from users) columns x text path '.')", "select xmlagg(xmlelement(name a, password)) from users",
	"begin; create temp view tv as select password as pp from users; select pp from tv; rollback", "create temp table copied as select password as pp from users; select * from copied", "create or replace view directory as select id, email as p, name from users; select p from directory", "begin; alter table users rename password to pw; select pw from users; rollback",
	"select grouping(password), password from users group by rollup(password)", "select distinct on (id) password from users", "select password from only users", "select password from users tablesample bernoulli (100)", "select p from (values ((select password from users))) v(p)", "select x.password from users x, users y",
	"select (array_agg(u))[1].password from users u", "select row(u.*) from users u", "select row(password, 1) from users", "select row(password, 1)::pair from users", "select (row(password, email)::pair).b from users", "select jsonb_object_agg(name, email) from users", "explain (verbose) select * from users where password = (select password from users)",
	"select 1 |>| 2", "select lower(1)", "select 5::leaky", "select (5::leaky).x", "select o.row_leak from other o", "select (o).row_leak from other o", "select row_leak(o) from other o", "select early()", "select 1 order by 1 |>| 2",
	"listen x; select pg_notify('x', password) from users; select 1", "listen x; select 1 from users where pg_notify('x', password) is null; select 1", "select set_config('my.x', password, false) from users; show my.x", "select 1 from users where set_config('my.y', email, false) is null; show my.y; select current_setting('my.y', true)",
	"select lo_from_bytea(4712, password::bytea) from users; select lo_get(4712)", "explain analyze create table stolen as select password as pp from users; select * from stolen", "begin; delete from users; commit", "begin; delete from users; set constraints all immediate; rollback", "delete from users; select 1",
	"select 1 from users u join other o on set_config('my.z', u.password, false) is not null; show my.z", "select count(*) from users having set_config('my.h', max(password), false) is null; show my.h", "select 1 from users order by set_config('my.o', password, false); show my.o",
	"begin; prepare a as select 1; deallocate a; prepare a as select password as pp from users; execute a; commit", "begin; declare d cursor for select 1; close d; declare d cursor for select password from users; fetch d; commit", "prepare b as select password as pp from users; create table stolen2 as execute b; select * from stolen2",
	"create rule log_it as on update to users do also insert into log values (old.password); update users set age = 31; select * from log", "alter table users add column copied text generated always as (password) stored; select copied from users",
	"alter table users alter column name type text using password; select name from users", "create trigger t before update on users for each row execute function suppress_redundant_updates_trigger()", "alter table users rename to people; select password as p from people; select * from people", "alter table people rename to users",
	"alter table users rename password to pw; select pw from users", "alter table users rename pw to password",
	"select row_to_json(x) from users a join users b using (password) as x", "select x from users a join users b using (password) as x", "select x.* from users a join users b using (password) as x", "select x.password from users a join users b using (password) as x", "select x::text from users a natural join users b join users c using (password) as x",
	"with recursive r as (select id, password p from users union all select id, p from r where false) search depth first by id, p set ord select ord from r", "with recursive r as (select id, password p from users union all select id, p from r where false) cycle p set is_cycle using path select path from r",
	"with recursive r as (select id, password p from users union all select id, p from r where false) cycle p set is_cycle using path select c from (select * from r) s(a, b, c, d)", "select a from users u, unnest(array[u.password]) with ordinality x(a, b)", "select x from users u, unnest(array[u.password]) with ordinality x", "select (jsonb_each_text(to_jsonb(u))).value from users u",
	"insert into raw values (1)", "explain verbose select folded()", "explain select * from other where note = folded()", "explain analyze select * from other where note = folded()", "create temp view aside as table users; select * from aside; select password from aside",
	"create index on users ((password::int))", "create unique index on staff (salary)", "alter table staff add unique (salary)", "analyze users", "analyze", "alter table parent detach partition shard_b; select token from shard_b", "alter index users rename to people; select password from people; alter index people rename to users",
	"alter schema public rename to p2; select email from p2.users; alter schema p2 rename to public", "alter type kind rename attribute salary to pay cascade; select pay from typed", "select query from pg_stat_activity", "select a.query from pg_stat_get_activity(null) a", "select pg_stat_get_backend_activity(i) from pg_stat_get_backend_idset() i",
	"do $$ begin perform set_config('my.q', (select password from users), false);end $$; show my.q", "do $$ begin create table stolen3 as select password p from users;end $$; select * from stolen3",
	"create function mine() returns int language plpgsql as $$ begin insert into other select 7, password from users;return 1;end $$; select mine(); select note from other", "create table made (x text default leak()); insert into made default values returning x",
	"merge into other using users u on false when not matched then insert values (9, u.password); select note from other", "update users set (name) = (select password from users); select name from users", "insert into users values (1, 'x', 'y') on conflict (id) do update set name = users.password; select name from users",
	"with w as materialized (select * from users) select w from w", "select j from (select users as j from users) z", "select (z.j).email from (select users as j from users) z", "select percentile_disc(0.5) within group (order by email) from users", "select (json_populate_record(null::users, row_to_json(u))).password from users u",
}

// What a mask of the policy's hides is in no answer: through aliases, expressions, views, partitions, functions, in both formats, in errors, notices, COPY.
func TestM43ColumnsAreHidden(t *testing.T) {
	password, email := newCanary(t.Name()+"password", ""), newCanary(t.Name()+"email", "@example.com")
	s := newSQLScene(t, sqlPolicy(columnPolicy), hiddenSQL(string(password.value), string(email.value))...)
	reversed := func(b []byte) []byte {
		out := make([]byte, len(b))
		for i, c := range b {
			out[len(b)-1-i] = c
		}
		return out
	}
	all := newSearch()
	for name, c := range map[string]canary{"password": password, "email": email} {
		all.hide(name, c)
		all.hide("upper "+name, canary{[]byte(strings.ToUpper(string(c.value)))})
		all.hide("reversed "+name, canary{reversed(c.value)})
	}
	clean := func(what, sql string, b []byte) {
		t.Helper()
		if ways := all.in(b); len(ways) > 0 {
			t.Errorf("%s: %s: %v: %.400q", what, sql, ways, b)
		}
		for _, c := range []canary{password, email} {
			joined := strings.ReplaceAll(string(b), "\n", "")
			if strings.Contains(joined, string(c.value)) {
				t.Errorf("%s: %s: row by row: %.400q", what, sql, b)
			}
		}
		if strings.Contains(string(b), "71234567891234") {
			t.Errorf("%s: %s: the salary: %.400q", what, sql, b)
		}
	}
	other, err := pgx.Connect(t.Context(), s.p.Direct(s.database)) // pg_stat_activity tells what others have run
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(t.Context())
	if _, err := other.Exec(t.Context(), "select '"+string(password.value)+"'"); err != nil {
		t.Fatal(err)
	}
	for _, sql := range leaks {
		x := s.speak(s.agent)
		x.what = sql
		var all []byte
		for _, one := range append([]string{sql}, strings.Split(sql, "; ")...) { // as one text, and one by one
			x.query(one).flush()
			for m := range x.until('Z') {
				all = append(append(all, m.Raw...), '\n')
			}
		}
		clean("simple", sql, all)
		if strings.Contains(string(all), "Fgatebook\x00") {
			t.Errorf("%s: %q", sql, all)
		}
		if strings.Contains(sql, ";") || strings.HasPrefix(sql, "copy") {
			x.conn.Close()
			continue
		}
		for _, format := range []int{0, 1} {
			x.parse("", sql)
			x.out.Begin('B').Text("").Text("").Int16(0).Int16(0).Int16(1).Int16(format).End()
			x.execute("", 0).sync().flush()
			var all []byte
			for m := range x.until('Z') {
				all = append(all, m.Raw...)
			}
			clean(fmt.Sprintf("format %d", format), sql, all)
		}
		x.conn.Close()
	}
	// Recordings and the index hold no more than the agent saw.
	s.g.Stop()
	err = filepath.WalkDir(s.g.Data(), func(path string, d os.DirEntry, err error) error {
		switch {
		case path == s.g.Data("compiled"): // of before the first client
			return filepath.SkipDir
		case err != nil || d.IsDir():
			return err
		}
		b, err := os.ReadFile(path)
		clean("kept", path, b)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// What is not hidden stays as it is, whatever stands beside it.
func TestM43OtherColumnsAreShown(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(columnPolicy), hiddenSQL("a-password-of-ann", "ann@example.com")...)
	for sql, want := range map[string]string{
		"select id, name, age from users": "1|ann|30", "select name from users where password is not null": "ann", "select u.name, o.note from users u join other o using (id)": "ann|plain", "select count(*) from users": "1",
		"with x as (select id, name from users) select * from x": "1|ann", "select id from directory": "1", "select name from whole": "ann", "select * from other": "1|plain", "select upper(name) from (select name from users) s": "ANN", "select id from parent": "1\n2",
		"select exists (select 1 from users where password like 'a%')": "t", "select length(note) from other": "5", "copy other to stdout": "1\tplain", "select id from users union select 9 order by 1": "1\n9",
	} {
		if got := strings.TrimSpace(s.psql(sql).Stdout); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
	// A placeholder is valid where it stands, and is not taken back.
	c, err := pgx.Connect(t.Context(), s.g.DSN(s.agent, "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	var pw, again, mail string
	if err := c.QueryRow(t.Context(), "select password, password, email, salary::float8 from users").Scan(&pw, &again, &mail, new(*float64)); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(pw, "gbm-") || pw != again || !strings.HasPrefix(mail, "gbm-") || pw == mail {
		t.Errorf("%q, %q, %q", pw, again, mail)
	}
	r := s.psql("select salary from users")
	if n := strings.TrimSpace(r.Stdout); len(n) != 15 || strings.Trim(n, "0123456789") != "" {
		t.Errorf("a number's placeholder is %q", r.Out())
	}
	for _, back := range []string{pw, strings.TrimSpace(r.Stdout)} {
		if r := s.psql("update users set name = '" + back + "'"); !strings.Contains(r.Stderr, "22000") {
			t.Error(r.Out())
		}
		if _, err := c.Exec(t.Context(), "update users set name = $1", back); err == nil || !strings.Contains(err.Error(), "22000") {
			t.Error(err)
		}
		if r := s.psql("copy other from stdin;\n5\t" + back + "\n\\.\n"); !strings.Contains(r.Stderr, "masked value") {
			t.Error(r.Out())
		}
	}
	if n, err := strconv.ParseFloat(strings.TrimSpace(r.Stdout), 64); err != nil {
		t.Error(err)
	} else {
		for _, sql := range []string{"update users set salary = $1", "update users set salary = $1::float8"} {
			if _, err := c.Exec(t.Context(), sql, n); err == nil || !strings.Contains(err.Error(), "22000") {
				t.Errorf("%s: %v", sql, err)
			}
		}
		if r := s.psql("update users set salary = " + strconv.FormatFloat(n, 'e', -1, 64)); !strings.Contains(r.Stderr, "22000") {
			t.Error(r.Out())
		}
	}
	if got := s.state("select name || (select count(*) from other) from users"); got != "ann1" {
		t.Error(got)
	}
}

// S63, M41: what the gateway knows to be secret is in no row, error, notice, notification, column name or copy: here its own password for
// the database, of which somebody left a copy in a table.
func TestS63KnownValues(t *testing.T) {
	const known = "the-gateways-own-database-password"
	s := newSQLScene(t, sqlPolicy(allowAllSQL), "create table t (id int, note text, doc jsonb, raw bytea)",
		"insert into t values (1, 'it is "+known+"', '{\"p\": \""+known+"\"}', '"+known+"')", "create unique index on t (note)",
		"create function complain() returns void language plpgsql as $$ begin raise notice 'it is %', (select note from t); raise exception using message = (select note from t), detail = (select note from t), hint = (select note from t); end $$")
	c := canary{[]byte(known)}
	for _, sql := range []string{"select * from t", "select note from t", "select doc from t", "select raw from t", "select encode(raw, 'base64') from t", "select encode(raw, 'hex') from t", "select note::int from t", "select raw::text from t", "select complain()", "insert into t select id, note from t",
		"copy t to stdout", "copy t to stdout csv", "copy t to stdout binary", "listen x; select pg_notify('x', note) from t; select 1", "do $$ begin raise notice '%', (select note from t); end $$", "select jsonb_pretty(doc) from t", "select row_to_json(t) from t", "declare c cursor with hold for select note from t; fetch all from c",
		"set application_name = 'x'", "select repeat('x', 70000) || note from t", "select note from t, generate_series(1, 2000)"} {
		r := s.psql(sql)
		if ways := c.seen([]byte(r.Out())); len(ways) > 0 {
			t.Errorf("%s: %v: %.300s", sql, ways, r.Out())
		}
		if sql == "select note from t" && !strings.Contains(r.Stdout, "it is gbm-") {
			t.Error(r.Out())
		}
		if strings.Contains(sql, ";") {
			continue
		}
		x := s.speak(s.agent)
		for _, format := range []int{0, 1} {
			x.parse("", sql)
			x.out.Begin('B').Text("").Text("").Int16(0).Int16(0).Int16(1).Int16(format).End()
			x.out.Begin('D').Byte('P').Text("").End()
			if strings.HasPrefix(sql, "copy") || strings.HasPrefix(sql, "set") {
				x.out.Bytes = nil
				x.query(sql)
			} else {
				x.execute("", 0).sync()
			}
			x.flush()
			var all []byte
			for {
				m, err := x.in.Next()
				if err != nil { // a binary COPY that holds it is cut off
					break
				}
				if all = append(all, m.Raw...); m.Type == 'Z' {
					break
				}
			}
			if ways := c.seen(all); len(ways) > 0 {
				t.Errorf("%s, format %d: %v: %.300q", sql, format, ways, all)
			}
			if strings.Contains(sql, "binary") {
				break
			}
		}
		x.conn.Close()
	}
	// What the agent itself sends of it is recorded as its placeholder.
	s.psql("select 'sent63', '" + known + "'")
	if r := s.recorded("sent63"); len(r) != 1 || strings.Contains(fmt.Sprintf("%+v", r), known) || !strings.Contains(r[0].Operation.SQL.Text, "gbm-") {
		t.Errorf("%+v", r)
	}
}

// What is secret by its place in the catalogs is hidden by the default masks: it takes no rule.
func TestSQLCatalogSecrets(t *testing.T) {
	s := newSQLScene(t, held("10ms"))
	hash := s.p.Admin(t, "postgres", "select rolpassword from pg_authid where rolname = 'gate'")
	for _, sql := range []string{"select rolpassword from pg_authid", "select * from pg_authid", "select passwd from pg_shadow", "select * from pg_catalog.pg_shadow", "select a from pg_authid a", "select upper(rolpassword) from pg_authid", "select substr(rolpassword, 1, 80), substr(rolpassword, 81) from pg_authid where rolname = 'gate'", "select to_jsonb(a) from pg_authid a"} {
		r := s.psql(sql)
		if r.Code != 0 || r.Stdout == "" {
			t.Error(sql, r.Out())
		}
		for i := 0; i+pieceBytes <= len(hash); i += 4 {
			if i > 14 && strings.Contains(strings.ToLower(r.Out()), strings.ToLower(hash[i:i+pieceBytes])) {
				t.Errorf("%s: %s", sql, r.Out())
				break
			}
		}
	}
	if r := s.psql("select rolname from pg_authid where rolname = 'gate'"); strings.TrimSpace(r.Stdout) != "gate" {
		t.Error(r.Out())
	}
}
