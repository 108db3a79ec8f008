package attack

import (
	"testing"

	"gatebook/test/lab"
)

// allowAllSQL lets every statement through, so that a test is about something else; the default masks stay on.
const allowAllSQL = `rules:
  - {id: everything, protocol: postgres, effect: allow, reason: a test allows everything}
`

// sqlScene is an agent behind a gateway in front of a database of its own.
type sqlScene struct {
	t        *testing.T
	p        *lab.Postgres
	g        *lab.Gateway
	database string
	agent    string // the agent's token
}

// newSQLScene makes the database by setup, as its owner would. No policy: the embedded one.
func newSQLScene(t *testing.T, o lab.Options, setup ...string) *sqlScene {
	t.Helper()
	s := &sqlScene{t: t, p: lab.StartPostgres(t)}
	s.database = s.p.Database(t, setup...)
	s.g = s.p.StartGateway(t, binary, s.database, o)
	s.agent = s.g.Person("claude", "agents")
	return s
}

func sqlPolicy(text string) lab.Options { return lab.Options{Policy: map[string]string{"sql.yaml": text}} }

// psql runs SQL as the agent.
func (s *sqlScene) psql(sql string) lab.Result {
	s.t.Helper()
	return s.g.Psql(s.agent, sql, "-v", "VERBOSITY=verbose")
}

// state is what is in the database, as its owner sees it.
func (s *sqlScene) state(query string) string {
	s.t.Helper()
	return s.p.Admin(s.t, s.database, query)
}
