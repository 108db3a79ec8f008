package postgres

import (
	"slices"

	"gatebook/internal/access"
	"gatebook/internal/protocol/postgres/grammar"
)

// resolve adds to a statement what its text does not say: what a prepared statement's name stands for, and what the database has
// behind names. It gives the fields that stay unknown.
func (s *session) resolve(st *grammar.Statement) (*grammar.Statement, []access.Uninspectable) {
	st = s.executed(st)
	if !hasNames(st) {
		return st, nil
	}
	c, err := s.catalog()
	if err == nil {
		return c.widen(st), nil
	}
	var unknown []access.Uninspectable
	for _, f := range []string{"sql.effect", "sql.tables", "sql.functions", "sql.volatile"} {
		unknown = append(unknown, access.Uninspectable{Field: f, Why: err.Error()})
	}
	return st, unknown
}

// hasNames reports whether the database can have something behind a statement that its text does not say.
func hasNames(st *grammar.Statement) bool {
	return len(st.Relations)+len(st.Functions)+len(st.Types)+len(st.Operators) > 0
}

// executed is EXECUTE with what the name may stand for. It can do anything where that is not known.
func (s *session) executed(st *grammar.Statement) *grammar.Statement {
	if !st.Is("execute") {
		return st
	}
	out := *st
	texts, known := s.names.behind(st, 0)
	if len(texts) == 0 || !known {
		out.Effect = grammar.Admin
		return &out
	}
	for _, t := range texts {
		out.Add(t)
	}
	out.Kinds = slices.DeleteFunc(slices.Clone(out.Kinds), func(k string) bool { return k == "prepare" }) // that is done
	return &out
}

// follow notes what a permitted statement may change for those after it.
func (s *session) follow(o *operation) {
	st := o.statement
	s.names.follow(st)
	s.mu.Lock()
	defer s.mu.Unlock()
	if defines(st) {
		s.defined = true
	}
	if st.Setting != nil {
		roles, others := s.followRole(st), s.settings.change(st.Setting, s.gen)
		o.settled = func(ok, alone bool) { // below mu
			for _, f := range []func(ok, alone bool){roles, others} {
				if f != nil {
					f(ok, alone)
				}
			}
		}
	}
}

// followRole notes that a statement may change in whose name those after it run; mu is held, also when what it gives is called.
func (s *session) followRole(st *grammar.Statement) func(ok, alone bool) {
	c := st.Setting
	if c.Name != "role" && c.Name != "session_authorization" && (c.Name != "all" || !st.Is("discard")) {
		return nil
	}
	was := s.unsure
	s.unsure = true
	role, login := c.Value, s.login
	switch {
	case c.Name == "all", c.Name == "session_authorization" && (role == "" || role == "default"):
		role, login = s.t.Upstream.Role(), s.t.Upstream.Role()
	case c.Name == "session_authorization":
		login = role
	case role == "" || role == "none":
		role = s.login
	}
	return func(ok, alone bool) {
		switch {
		case ok && alone && !c.Local && !c.Maybe:
			s.role, s.login, s.unsure = role, login, false
		case !ok && alone:
			s.unsure = was
		}
	}
}

// definesNothing are the kinds that change nothing of what is read of the database's definitions (catalogQuery).
var definesNothing = []string{"comment", "create index", "create statistics", "alter statistics", "create trigger", "drop trigger", "drop index", "drop statistic_ext",
	"cluster", "reindex", "grant", "grant role", "create role"}

// defines reports whether a statement may change what names stand for.
func defines(st *grammar.Statement) bool {
	if len(st.Volatile) == 0 && len(st.Kinds) == 1 && slices.Contains(definesNothing, st.Kinds[0]) {
		return false
	}
	return st.Effect == grammar.DDL || st.Effect == grammar.Admin && !st.Is("set") && !st.Is("reset")
}
