package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"gatebook/test/lab"
)

// database is a gateway before a database, and who asks it.
type database struct {
	p       *lab.Postgres
	db      string
	g       *lab.Gateway
	agent   string
	targets []string // further databases, as targets of these names
}

// TestPostgresClients: programs that speak to PostgreSQL do through the gateway what they do directly.
func TestPostgresClients(t *testing.T) {
	x := &database{p: lab.StartPostgres(t)}
	x.db = x.p.Database(t)
	targets := ""
	for range 4 {
		name := x.p.Database(t)
		x.targets = append(x.targets, name)
		targets += x.p.Target(name, name, "")
	}
	x.g = x.p.StartGateway(t, binary, x.db, lab.Options{Policy: map[string]string{"sql.yaml": everySQL}, Targets: targets})
	x.agent = x.g.Person("claude", "agents")
	t.Run("copy", x.copies)
	t.Run("notifications", x.notifications)
	t.Run("batch", x.batches)
	t.Run("cancel", x.cancels)
	t.Run("psql", x.psql)
	t.Run("dump", x.dumps)
	t.Run("node", x.node)
}

func (x *database) connect(t *testing.T, options ...string) (context.Context, *pgx.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*lab.Patience)
	t.Cleanup(cancel)
	c, err := pgx.Connect(ctx, strings.Join(append(options, x.g.DSN(x.agent, "db")), " "))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return ctx, c
}

func exec1(t *testing.T, ctx context.Context, c *pgx.Conn, sql string) {
	t.Helper()
	if _, err := c.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// state is an error's SQLSTATE.
func state(err error) string {
	var said *pgconn.PgError
	if errors.As(err, &said) {
		return said.Code
	}
	return fmt.Sprint(err)
}

// pieces keeps what is written, write by write.
type pieces [][]byte

func (p *pieces) Write(b []byte) (int, error) {
	*p = append(*p, bytes.Clone(b))
	return len(b), nil
}

// same wants a query to give n.
func same(t *testing.T, ctx context.Context, c *pgx.Conn, sql string, n int) {
	t.Helper()
	var got int
	if err := c.QueryRow(ctx, sql).Scan(&got); err != nil || got != n {
		t.Errorf("%s: %d, %v; want %d", sql, got, err, n)
	}
}

// copies takes a table out and puts it in again, in each format, row by row; a COPY that fails, at either end, leaves nothing.
func (x *database) copies(t *testing.T) {
	ctx, c := x.connect(t)
	exec1(t, ctx, c, `create table c (id int, note text); insert into c select i, E'line\n"' || repeat('é', i % 30) from generate_series(1, 60) i; create table d (like c)`)
	for _, format := range []string{"text", "csv", "binary"} {
		var out pieces
		tag, err := c.PgConn().CopyTo(ctx, &out, "copy (select * from c order by id) to stdout (format "+format+")")
		if n := len(out); err != nil || tag.RowsAffected() != 60 || n != 60 && (format != "binary" || n != 61) {
			t.Fatal(format, tag, n, err)
		}
		for _, cut := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader} { // what a client sends may end anywhere
			exec1(t, ctx, c, "truncate d")
			if tag, err = c.PgConn().CopyFrom(ctx, cut(bytes.NewReader(bytes.Join(out, nil))), "copy d from stdin (format "+format+")"); err != nil || tag.RowsAffected() != 60 {
				t.Fatal(format, tag, err)
			}
			same(t, ctx, c, "select count(*) from (select * from c except all select * from d) x", 0)
		}
	}
	exec1(t, ctx, c, "truncate d")
	if _, err := c.PgConn().CopyFrom(ctx, strings.NewReader("1\ta\nx\tb\n"), "copy d from stdin"); state(err) != "22P02" {
		t.Error(err)
	}
	if _, err := c.PgConn().CopyFrom(ctx, io.MultiReader(strings.NewReader("1\ta\n"), iotest.ErrReader(io.ErrClosedPipe)), "copy d from stdin"); state(err) != "57014" {
		t.Error(err)
	}
	if _, err := c.PgConn().CopyTo(ctx, io.Discard, "copy (select 1 / (40 - id) from c order by id) to stdout"); state(err) != "22012" {
		t.Error(err)
	}
	same(t, ctx, c, "select count(*) from d", 0)
}

// notifications reach who listens, while it waits and while it asks something else, in their order.
func (x *database) notifications(t *testing.T) {
	ctx, c := x.connect(t)
	_, other := x.connect(t)
	exec1(t, ctx, c, "listen news")
	told := make(chan error, 1)
	go func() {
		for i := range 50 {
			if _, err := other.Exec(ctx, "select pg_notify('news', $1)", fmt.Sprint(i)); err != nil {
				told <- err
				return
			}
		}
		told <- nil
	}()
	for i := range 50 {
		n, err := c.WaitForNotification(ctx)
		if err != nil || n.Payload != fmt.Sprint(i) || n.Channel != "news" {
			t.Fatal(i, n, err)
		}
		if i%10 == 0 { // those that come with an answer are kept for whoever waits next
			same(t, ctx, c, "select count(*) from generate_series(1, 2000)", 2000)
		}
	}
	if err := <-told; err != nil {
		t.Error(err)
	}
	short, stop := context.WithCancel(ctx)
	stop()
	if _, err := c.WaitForNotification(short); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// batches go as a pipeline: what stands before an error in it is undone, what stands behind it does not run, and the answers stay in step.
func (x *database) batches(t *testing.T) {
	for _, mode := range []string{"cache_statement", "describe_exec", "exec", "simple_protocol"} {
		ctx, c := x.connect(t, "default_query_exec_mode="+mode)
		exec1(t, ctx, c, "drop table if exists b; create table b (id int primary key)")
		b := &pgx.Batch{}
		for i := range 60 {
			b.Queue("insert into b values ($1)", i%40)
		}
		r := c.SendBatch(ctx, b)
		for i := range 60 {
			if _, err := r.Exec(); (err != nil) != (i >= 40) || i == 40 && state(err) != "23505" {
				t.Error(mode, i, err)
			}
		}
		if err := r.Close(); state(err) != "23505" {
			t.Error(mode, err)
		}
		same(t, ctx, c, "select count(*) from b", 0)
		tx, err := c.Begin(ctx)
		if err != nil {
			t.Fatal(mode, err)
		}
		b = &pgx.Batch{}
		b.Queue("savepoint s")
		b.Queue("insert into b values ($1)", 1)
		b.Queue("select 1 / $1::int", 0)
		b.Queue("insert into b values ($1)", 2)
		if err := tx.SendBatch(ctx, b).Close(); state(err) != "22012" {
			t.Error(mode, err)
		}
		for _, sql := range []string{"rollback to s", "insert into b values (3)", "commit"} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				t.Error(mode, sql, err)
			}
		}
		same(t, ctx, c, "select sum(id) from b", 3)
	}
}

// cancels stops what runs: by a context, which asks the server; by the server's own limit; and by leaving.
func (x *database) cancels(t *testing.T) {
	ctx, _ := x.connect(t)
	config, err := pgx.ParseConfig(x.g.DSN(x.agent, "db"))
	if err != nil {
		t.Fatal(err)
	}
	config.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: time.Minute}
	}
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	for range 3 {
		short, stop := context.WithCancel(ctx)
		go func() {
			defer stop()
			x.waitFor(t, "select count(*) from pg_stat_activity where query like '%pg_sleep(61)%' and state = 'active' and datname = current_database() and pid <> pg_backend_pid()", "1")
		}()
		if _, err := c.Exec(short, "select pg_sleep(61)"); state(err) != "57014" {
			t.Error(err)
		}
		stop()
		same(t, ctx, c, "select 7", 7)
	}
	exec1(t, ctx, c, "set statement_timeout = 50")
	if _, err := c.Exec(ctx, "select pg_sleep(62)"); state(err) != "57014" {
		t.Error(err)
	}
}

// waitFor waits until a query gives want, directly.
func (x *database) waitFor(t *testing.T, sql, want string) {
	for deadline := time.Now().Add(lab.Patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if r, err := x.p.SQL(x.db, sql); err == nil && strings.TrimSpace(r.Stdout) == want {
			return
		}
	}
	t.Errorf("%s: never %s", sql, want)
}

// psqlScript is what psql does on its own: FILE is a file to write and read.
const psqlScript = `
create table ps (id int primary key, note text); create sequence ps_seq;
insert into ps select i, repeat('x', i % 50) from generate_series(1, 500) i;
\copy (select * from ps order by id) to 'FILE' csv header
truncate ps;
\copy ps from 'FILE' csv header
select count(*), sum(length(note)) from ps;
\copy ps (id) from stdin
1
\.
\copy ps (id) from program 'echo 1000'
select count(*) as n, max(id) as top from ps \gset
\echo :n :top
select 1 / (3 - nextval('ps_seq')) as left \watch 0.01
\set FETCH_COUNT 7
select id from ps order by id limit 20;
select 1 / (15 - id) from ps order by id;
begin; select id from ps order by id limit 9; commit;
\unset FETCH_COUNT
select 'select ' || id from ps order by id limit 3 \gexec
select id, note, id from ps where id < 4 \crosstabview
select $1::int + 1 as x \gdesc
prepare q(int) as select note from ps where id = $1; execute q(3);
begin; declare c scroll cursor for select id from ps order by id; fetch 3 from c; fetch backward 1 from c; move 5 in c; fetch c; close c; commit;
\set ON_ERROR_ROLLBACK on
begin; insert into ps values (1, 'twice'); insert into ps values (2000, 'once'); commit;
\set AUTOCOMMIT off
insert into ps values (3000, 'undone');
rollback;
\set AUTOCOMMIT on
select 1 \; select 2 \; select 1/0 \; select 3;
select id from ps where id > 900 order by id;
\d ps
\dt+ ps
\sf lower
listen ch; notify ch, 'hello';
do $$ begin raise notice 'noticed'; raise warning using message = 'warned', detail = 'd', hint = 'h'; end $$;
\set VERBOSITY verbose
insert into ps values (1, 'twice');
selec;
\errverbose
explain (costs off) select * from ps where id = 1;
\lo_import FILE
select md5(lo_get(:LASTOID)), :LASTOID as made \gset
\echo :md5
\lo_export :made FILE
\lo_unlink :made
\lo_export :made FILE
drop table ps; drop sequence ps_seq;
`

// psqlChanges is what differs between two servers' sessions anyway.
var psqlChanges = regexp.MustCompile(`lo_\w+ \d+|large object \d+|server process with PID \d+|LOCATION: .*|.*\(every 0\.01s\)`)

// direct runs a program of PostgreSQL's round the gateway, as the role that the gateway has.
func (x *database) direct(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env, cmd.Stdin = append(x.p.ClientEnv(), "PATH="+os.Getenv("PATH"), "HOME="+t.TempDir(), "LC_ALL=C"), strings.NewReader(stdin)
	b, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, b)
	}
	return string(b)
}

// psql prints the same.
func (x *database) psql(t *testing.T) {
	script := strings.ReplaceAll(psqlScript, "FILE", filepath.Join(t.TempDir(), "rows.csv"))
	r, err := x.g.PgTool(t.Context(), "bash", x.agent, script, "-c", "psql -X -d db 2>&1")
	if err != nil {
		t.Fatal(err)
	}
	clean := func(s string) string { return psqlChanges.ReplaceAllString(s, "…") }
	got, want := clean(r.Stdout), clean(x.direct(t, script, "psql", "-X", "-d", x.db))
	if got != want || !strings.Contains(want, "Asynchronous notification") || !strings.Contains(want, "501 1000") {
		t.Errorf("%s\nand directly\n%s", got, want)
	}
}

// dumps takes a database out in each of pg_dump's forms, puts each into another, and compares what pg_dump says of them directly.
func (x *database) dumps(t *testing.T) {
	x.p.Admin(t, x.db, `create schema other; create type mood as enum ('good', 'bad'); create domain short as text check (length(value) < 90)`,
		`create table people (id serial primary key, name short not null, born date default now(), photo bytea, tags text[], data jsonb, feels mood, total numeric generated always as (id * 2) stored)`,
		`insert into people (name, born, photo, tags, data, feels) select 'name ' || i || E'\t\\', date '1950-01-01' + i, decode(md5(i::text), 'hex'), array['a', i::text, null], jsonb_build_object('i', i), 'bad' from generate_series(1, 2000) i`,
		`create table other.part (id int, at timestamptz) partition by range (id); create table other.p1 partition of other.part for values from (0) to (100); create table other.p2 partition of other.part default`,
		`insert into other.part select i, 'epoch' from generate_series(1, 200) i; create view adults as select id, name from people where born < '1954-01-01'; create materialized view counted as select count(*) from people`,
		`create function twice(int) returns int language plpgsql immutable as $$ begin return $1 * 2; end $$; create index on people (lower(name)); create index on people (twice(id))`,
		`create function told() returns trigger language plpgsql as 'begin return new; end'; create trigger told before insert on people for each row execute function told()`,
		`select lo_from_bytea(4242, decode(repeat('00ff27', 30000), 'hex'))`,
		`alter table people enable row level security; create policy seen on people using (id > 0); comment on table people is E'it''s \\ "theirs"'; grant select on people to public; create rule r as on delete to adults do instead nothing`)
	whole := func(database string) string {
		return restricted.ReplaceAllString(x.direct(t, "", "pg_dump", "-d", database), "")
	}
	want := whole(x.db)
	for i, steps := range [][][]string{
		{{"pg_dump", "-f", "FILE", "db"}, {"psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "FILE", "TO"}},
		{{"pg_dump", "-Fc", "-f", "FILE", "db"}, {"pg_restore", "-e", "-d", "TO", "FILE"}},
		{{"pg_dump", "-Fd", "-j", "2", "-f", "FILE", "db"}, {"pg_restore", "-e", "-j", "2", "-d", "TO", "FILE"}},
		{{"pg_dump", "--inserts", "--rows-per-insert=50", "-f", "FILE", "db"}, {"psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", "FILE", "TO"}},
	} {
		to, file := x.targets[i], filepath.Join(t.TempDir(), "dump")
		for _, args := range steps {
			for j := range args {
				args[j] = strings.NewReplacer("FILE", file, "TO", to).Replace(args[j])
			}
			r, err := x.g.PgTool(t.Context(), args[0], x.agent, "", args[1:]...)
			if err != nil || r.Code != 0 {
				t.Errorf("%q: %v\n%s", args, err, r.Out())
			}
		}
		if got := whole(to); got != want {
			t.Errorf("%q: the copy has %d bytes, the original %d:\n%.2000s", steps, len(got), len(want), got)
		}
	}
}

// restricted is a random word in each plain dump.
var restricted = regexp.MustCompile(`(?m)^\\(un)?restrict .*\n`)

// node has the driver of most Node programs queue, prepare, pool, fail, listen and stream.
func (x *database) node(t *testing.T) {
	modules := lab.NodeModules(t, "pg", "8.23.1")
	file := filepath.Join(t.TempDir(), "main.js")
	if err := os.WriteFile(file, []byte(nodeProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NODE_PATH", modules)
	r, err := x.g.PgTool(t.Context(), "env", x.agent, "", "NODE_PATH="+modules, "PGDATABASE=db", "node", file)
	if err != nil || r.Stdout != "queued 100\nfailed 14\nnamed n3\ncode 23505 nd_pkey\ntold hi\npooled 60\nleft 0\n" {
		t.Error(err, r.Out())
	}
}

const nodeProgram = `
const { Client, Pool } = require("pg")
const ssl = { ca: require("fs").readFileSync(process.env.PGSSLROOTCERT) }
delete process.env.PGSSLMODE
const main = async () => {
  const c = new Client({ ssl })
  await c.connect()
  await c.query("create table nd (id serial primary key, n text, j jsonb)")
  const queued = await Promise.all([...Array(100).keys()].map(i => c.query("insert into nd (n, j) values ($1, $2) returning j", ["n" + i, { i }])))
  console.log("queued", queued.filter((r, i) => r.rows[0].j.i === i).length)
  const some = await Promise.allSettled([...Array(40).keys()].map(i => c.query(i % 3 ? "select $1::int as x" : "select 1 / ($1::int - $1::int) as x", [i])))
  console.log("failed", some.filter((r, i) => r.status === "rejected" && i % 3 === 0 && r.reason.code === "22012").length)
  let named
  for (let i = 1; i < 5; i++) named = await c.query({ name: "get", text: "select n from nd where id = $1", values: [i] })
  console.log("named", named.rows[0].n)
  await c.query("insert into nd (id) values (1)").catch(e => console.log("code", e.code, e.constraint))
  const d = new Client({ ssl })
  await d.connect()
  await d.query("listen nch")
  const told = new Promise(done => d.on("notification", done))
  await c.query("select pg_notify('nch', $1)", ["hi"])
  console.log("told", (await told).payload)
  await d.end()
  const p = new Pool({ ssl, max: 4 })
  const pooled = await Promise.all([...Array(60).keys()].map(i => p.query("select $1::text as x", ["v" + i])))
  console.log("pooled", pooled.filter((r, i) => r.rows[0].x === "v" + i).length)
  await p.end()
  await c.query("begin")
  await c.query("delete from nd")
  console.log("left", (await c.query("select count(*)::int as n from nd")).rows[0].n)
  await c.query("rollback")
  await c.query("drop table nd")
  await c.end()
}
main().catch(e => { console.log(e); process.exit(1) })
`
