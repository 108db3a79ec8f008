package postgres

import (
	"gatebook/internal/access"
	wire "gatebook/internal/wire/postgres"
)

// parseMessage keeps a Parse back: where its Bind follows, both are one operation; else preparing it is one.
func (s *session) parseMessage(m wire.Message) error {
	p, err := wire.ReadParse(m.Body)
	if err != nil {
		return s.clientError(err)
	}
	statements, why := s.read(p.Text)
	if why == nil && len(statements) > 1 {
		why = access.Refuse(access.CodeMalformed, nil, "cannot insert multiple commands into a prepared statement")
	}
	if why == nil && s.names.count() >= s.h.o.Limits.Names {
		why = access.Refuse(access.CodeTooLarge, nil, "there are more prepared statements and portals than limits.sqlNames (%d)", s.h.o.Limits.Names)
	}
	if why != nil {
		return s.refuseUndecided("prepare", p.Text, why, false)
	}
	s.parsing = &prepared{name: p.Name, text: p.Text, statement: statements[0], types: p.Types}
	s.parse = append(s.parse[:0], m.Raw...)
	return nil
}

// prepare makes the Parse that was kept back an operation of its own: nothing runs by it, but the server is told the text.
func (s *session) prepare() error {
	p := s.parsing
	if err := s.flush(); err != nil {
		return err
	}
	o, why := s.admit(request{verb: "prepare", statement: p.statement, whole: p.text, of: 1, types: p.types})
	if why != nil {
		return s.refuse(why, false)
	}
	return s.sendParse(o, &entry{kind: wire.Parse, ops: []*operation{o}})
}

// sendParse forwards the Parse that was kept back, in the name of o.
func (s *session) sendParse(o *operation, e *entry) error {
	p := s.parsing
	s.parsing, s.open = nil, true
	e.change = set(&s.names, s.names.statements, p.name, p)
	if p.name != "" {
		remember(s.names.texts, p.name, p.statement)
	}
	return s.forward(o.p, s.parse, e)
}

// bind is where a statement gets all that it runs with, and where the server begins to: planning evaluates what is called
// immutable. So it is permitted here, with its parameters, and Execute follows under the same permit.
func (s *session) bind(m wire.Message) error {
	m.Raw = append([]byte(nil), m.Raw...)
	b, err := wire.ReadBind(m.Raw[5:])
	if err != nil {
		return s.clientError(err)
	}
	merged := s.parsing != nil && s.parsing.name == b.Statement
	if s.parsing != nil && !merged {
		if err := s.prepare(); err != nil || s.skipping {
			return err
		}
	}
	p := s.names.statements[b.Statement]
	if merged {
		p = s.parsing
	}
	if p == nil {
		return s.refuseUndecided("execute", "", access.Refuse(access.CodeMalformed, nil, "prepared statement %q does not exist", b.Statement), false)
	}
	if s.names.count() >= s.h.o.Limits.Names {
		return s.refuseUndecided("execute", p.text, access.Refuse(access.CodeTooLarge, nil, "there are more prepared statements and portals than limits.sqlNames (%d)", s.h.o.Limits.Names), false)
	}
	if err := s.flush(); err != nil {
		return err
	}
	params, unread := readParams(&b, s.typesOf(p))
	o, why := s.admit(request{verb: "execute", statement: p.statement, whole: p.text, of: 1, params: params, exact: exactParams(&b), raw: m.Raw, binding: &b, unread: unread, types: p.types})
	if why != nil {
		return s.refuse(why, false)
	}
	if merged {
		if err := s.sendParse(o, &entry{kind: wire.Parse}); err != nil || s.skipping {
			o.end(s, skipped)
			return err
		}
	}
	s.open = true
	e := &entry{kind: wire.Bind, binds: o}
	if was := s.names.portals[b.Portal]; was != nil && b.Portal == "" {
		e.closes = was.op
	}
	e.change = set(&s.names, s.names.portals, b.Portal, &portal{name: b.Portal, op: o, gen: s.gen})
	if b.Portal != "" {
		remember(s.names.cursors, b.Portal, p.statement)
	}
	return s.forward(o.p, m.Raw, e)
}

// portal gives the portal of that name; nil where there is none, or may be none any more: at the server the name can then be a
// cursor's that SQL has opened.
func (s *session) portal(name string) *portal {
	p := s.names.portals[name]
	if p == nil || p.gen == s.gen {
		return p
	}
	s.settle() // portals end with their transaction
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.gen <= s.idleGen {
		return nil
	}
	return p
}

// describe asks for the columns of a statement or portal.
func (s *session) describe(m wire.Message) error {
	kind, name, err := wire.ReadNamed(m.Body)
	if err != nil {
		return s.clientError(err)
	}
	e := &entry{kind: wire.Describe}
	if kind == 'S' {
		e.prepared = s.names.statements[name]
	} else if p := s.portal(name); p != nil {
		e.ops = []*operation{p.op}
	}
	s.open = true
	return s.forward(s.carrier(), m.Raw, e)
}

// execute runs a portal, or goes on with it.
func (s *session) execute(m wire.Message) error {
	name, _, err := wire.ReadExecute(m.Body)
	if err != nil {
		return s.clientError(err)
	}
	p := s.portal(name)
	if p == nil { // a cursor of SQL's could be run by its name; FETCH is decided
		return s.refuseUndecided("execute", "", access.Refuse(access.CodeMalformed, nil, "portal %q does not exist", name), false)
	}
	if p.op.hide.columns && !p.op.hide.described {
		// What the columns are decides how they are masked, and the client did not ask.
		p.op.hide.described = true
		var b wire.Builder
		b.Begin(wire.Describe).Byte('P').Text(name).End()
		if err := s.forward(s.carrier(), b.Bytes, &entry{kind: wire.Describe, ops: []*operation{p.op}, silent: true}); err != nil || s.skipping {
			return err
		}
	}
	s.open = true
	by := p.op.p
	if !by.Valid() { // it has come to its end, and gives no more
		by = s.carrier()
	}
	return s.forward(by, m.Raw, &entry{kind: wire.Execute, ops: []*operation{p.op}})
}

// closeName forgets a statement or portal.
func (s *session) closeName(m wire.Message) error {
	kind, name, err := wire.ReadNamed(m.Body)
	if err != nil {
		return s.clientError(err)
	}
	e := &entry{kind: wire.Close}
	if kind == 'S' {
		e.change = set(&s.names, s.names.statements, name, nil)
	} else {
		if p := s.names.portals[name]; p != nil {
			e.closes = p.op
		}
		e.change = set(&s.names, s.names.portals, name, nil)
	}
	s.open = true
	return s.forward(s.carrier(), m.Raw, e)
}

// typesOf are the types of a statement's parameters, as far as they are known.
func (s *session) typesOf(p *prepared) []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.described != nil {
		return p.described
	}
	return p.types
}
