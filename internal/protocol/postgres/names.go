package postgres

import (
	"gatebook/internal/protocol/postgres/grammar"
)

// prepared is a statement that the client has named.
type prepared struct {
	name      string
	text      string
	statement *grammar.Statement
	types     []uint32 // of its parameters, as the client says; 0: not known
	described []uint32 // the same, as the server says; below the session's mu
}

// portal is a statement with its parameters, permitted.
type portal struct {
	name string
	op   *operation
	// formats of its columns, as the client asks for them.
	formats []int
}

// names are the client's prepared statements and portals, as they will be if nothing fails. What was changed since the last Sync
// is undone where the server did not do it.
type names struct {
	statements map[string]*prepared
	portals    map[string]*portal
	// texts are all statements that a name has stood for, by SQL or by protocol: which of them EXECUTE finds may hang on what failed.
	texts   map[string][]*grammar.Statement
	cursors map[string][]*grammar.Statement
	log     []*change
}

// change is one name's new meaning, until the server has confirmed it.
type change struct {
	undo      func()
	confirmed bool // below the session's mu
}

func (n *names) init() {
	n.statements, n.portals = map[string]*prepared{}, map[string]*portal{}
	n.texts, n.cursors = map[string][]*grammar.Statement{}, map[string][]*grammar.Statement{}
}

func (n *names) count() int {
	return len(n.statements) + len(n.portals) + len(n.texts) + len(n.cursors)
}

// set gives a name another meaning; nil takes it away.
func set[T any](n *names, m map[string]*T, name string, v *T) *change {
	was, had := m[name]
	c := &change{undo: func() {
		if had {
			m[name] = was
		} else {
			delete(m, name)
		}
	}}
	if v == nil {
		delete(m, name)
	} else {
		m[name] = v
	}
	n.log = append(n.log, c)
	return c
}

// maxTexts is how many statements may have had one name before it is no longer followed.
const maxTexts = 16

// remember adds to what a name may stand for. More than maxTexts stand for anything: a nil is in the list.
func remember(m map[string][]*grammar.Statement, name string, st *grammar.Statement) {
	for _, have := range m[name] {
		if have == st {
			return
		}
	}
	if len(m[name]) >= maxTexts {
		st = nil
	}
	m[name] = append(m[name], st)
}

// settleNames undoes what the server did not do. It comes before the first message after a Sync that hangs on it.
func (s *session) settleNames() {
	if len(s.names.log) == 0 {
		return
	}
	s.settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.names.log) - 1; i >= 0; i-- {
		if c := s.names.log[i]; !c.confirmed {
			c.undo()
		}
	}
	s.names.log = nil
}
