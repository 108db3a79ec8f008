package postgres

import (
	"bytes"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	wire "gatebook/internal/wire/postgres"
)

// copied is what a COPY from the client is recorded by, before it goes on: in it what is known to be secret is replaced,
// and what cannot be decided yet, since a secret may have begun, waits.
type copyInput struct {
	record  *mask.TextWriter
	waiting []byte
	seen    []byte // the end of what came before, for a placeholder across messages
	bytes   int64
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
	if err := s.flush(); err != nil {
		return err
	}
	o := s.awaitCopy()
	if o == nil {
		return nil
	}
	if o.input == nil {
		o.input = &copyInput{}
		o.input.record = s.scope.Text(copyRecorder{o})
	}
	if m.Type == wire.CopyData {
		return s.copyData(o, m.Body)
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

func (s *session) copyData(o *operation, data []byte) error {
	in := o.input
	around := append(in.seen, data...)
	if s.scope.HasPlaceholder(around) || numberPlaceholder.Match(around) {
		why := access.Refuse(access.CodePlaceholder, nil, "the copied data holds a masked value, which stands for nothing in the database")
		o.out.Message = why.Message
		s.mu.Lock()
		s.copied = true
		s.mu.Unlock()
		var b wire.Builder
		b.Begin(wire.CopyFail).Text("gatebook: " + why.Message).End()
		return s.up.Write(o.p, b.Bytes)
	}
	in.seen = bytes.Clone(around[max(0, len(around)-overlap):])
	if _, err := in.record.Write(data); err != nil {
		return err
	}
	if err := in.record.Flush(); err != nil {
		return err
	}
	in.waiting = append(in.waiting, data...)
	return s.sendCopy(o, len(in.waiting)-in.record.Held())
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
