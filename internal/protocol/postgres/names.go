package postgres

import (
	"slices"

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
	// gen is the pipeline that made it.
	gen int
}

// names are the client's prepared statements and portals, as they will be if nothing fails. What was changed since the last Sync
// is undone where the server did not do it.
type names struct {
	statements map[string]*prepared
	portals    map[string]*portal
	// texts are all statements that a name has stood for, by SQL or by protocol: which of them EXECUTE finds may hang on what failed.
	// cursors are the same for FETCH, which finds portals as well.
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
		if have == st || have != nil && have.Shape() == st.Shape() && have.Text == st.Text {
			return
		}
	}
	if len(m[name]) >= maxTexts {
		st = nil
	}
	m[name] = append(m[name], st)
}

// follow notes what a permitted statement of SQL's does to names. The protocol's and SQL's are the same at the server: what the protocol
// has named is forgotten where SQL may have given the name to something else. A statement that then fails leaves nothing that could
// be run either, since its transaction has failed with it, but for a prepared statement, which is prepared anew.
func (n *names) follow(st *grammar.Statement) {
	if st.Is("prepare") {
		remember(n.texts, st.Prepared, st)
		delete(n.statements, st.Prepared)
	}
	if st.Is("deallocate") {
		forget(n.statements, st.Prepared)
	}
	if st.Is("declare") {
		remember(n.cursors, st.Cursor, st)
		delete(n.portals, st.Cursor)
	}
	if st.Is("close") {
		forget(n.portals, st.Cursor)
	}
	if slices.ContainsFunc(st.Kinds, func(k string) bool { return endsPortals[k] }) {
		clear(n.portals)
	}
	if st.Is("discard") && st.Setting != nil {
		clear(n.statements)
	}
}

// endsPortals are the kinds of what may close portals: after it, their names can stand for cursors that SQL has opened.
var endsPortals = map[string]bool{"commit": true, "rollback": true, "rollback to": true, "prepare transaction": true, "call": true, "do": true, "discard": true}

// forget takes a name away, or all where there is none.
func forget[T any](m map[string]T, name string) {
	if name == "" {
		clear(m)
		return
	}
	delete(m, name)
}

// maxBehind bounds how often a name stands for a statement that names another.
const maxBehind = 8

// behind gives what EXECUTE or FETCH may run or read. It reports false where that is not all.
func (n *names) behind(st *grammar.Statement, depth int) (out []*grammar.Statement, known bool) {
	list := n.texts[st.Prepared]
	if st.Is("fetch") {
		list = n.cursors[st.Cursor]
	}
	known = depth < maxBehind
	for _, t := range list {
		switch {
		case t == nil || !known: // there were too many
			return nil, false
		case t.Is("execute") || t.Is("fetch"):
			more, all := n.behind(t, depth+1)
			out, known = append(out, more...), known && all && len(more) > 0
		default:
			out = append(out, t)
		}
	}
	return out, known
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
