package attack

import (
	"context"
	be "encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	wire "gatebook/internal/wire/postgres"
	"gatebook/test/lab"
)

// held is the default policy, under which a statement is held for so long.
func held(d string) lab.Options { return lab.Options{Config: "approvals: {hold: " + d + "}\n"} }

func approveSQL(t *testing.T, x *client.Client, id access.ApprovalID) {
	t.Helper()
	if _, err := x.Answer(t.Context(), id, client.Answer{Yes: true, Scope: access.ScopeOnce}); err != nil {
		t.Fatal(err)
	}
}

// A held statement tells its client so, ends with the approval's id, and the same statement joins it.
func TestSQLHeld(t *testing.T) {
	s := newSQLScene(t, held("4s"), "create table t (id int)", "insert into t select generate_series(1, 9)")
	r := s.psql("delete from t where id = 1")
	if !strings.Contains(r.Stderr, "NOTICE") || !strings.Contains(r.Stderr, "waits for a person") || !strings.Contains(r.Stderr, "42501") || !strings.Contains(r.Stderr, "is pending") {
		t.Error(r.Out())
	}
	ada := s.g.API(s.g.Person("ada", "approvers"))
	a := pending(t, ada, "delete from t where id = 1")
	if !strings.Contains(r.Stderr, string(a.ID)) {
		t.Errorf("the client is not told of %s: %s", a.ID, r.Stderr)
	}
	approveSQL(t, ada, a.ID)
	if r := s.psql("set datestyle = german;\ndelete from t where id = 1"); r.Stdout != "SET\n" || !strings.Contains(r.Stderr, "is pending") || strings.Contains(r.Stderr, string(a.ID)) {
		t.Error("where dates are read otherwise, it is the statement that was approved", r.Out())
	}
	if r := s.psql("set datestyle = german;\nreset datestyle;\ndelete from t where id = 1"); r.Stdout != "SET\nRESET\nDELETE 1\n" {
		t.Error(r.Out())
	}
	if r := s.psql("delete from t where id = 1"); r.Stdout != "" {
		t.Error("it ran a second time under one approval", r.Out())
	}
}

// An approval is of what the statement reaches as well: where a view comes to stand for another table, before the same statement is sent
// again or while it waits, it is not what was approved.
func TestI82SQLDefinitionsChange(t *testing.T) {
	policy := sqlPolicy(`rules:
  - {id: everything, protocol: postgres, effect: allow, reason: a test allows everything}
  - {id: writes, protocol: postgres, effect: approve, verbs: [execute], when: sql.effect == "write", reason: a person decides, approvers: {maxGrant: 1h}}
`)
	policy.Config = held("1m").Config
	s := newSQLScene(t, policy, "create table notes (id int, body text)", "create table payroll (id int, body text)", "insert into payroll values (1, 'paid')", "create view v as select * from notes")
	ada := s.g.API(s.g.Person("ada", "approvers"))
	const update = "update v set body = 'x' where id = 1"
	redefine := func(table string) {
		t.Helper()
		if r := s.psql("create or replace view v as select * from " + table); r.Stdout != "CREATE VIEW\n" {
			t.Fatal(r.Out())
		}
	}
	run := func() <-chan lab.Result {
		done := make(chan lab.Result, 1)
		go func() { done <- s.g.Psql(s.agent, update, "-v", "VERBOSITY=verbose") }()
		return done
	}
	done := run()
	a := pending(t, ada, update)
	redefine("payroll")
	approveSQL(t, ada, a.ID)
	if r := <-done; !strings.Contains(r.Stderr, "has changed while it waited") {
		t.Error("changed while it waits:", r.Out())
	}
	redefine("notes")
	done = run()
	a = pending(t, ada, update)
	if _, err := ada.Answer(t.Context(), a.ID, client.Answer{Yes: true, Scope: access.ScopeTime, For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.Stdout != "UPDATE 0\n" {
		t.Error(r.Out())
	}
	if r := s.psql(update); r.Stdout != "UPDATE 0\n" {
		t.Error("the same again, within the time granted:", r.Out())
	}
	redefine("payroll")
	done = run()
	b := pending(t, ada, update)
	if _, err := ada.Answer(t.Context(), b.ID, client.Answer{}); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.Stdout != "" {
		t.Error("changed after it was granted for a time:", r.Out())
	}
	if got := s.state("select body from payroll"); got != "paid" {
		t.Errorf("payroll has %q", got)
	}
}

// I101: for a client that has gone nothing runs, whatever is approved later.
func TestI101SQLClientGone(t *testing.T) {
	s := newSQLScene(t, lab.Options{}, "create table t (id int)", "insert into t select generate_series(1, 9)")
	ada := s.g.API(s.g.Person("ada", "approvers"))
	ctx, kill := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := s.g.PsqlContext(ctx, s.agent, "delete from t")
		gone <- err
	}()
	a := pending(t, ada, "delete from t")
	kill()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	abandoned(t, ada, a.ID)
	approveSQL(t, ada, a.ID)
	time.Sleep(time.Second) // should anything be about to run
	if got := s.state("select count(*) from t"); got != "9" {
		t.Errorf("%s rows are left", got)
	}
}

// A client that takes its held statement back gets its prompt again, and nothing runs.
func TestSQLHeldCanceled(t *testing.T) {
	s := newSQLScene(t, lab.Options{}, "create table t (id int)", "insert into t values (1)")
	ada := s.g.API(s.g.Person("ada", "approvers"))
	x := s.speak(s.agent)
	x.query("delete from t").flush()
	a := pending(t, ada, "delete from t")
	s.cancel(x.key)
	if got := x.talk(1); !strings.HasSuffix(got, "E:42501 Z:I") {
		t.Error(got)
	}
	approveSQL(t, ada, a.ID)
	if got := s.state("select count(*) from t"); got != "1" {
		t.Error("it ran after it was taken back")
	}
}

// cancel sends a cancel request, as libpq does: in clear.
func (s *sqlScene) cancel(key []byte) {
	s.t.Helper()
	c := s.dial()
	b := be.BigEndian.AppendUint32(nil, uint32(8+len(key)))
	b = append(be.BigEndian.AppendUint32(b, 80877102), key...)
	if _, err := c.Write(b); err != nil {
		s.t.Fatal(err)
	}
	closed(s.t, "cancel", c)
}

// sleeps waits until the database runs a statement of the agent's that sleeps.
func (s *sqlScene) sleeps() {
	s.t.Helper()
	waitFor(s.t, "pg_sleep to run", func() bool {
		return s.state("select count(*) from pg_stat_activity where datname = current_database() and state = 'active' and query like 'select pg_sleep%'") == "1"
	})
}

// A cancel request stops what its own connection runs, and nobody else's: not by another's key, nor by a guess.
func TestSQLCancel(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(allowAllSQL))
	x, y := s.speak(s.agent), s.speak(s.g.Person("eve"))
	x.query("select 1").talk(1) // the first statement waits for the parser to be compiled
	x.query("select pg_sleep(1000)").flush()
	s.sleeps()
	s.cancel(y.key)
	guess := append([]byte{}, x.key...)
	guess[7] ^= 1
	s.cancel(guess)
	time.Sleep(500 * time.Millisecond) // should anything be about to be cancelled
	s.sleeps()
	s.cancel(x.key)
	if got := x.talk(1); got != "T E:57014 Z:I" && got != "E:57014 Z:I" {
		t.Error(got)
	}
	if got := y.query("select 1").talk(1); got != "T D:1 C Z:I" {
		t.Error(got)
	}
}

// I80: a revocation cuts a connection in the middle of an answer, with a word.
func TestI80SQLRevoked(t *testing.T) {
	s := newSQLScene(t, sqlPolicy(allowAllSQL))
	x := s.speak(s.agent)
	x.query("select 1").talk(1) // the first statement waits for the parser to be compiled
	x.query("select pg_sleep(1000)").flush()
	s.sleeps()
	if _, err := s.g.API(s.g.Person("root", "admins")).Revoke(t.Context(), access.Revocation{Subject: "people|claude", Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	said := ""
	for {
		m, err := x.in.Next()
		if err != nil {
			break
		}
		if m.Type == wire.ErrorResponse {
			said = field(t, m, 'C')
		}
	}
	if said != "57P01" {
		t.Errorf("cut with %q", said)
	}
	if r := s.psql("select 1"); r.Code != 2 {
		t.Error(r.Out())
	}
}
