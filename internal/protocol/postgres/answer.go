package postgres

import (
	"bytes"
	"strconv"

	wire "gatebook/internal/wire/postgres"
)

// head is what is answered now. Answers of the gateway's own that have come to their turn are given on the way.
func (r *relay) head() (*entry, error) {
	for {
		if r.now != nil {
			return r.now, nil
		}
		s := r.s
		s.mu.Lock()
		var e *entry
		if len(s.awaited) > 0 {
			e = s.awaited[0]
		}
		if e == nil || e.local == nil {
			s.mu.Unlock()
			r.now = e
			return e, nil
		}
		s.shift()
		s.mu.Unlock()
		if err := r.add(nil, e.local); err != nil {
			return nil, err
		}
	}
}

// pop ends the head's turn.
func (r *relay) pop(e *entry) error {
	s := r.s
	s.mu.Lock()
	if e.change != nil && !e.failed {
		e.change.confirmed = true
	}
	s.shift()
	s.mu.Unlock()
	r.now = nil
	_, err := r.head()
	s.cond.Broadcast()
	return err
}

// shift takes away the first of what is awaited; mu is held.
func (s *session) shift() {
	s.awaited[0] = nil
	if s.awaited = s.awaited[1:]; len(s.awaited) == 0 {
		s.awaited = s.room[:0]
	}
}

// simple is a message that is answered by one of a known type.
func (r *relay) simple(e *entry, m wire.Message, want byte) error {
	if m.Type != want {
		return unexpected(m)
	}
	o := e.op()
	if o == nil {
		o = e.binds
	}
	if err := r.addPlain(o, m.Raw); err != nil {
		return err
	}
	for _, o := range e.ops {
		r.ended(o, "")
	}
	s := r.s
	if o := e.closes; o != nil {
		r.ended(o, "its portal was closed before its end")
	}
	if e.binds != nil {
		s.mu.Lock()
		s.bound = append(s.bound, e.binds)
		s.mu.Unlock()
	}
	return r.pop(e)
}

// description is what Describe answers: parameters first where it was for a statement.
func (r *relay) description(e *entry, m wire.Message) error {
	switch m.Type {
	case wire.ParameterDescription:
		types, err := wire.ReadParameterTypes(m.Body)
		if err != nil {
			return r.lost(wire.ErrLength)
		}
		if e.prepared != nil {
			r.s.mu.Lock()
			e.prepared.described = types
			r.s.mu.Unlock()
		}
		return r.addPlain(nil, m.Raw)
	case wire.RowDescription, wire.NoData:
		o := e.op()
		if o != nil && m.Type == wire.RowDescription {
			if err := o.hide.describe(m.Body); err != nil {
				return err
			}
		}
		if o != nil && !o.hide.known {
			o = nil // known values in columns' names are masked all the same
		}
		if !e.silent {
			if err := r.add(o, m.Raw); err != nil {
				return err
			}
		}
		return r.pop(e)
	}
	return unexpected(m)
}

// result is what running a statement gives.
func (r *relay) result(e *entry, m wire.Message) error {
	o := e.op()
	if o == nil {
		return unexpected(m)
	}
	r.touched = r.touched || o.hide.touches
	switch m.Type {
	case wire.FunctionCallResponse:
		if err := r.add(o, m.Raw); err != nil {
			return err
		}
		r.ended(o, "")
		e.at++
		return nil
	case wire.RowDescription:
		if err := o.hide.describe(m.Body); err != nil {
			return err
		}
		return r.add(o, m.Raw)
	case wire.DataRow:
		r.rows = o
		return r.row(o, m)
	case wire.CopyInResponse:
		r.s.mu.Lock()
		r.s.copying, r.s.copied = o, false
		// What the client sent behind it before it knew, the server passes over.
		rest := r.s.awaited[:1:1]
		for _, a := range r.s.awaited[1:] {
			if a.kind != wire.Sync {
				rest = append(rest, a)
			}
		}
		r.s.awaited = rest
		r.s.mu.Unlock()
		if err := r.add(o, m.Raw); err != nil {
			return err
		}
		r.s.cond.Broadcast()
		return r.deliver()
	case wire.CopyOutResponse:
		binary, _, err := wire.ReadCopy(m.Body)
		if err != nil {
			return r.lost(wire.ErrLength)
		}
		o.output = &copyOutput{binary: binary}
		o.output.masked = r.s.scopeOf(o).Text(&o.output.ready)
		return r.add(o, m.Raw)
	case wire.CopyData, wire.CopyDone:
		return r.copyOut(o, m)
	case wire.PortalSuspended:
		if err := r.add(o, m.Raw); err != nil {
			return err
		}
		return r.pop(e)
	case wire.CommandComplete, wire.EmptyQueryResponse:
		return r.complete(e, o, m)
	}
	return unexpected(m)
}

// complete ends a statement that went well.
func (r *relay) complete(e *entry, o *operation, m wire.Message) error {
	if err := r.add(o, m.Raw); err != nil {
		return err
	}
	if m.Type == wire.CommandComplete {
		tag := bytes.TrimSuffix(m.Body, []byte{0})
		if n, err := strconv.ParseInt(string(tag[bytes.LastIndexByte(tag, ' ')+1:]), 10, 64); err == nil {
			o.out.Rows = n
		}
	}
	r.settled(e, o, true)
	r.s.endCopy(o)
	r.ended(o, "")
	if e.kind == wire.Query {
		e.at++
		return nil
	}
	return r.pop(e)
}

func (r *relay) settled(e *entry, o *operation, ok bool) {
	if o.settled == nil {
		return
	}
	settled, alone := o.settled, e.kind == wire.Query && len(e.ops) == 1
	o.settled = nil
	r.settles = append(r.settles, func(idle bool) { settled(ok, alone && idle) })
}

func (s *session) endCopy(o *operation) {
	s.mu.Lock()
	if s.copying == o {
		s.copying, s.copied = nil, false
	}
	s.mu.Unlock()
	s.cond.Broadcast()
}

// ready is the end of a pipeline or of a Query.
func (r *relay) ready(m wire.Message) error {
	s := r.s
	if len(m.Body) != 1 {
		return r.lost(wire.ErrLength)
	}
	s.mu.Lock()
	s.status = m.Body[0]
	found, gen := false, 0
	for len(s.awaited) > 0 && !found {
		e := s.awaited[0]
		if found = e.kind == wire.Sync || e.whole(); found && s.status == 'I' {
			s.idleGen, r.touched = e.gen, false
		}
		gen = e.gen
		s.shift()
		r.passed = append(r.passed, e)
	}
	var gone []*operation
	if s.status == 'I' {
		gone, s.bound = s.bound, nil
		if s.defined {
			s.defined = false
			s.h.forgetCatalog(s)
		}
	}
	for _, settle := range r.settles {
		settle(s.status == 'I')
	}
	r.settles = nil
	s.settings.ready(gen)
	s.mu.Unlock()
	r.now = nil
	if !found {
		return unexpected(m)
	}
	for _, o := range gone {
		r.ended(o, "its transaction ended before it did")
	}
	if err := r.addPlain(nil, m.Raw); err != nil {
		return err
	}
	// The client may go on at once: what it asks next is to find the state as it is now.
	if err := r.deliver(); err != nil {
		return err
	}
	_, err := r.head()
	s.cond.Broadcast()
	return err
}
