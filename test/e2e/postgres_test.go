package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatebook/test/lab"
)

// everySQL lets every statement through.
const everySQL = `rules:
  - {id: everything, protocol: postgres, effect: allow, reason: a test allows everything}
`

// TestPgbench runs PostgreSQL's own load through the gateway, in each of its three protocols.
func TestPgbench(t *testing.T) {
	p := lab.StartPostgres(t)
	db := p.Database(t)
	g := p.StartGateway(t, binary, db, lab.Options{Policy: map[string]string{"sql.yaml": everySQL}})
	agent := g.Person("claude", "agents")
	run := func(args ...string) string {
		t.Helper()
		r, err := g.PgTool(t.Context(), "pgbench", agent, "", append(args, "db")...)
		if err != nil {
			t.Fatal(err, r.Out())
		}
		return lab.Must(t, r).Out()
	}
	run("-i", "-q")
	for _, mode := range []string{"simple", "extended", "prepared"} {
		for _, script := range []string{"tpcb-like", "simple-update"} {
			if out := run("-M", mode, "-b", script, "-c", "4", "-t", "30", "-n"); !strings.Contains(out, "number of transactions actually processed: 120/120") {
				t.Errorf("%s: %s: %s", mode, script, out)
			}
		}
		t.Log(mode, run("-M", mode, "-S", "-c", "4", "-t", "200", "-n"))
	}
	if got := p.Admin(t, db, "select count(*) from pgbench_history"); got != "720" {
		t.Errorf("%s rows of history, want 720", got)
	}
	if a, b := p.Admin(t, db, "select sum(abalance) from pgbench_accounts"), p.Admin(t, db, "select sum(delta) from pgbench_history"); a != b {
		t.Errorf("accounts %s, history %s", a, b)
	}
}

// TestPgx speaks the extended protocol as drivers do: prepared, described, pipelined, in batches, with a cursor and COPY.
func TestPgx(t *testing.T) {
	p := lab.StartPostgres(t)
	db := p.Database(t, "create table t (id int primary key, name text, at timestamptz)")
	g := p.StartGateway(t, binary, db, lab.Options{Policy: map[string]string{"sql.yaml": everySQL}})
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		c, err := pgx.Connect(ctx, g.DSN(g.Person("claude", "agents"), "db")+" default_query_exec_mode="+mode)
		if err != nil {
			t.Fatal(mode, err)
		}
		if _, err := c.Exec(ctx, "truncate t"); err != nil {
			t.Fatal(mode, err)
		}
		b := &pgx.Batch{}
		for i := range 100 {
			b.Queue("insert into t values ($1, $2, $3)", i, "n", time.Now())
		}
		b.Queue("select count(*) from t")
		r := c.SendBatch(ctx, b)
		for range 100 {
			if tag, err := r.Exec(); err != nil || tag.RowsAffected() != 1 {
				t.Fatal(mode, tag, err)
			}
		}
		var n int
		if err := r.QueryRow().Scan(&n); err != nil || n != 100 {
			t.Fatal(mode, n, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(mode, err)
		}
		if mode != "simple_protocol" {
			copied, err := c.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"id", "name"}, pgx.CopyFromSlice(500, func(i int) ([]any, error) { return []any{1000 + i, "copied"}, nil }))
			if err != nil || copied != 500 {
				t.Fatal(mode, copied, err)
			}
		}
		tx, err := c.Begin(ctx)
		if err != nil {
			t.Fatal(mode, err)
		}
		if _, err := tx.Exec(ctx, "insert into t values (1, 'twice')"); err == nil {
			t.Errorf("%s: a duplicate key went in", mode)
		}
		if err := tx.Rollback(ctx); err != nil {
			t.Fatal(mode, err)
		}
		rows, err := c.Query(ctx, "select id, name from t where id >= $1 order by id", 50)
		if err != nil {
			t.Fatal(mode, err)
		}
		ids, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (id int, err error) { var s string; err = r.Scan(&id, &s); return })
		if err != nil || len(ids) < 50 || ids[0] != 50 {
			t.Fatal(mode, len(ids), err)
		}
		// A pipeline in which the second statement fails: the third does not run, and the answers stay in step.
		pipe := c.PgConn().StartPipeline(ctx)
		pipe.SendQueryParams("select 1", nil, nil, nil, nil)
		pipe.SendQueryParams("select 1/0", nil, nil, nil, nil)
		pipe.SendQueryParams("delete from t", nil, nil, nil, nil)
		if err := pipe.Sync(); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			if _, err := pipe.GetResults(); err != nil {
				break
			}
		}
		if err := pipe.Close(); err != nil && !strings.Contains(err.Error(), "division by zero") {
			t.Error(mode, err)
		}
		if err := c.QueryRow(ctx, "select count(*) from t").Scan(&n); err != nil || n == 0 {
			t.Errorf("%s: after a pipeline: %d, %v", mode, n, err)
		}
		if err := c.Close(ctx); err != nil {
			t.Error(mode, err)
		}
	}
}

// TestConnect reaches a target by the helper that adds the token, and gives the program's own exit code on.
func TestConnect(t *testing.T) {
	p := lab.StartPostgres(t)
	db := p.Database(t, "create table t (id int)", "insert into t values (42)")
	g := p.StartGateway(t, binary, db, lab.Options{})
	agent := g.Person("claude", "agents")
	if r := lab.Must(t, g.CLI(agent, "connect", "db", "--", "psql", "-X", "-Atc", "select id from t")); r.Stdout != "42\n" {
		t.Error(r.Out())
	}
	if r := lab.Must(t, g.CLI(agent, "connect", "db/postgres", "--", "psql", "-X", "-Atc", "select current_database()")); r.Stdout != "postgres\n" {
		t.Error(r.Out())
	}
	if r := g.CLI(agent, "connect", "db", "--", "psql", "-X", "-v", "ON_ERROR_STOP=1", "-c", "selec", "-c", "select 1"); r.Code != 1 || !strings.Contains(r.Stderr, "42601") && !strings.Contains(r.Stderr, "syntax error") {
		t.Error(r.Code, r.Out())
	}
	if r := g.CLI(agent, "connect", "nothing", "--", "psql"); r.Code != 2 || !strings.Contains(r.Stderr, "no PostgreSQL target") {
		t.Error(r.Code, r.Out())
	}
	if r := g.CLI(g.Person("claude", "agents")+"x", "connect", "db", "--", "psql", "-X", "-c", "select 1"); r.Code == 0 {
		t.Error(r.Code, r.Out())
	}
}
