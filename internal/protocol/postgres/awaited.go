package postgres

import (
	"gatebook/internal/access"
	"gatebook/internal/gate"
	wire "gatebook/internal/wire/postgres"
)

// entry is one message that the server, or the gateway in its stead, will answer.
type entry struct {
	kind byte // the client's message type; 0: answered here
	// local is the answer of the gateway itself, to stand in its place.
	local []byte
	// refusal stands for the error that a message provokes which is sent in place of a refused one.
	refusal []byte
	// ops are those that it runs: of a Query one for each statement, else one or none.
	ops []*operation
	at  int
	// silent: the answer is the gateway's own business.
	silent bool
	change *change
	// binds is the portal's operation that a Bind makes, closes that which a Bind or Close ends.
	binds, closes *operation
	prepared      *prepared // that a Describe describes
	failed        bool
	gen           int
}

// whole reports whether its answer ends with ReadyForQuery by itself.
func (e *entry) whole() bool { return e.kind == wire.Query || e.kind == wire.FunctionCall }

func (e *entry) op() *operation {
	if e != nil && e.at < len(e.ops) {
		return e.ops[e.at]
	}
	return nil
}

// await puts e at the end of what is awaited. It reports false where the server will not answer, since it skips to the next Sync.
func (s *session) await(e *entry) bool {
	s.mu.Lock()
	e.gen = s.gen
	if e.kind == wire.Sync && s.copying != nil && !s.copied { // the server passes over it within a copy
		s.mu.Unlock()
		return false
	}
	if e.kind != wire.Sync && s.failedGen == s.gen {
		s.mu.Unlock()
		s.skip(e)
		return false
	}
	s.awaited = append(s.awaited, e)
	s.mu.Unlock()
	return true
}

// skip ends what e would have run.
func (s *session) skip(e *entry) {
	for i := e.at; i < len(e.ops); i++ {
		e.ops[i].end(s, skipped)
	}
	if e.binds != nil {
		e.binds.end(s, skipped)
	}
}

const skipped = "it did not run: something before it in the pipeline failed"

// forward sends a message whose answer is e, in the name of p.
func (s *session) forward(p gate.Permit, raw []byte, e *entry) error {
	if e != nil && !s.await(e) {
		s.skipping = s.skipping || e.kind != wire.Sync
		return nil
	}
	if p != s.queuedBy && len(s.queued) > 0 {
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.queuedBy, s.queued = p, append(s.queued, raw...)
	if len(s.queued) > 64<<10 {
		return s.flush()
	}
	return nil
}

// flush sends what is queued for the server.
func (s *session) flush() error {
	if err := s.flushCopy(); err != nil {
		return err
	}
	if len(s.queued) == 0 {
		return nil
	}
	b := s.queued
	s.queued = s.queued[:0]
	if cap(b) > 256<<10 {
		s.queued = nil
	}
	by := s.queuedBy
	if !by.Valid() { // its operation has ended since it was queued, as where one before it has failed: the server passes over it
		by = s.link
	}
	if err := s.up.Write(by, b); err != nil {
		return asRefusal(err, access.CodeUpstream)
	}
	return nil
}

// carrier is the permit in whose name a message travels that belongs to no statement: that of what it stands behind.
func (s *session) carrier() gate.Permit {
	if len(s.queued) > 0 {
		return s.queuedBy
	}
	return s.link
}

// settle waits until every answer has come, and gone out.
func (s *session) settle() {
	if s.flush() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for (len(s.awaited) > 0 || s.busy) && !s.ended {
		s.cond.Wait()
	}
}

// answer gives the gateway's own answer, in its place.
func (s *session) answer(b []byte) error {
	s.mu.Lock()
	if len(s.awaited) > 0 || s.busy {
		s.awaited = append(s.awaited, &entry{local: b, gen: s.gen})
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	return s.say(b)
}

// say delivers what the gateway itself says, recorded as all that is delivered.
func (s *session) say(b []byte) error {
	if err := s.link.Record(stream, toClient, b); err != nil {
		return err
	}
	return s.send(b)
}
