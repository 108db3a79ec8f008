package recording

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/journal"
)

// ErrEnded is returned for an operation that has ended.
var ErrEnded = errors.New("the operation has ended")

// Operation is one operation that is being recorded. It is safe for concurrent use; the order in which its frames are
// recorded is that in which the calls got hold of it.
type Operation struct {
	r      *Recorder
	number uint64
	change bool
	began  time.Time // with the monotonic clock

	mu    sync.Mutex // held while a frame is appended, so that the digest's order is the journal's
	ended bool
	// tally is changed with mu and the recorder's read lock held, so the recorder's write lock is enough to read it.
	tally *tally
}

// Write records b as bytes of stream s. They are in the journal when it returns nil: then, and only then, may they be
// passed on. What a change sends upstream is as durable as its beginning; what comes back is Written. b is not retained.
func (o *Operation) Write(s Stream, d Direction, b []byte) error {
	if len(s) > maxStreamName {
		return fmt.Errorf("recording a stream: a name of %d bytes, at most %d can be", len(s), maxStreamName)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	level := o.r.level(o.change && d == FromClient)
	for len(b) > 0 {
		chunk := b[:min(len(b), maxChunk)]
		b = b[len(chunk):]
		delta := o.delta()
		g := o.r.batches.get()
		g.arena = appendStream(g.arena, o.number, delta, s, d, chunk)
		g.end()
		err := o.append(level, g, delta, len(chunk), d)
		o.r.batches.put(g)
		if err != nil {
			return err
		}
	}
	return nil
}

// Resize records the terminal's new size.
func (o *Operation) Resize(cols, rows uint16) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	delta := o.delta()
	g := o.r.batches.get()
	defer o.r.batches.put(g)
	g.arena = appendResize(g.arena, o.number, delta, cols, rows)
	g.end()
	return o.append(o.r.level(false), g, delta, 0, FromClient)
}

// EndWith is Write and End in one step of the journal, where what b ends with is the operation's last. When it fails the operation has
// not ended, and b may be recorded in part and is not to be passed on.
func (o *Operation) EndWith(s Stream, d Direction, b []byte, out access.Outcome) error {
	for len(b) > maxChunk {
		if err := o.Write(s, d, b[:maxChunk]); err != nil {
			return err
		}
		b = b[maxChunk:]
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return fmt.Errorf("ending operation %s: %w", o.tally.leaf.Operation, ErrEnded)
	}
	g := o.r.batches.get()
	defer o.r.batches.put(g)
	o.r.mu.RLock()
	defer o.r.mu.RUnlock()
	delta, c := o.delta(), &Closing{Outcome: out}
	g.arena = appendStream(g.arena, o.number, delta, s, d, b)
	g.end()
	last, err := o.tally.clone()
	if err != nil {
		return err
	}
	last.add(g.arena, delta, len(b), d)
	if err := last.closeWith(g, o.number, delta, c); err != nil {
		return err
	}
	if o.r.o.Index != nil {
		o.r.recent.end(o.number, c, g.arena[g.ends[0]:])
	}
	if err := o.r.appendLocked(o.r.level(o.change), g); err != nil {
		return err
	}
	o.tally = last
	o.over()
	return nil
}

// over is for an operation whose end is in the journal.
func (o *Operation) over() {
	o.ended = true
	o.r.open.remove(o.number)
	o.r.wakeIndex()
}

// End records how the operation ended, and seals its digest in a ledger entry. It is called exactly once; a second
// call is ErrEnded.
func (o *Operation) End(out access.Outcome) error {
	return o.end(&Closing{Outcome: out})
}

func (o *Operation) end(c *Closing) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return fmt.Errorf("ending operation %s: %w", o.tally.leaf.Operation, ErrEnded)
	}
	g := o.r.batches.get()
	defer o.r.batches.put(g)
	o.r.mu.RLock()
	defer o.r.mu.RUnlock()
	if err := o.tally.appendEnd(g, o.number, o.delta(), c); err != nil {
		return err
	}
	if o.r.o.Index != nil {
		o.r.recent.end(o.number, c, g.arena)
	}
	if err := o.r.appendLocked(o.r.level(o.change), g); err != nil {
		o.abandon(c)
		return err
	}
	o.over()
	return nil
}

// appendEnd adds the two frames that end an operation: its outcome, and its leaf. The tally itself stays as it is.
func (t *tally) appendEnd(g *batch, number uint64, delta time.Duration, c *Closing) error {
	last, err := t.clone()
	if err != nil {
		return err
	}
	return last.closeWith(g, number, delta, c)
}

// closeWith is appendEnd for a tally that is of no use afterwards.
func (t *tally) closeWith(g *batch, number uint64, delta time.Duration, c *Closing) error {
	start := len(g.arena)
	frame, err := c.append(appendEnd(g.arena, number, delta, nil))
	if err != nil {
		return fmt.Errorf("ending operation %s: %w", t.leaf.Operation, err)
	}
	g.arena = frame
	g.end()
	leaf := t.close(g.arena[start:], delta.Truncate(time.Microsecond), c)
	g.arena = leaf.append(appendLeaf(g.arena, leaf.Session, nil))
	g.end()
	return nil
}

// append puts a group of one frame into the journal and then into the tally. The operation's lock is held.
func (o *Operation) append(level journal.Level, g *batch, delta time.Duration, data int, d Direction) error {
	if o.ended {
		return fmt.Errorf("recording operation %s: %w", o.tally.leaf.Operation, ErrEnded)
	}
	o.r.mu.RLock()
	defer o.r.mu.RUnlock()
	if err := o.r.appendLocked(level, g); err != nil {
		return err
	}
	for _, frame := range g.frames {
		o.tally.add(frame, delta, data, d)
	}
	return nil
}

func (o *Operation) delta() time.Duration { return max(0, o.r.now().Sub(o.began)) }

// record puts the operation's opening, which g holds, and its whole payload into the journal.
func (o *Operation) record(g *batch, payload io.Reader) error {
	for whole := payload == nil; !whole; {
		var err error
		if whole, err = o.addChunk(g, payload); err != nil {
			return err
		}
		if len(g.arena) >= maxChunk {
			if err := o.flush(o.r.level(false), g); err != nil {
				return err
			}
		}
	}
	g.arena = appendReady(g.arena, o.number, o.delta())
	g.end()
	return o.flush(o.r.level(o.change), g)
}

// addChunk reads the next part of the payload straight into the batch.
func (o *Operation) addChunk(g *batch, payload io.Reader) (whole bool, err error) {
	start := len(g.arena)
	g.arena = appendPayload(g.arena, o.number, o.delta(), nil)
	head := len(g.arena)
	g.arena = slices.Grow(g.arena, maxChunk)
	n := 0
	for n < maxChunk && err == nil { // not io.ReadFull, which hides a payload that was cut short
		var m int
		m, err = payload.Read(g.arena[head+n : head+maxChunk])
		n += m
	}
	g.arena = g.arena[:head+n]
	if n == 0 {
		g.arena = g.arena[:start]
	} else {
		g.end()
	}
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("reading the payload of operation %s: %w", o.tally.leaf.Operation, err)
	}
	return err == io.EOF, nil
}

// flush puts the batch into the journal and the tally, and empties it.
func (o *Operation) flush(level journal.Level, g *batch) error {
	o.r.mu.RLock()
	defer o.r.mu.RUnlock()
	if err := o.r.appendLocked(level, g); err != nil {
		return err
	}
	o.r.open.add(o)
	for _, frame := range g.frames {
		if Kind(frame[0]) == KindBegin { // its text need not be made again to be counted
			o.tally.add(frame, 0, 0, FromClient)
			continue
		}
		f, err := Decode(frame)
		if err != nil {
			return err
		}
		o.tally.addDecoded(frame, &f)
	}
	g.reset()
	return nil
}

// abandon is for an operation that the journal took in part and then had no room for. Its end is kept to be written as
// soon as there is room, so that no operation in the book is without one.
func (o *Operation) abandon(c *Closing) {
	o.ended = true
	o.r.open.abandon(o, c)
}
