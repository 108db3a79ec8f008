package postgres

import (
	"bytes"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	wire "gatebook/internal/wire/postgres"
)

// copyInput is what a COPY from the client is recorded by, before it goes on: in it what is known to be secret is replaced,
// and what cannot be decided yet, since a secret may have begun, waits.
type copyInput struct {
	record  *mask.TextWriter
	fresh   []byte // not yet recorded
	waiting []byte
	seen    []byte // the end of what came before, for a placeholder across messages
}

// copyRecorder puts what is written to it into the operation's record.
type copyRecorder struct{ o *operation }

func (r copyRecorder) Write(b []byte) (int, error) {
	if err := r.o.p.Record(stream, fromClient, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// copyIn takes what the client sends of a COPY. Outside of one the server passes over it, and so it goes no further.
func (s *session) copyIn(m wire.Message) error {
	o := s.copyOf
	if o == nil {
		if err := s.flush(); err != nil {
			return err
		}
		if o = s.awaitCopy(); o == nil {
			return nil
		}
	}
	if o.input == nil {
		o.input = &copyInput{}
		o.input.record = s.scopeOf(o).Claimed().Text(copyRecorder{o})
	}
	if m.Type == wire.CopyData {
		return s.copyData(o, m.Body)
	}
	if err := s.flushCopy(); err != nil {
		return err
	}
	if s.awaitCopy() != o { // it was refused
		return nil
	}
	if err := o.input.record.Close(); err != nil {
		return err
	}
	if err := s.sendCopy(o, len(o.input.waiting)); err != nil {
		return err
	}
	s.mu.Lock()
	s.copied = true
	s.mu.Unlock()
	if m.Type == wire.CopyFail {
		if err := o.p.Record(stream, fromClient, []byte(s.conceal(string(m.Raw[5:])))); err != nil {
			return err
		}
	}
	return s.up.Write(o.p, m.Raw)
}

// awaitCopy gives the COPY that the server takes data for, once it has said so; nil where there is none to come.
func (s *session) awaitCopy() *operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.copying == nil && len(s.awaited) > 0 && !s.ended {
		s.cond.Wait()
	}
	if s.copied {
		return nil
	}
	return s.copying
}

// overlap is more than a placeholder takes in any encoding that is looked for.
const overlap = 256

// copyBatch is how much of a copy is recorded and forwarded at once, where the client sends as much: each record of a change waits
// for the disk.
const copyBatch = 256 << 10

func (s *session) copyData(o *operation, data []byte) error {
	s.copyOf = o
	o.input.fresh = append(o.input.fresh, data...)
	if len(o.input.fresh) < copyBatch {
		return nil
	}
	return s.flushCopy()
}

// flushCopy records what has come of a copy, and forwards it as far as it is recorded.
func (s *session) flushCopy() error {
	o := s.copyOf
	s.copyOf = nil
	if o == nil || len(o.input.fresh) == 0 || !s.takes(o) {
		return nil
	}
	in := o.input
	around := append(in.seen, in.fresh...)
	if s.scope.HasPlaceholder(around) || numberPlaceholder.Match(around) {
		why := access.Refuse(access.CodePlaceholder, nil, "the copied data holds a masked value, which stands for nothing in the database")
		s.mu.Lock()
		s.copied = true
		s.mu.Unlock()
		var b wire.Builder
		b.Begin(wire.CopyFail).Text("gatebook: " + why.Message).End()
		return s.up.Write(o.p, b.Bytes)
	}
	in.seen = bytes.Clone(around[max(0, len(around)-overlap):])
	_, err := in.record.Write(in.fresh)
	if err == nil {
		err = in.record.Flush()
	}
	if err != nil {
		if !s.takes(o) { // it failed meanwhile, and its record has ended
			return nil
		}
		return err
	}
	in.waiting = append(in.waiting, in.fresh...)
	if in.fresh = in.fresh[:0]; cap(in.fresh) > 2*copyBatch {
		in.fresh = nil
	}
	return s.sendCopy(o, len(in.waiting)-in.record.Held())
}

// takes reports whether the server still takes data for o.
func (s *session) takes(o *operation) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copying == o && !s.copied
}

// sendCopy forwards the first n of the bytes that wait: those that are recorded.
func (s *session) sendCopy(o *operation, n int) error {
	if n <= 0 {
		return nil
	}
	in := o.input
	var b wire.Builder
	b.Begin(wire.CopyData).Raw(in.waiting[:n]).End()
	in.waiting = append(in.waiting[:0], in.waiting[n:]...)
	o.out.RequestBytes += int64(n)
	return s.up.Write(o.p, b.Bytes)
}
