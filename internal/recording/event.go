package recording

import (
	"fmt"
	"time"

	"gatebook/internal/access"
)

// Event is one frame with what it belongs to.
type Event struct {
	Frame
	// Number is the frame's in the gateway's count.
	Number uint64
	// Operation is that of the frame; empty in unit and note frames, and in their leaves.
	Operation access.OperationID
	// At is the frame's time.
	At time.Time
}

// resolver turns frames into events. It remembers the operations that are open; a unit frame makes it forget them all,
// since what is open is carried over behind it.
type resolver struct {
	open map[uint64]opened
	unit string
	last time.Time
}

type opened struct {
	session access.SessionID
	id      access.OperationID
	began   time.Time
}

func (r *resolver) event(number uint64, raw []byte) (Event, error) {
	f, err := Decode(raw)
	if err != nil {
		return Event{}, fmt.Errorf("frame %d: %w", number, err)
	}
	e := Event{Frame: f, Number: number, At: f.Time}
	switch f.Kind {
	case KindUnit:
		r.open, r.unit = map[uint64]opened{}, f.ID
	case KindNote:
	case KindLeaf:
		e.At = r.last
	case KindResume, KindBegin:
		if r.open == nil {
			r.open = map[uint64]opened{}
		}
		r.open[f.Op] = opened{session: f.Session, id: access.OperationID(f.ID), began: f.Time}
		e.Operation = access.OperationID(f.ID)
	default:
		o, ok := r.open[f.Op]
		if !ok {
			return Event{}, fmt.Errorf("frame %d: a %s frame of an operation that did not begin", number, f.Kind)
		}
		e.Session, e.Operation, e.At = o.session, o.id, o.began.Add(f.Delta)
		if f.Kind == KindEnd {
			delete(r.open, f.Op)
		}
	}
	r.last = e.At
	return e, nil
}
