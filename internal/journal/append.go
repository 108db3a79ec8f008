package journal

import (
	"fmt"
	"sync/atomic"
)

// cohort is the waiters that one act of a leader serves. It is reused once the last of them has left.
type cohort struct {
	led     bool          // one of them has undertaken the act
	members atomic.Int32  // who has not yet left
	done    chan struct{} // closed after the act; made for the first who does not lead
	err     error         // its result
}

// enter makes the caller a member, who must leave. The caller holds mu.
func (c *cohort) enter() { c.members.Add(1) }

// leave reports whether the caller was the last to go.
func (c *cohort) leave() bool { return c.members.Add(-1) == 0 }

// undertake reports whether the caller is to lead; if not, it must wait for done. The caller holds mu.
func (c *cohort) undertake() bool {
	if !c.led {
		c.led = true
		return true
	}
	if c.done == nil {
		c.done = make(chan struct{})
	}
	return false
}

// batch is what one write carries: whole groups, whose place is not known until they are written.
// Those who wait for level Written lead and wait here, all others wait for their turn.
type batch struct {
	cohort
	buf []byte
}

// turn is those whom one sync serves.
type turn struct {
	cohort
}

// nextBatch and nextTurn reuse what the last to leave has handed back. The caller holds mu.
func (j *Journal) nextBatch() *batch {
	b := j.freeBatch
	if b == nil {
		b = new(batch)
	}
	j.freeBatch = nil
	b.buf, j.spare = j.spare[:0], nil
	return b
}

func (j *Journal) nextTurn() *turn {
	t := j.freeTurn
	if t == nil {
		t = new(turn)
	}
	j.freeTurn = nil
	return t
}

func (j *Journal) leaveBatch(b *batch) {
	if !b.leave() {
		return
	}
	b.led, b.done, b.err = false, nil, nil
	j.mu.Lock()
	j.freeBatch = b
	j.mu.Unlock()
}

func (j *Journal) leaveTurn(t *turn) {
	if !t.leave() {
		return
	}
	t.led, t.done, t.err = false, nil, nil
	j.mu.Lock()
	j.freeTurn = t
	j.mu.Unlock()
}

// Append adds the frames as one group and returns when the group has reached level. The frames are copied.
// It blocks while too much is pending. Without frames it waits until everything appended before is at that level.
//
// After an error the group may or may not be found in the journal, but after ErrNoSpace and ErrTooLarge it is not there.
// Any other error is final for the journal.
func (j *Journal) Append(level Level, frames ...[]byte) error {
	if level != Written && level != Synced {
		return fmt.Errorf("appending to journal: unknown level %d", level)
	}
	size, err := j.groupBytes(frames)
	if err != nil {
		return err
	}
	b, t, lead, err := j.join(level, frames, size)
	switch {
	case err != nil:
		return err
	case level == Synced:
		return j.awaitSync(b, t, lead)
	default:
		return j.awaitWrite(b, lead)
	}
}

func (j *Journal) groupBytes(frames [][]byte) (int64, error) {
	var size int64
	for _, f := range frames {
		if len(f) > MaxFrameBytes {
			return 0, fmt.Errorf("%w: a frame of %d bytes, the limit is %d", ErrTooLarge, len(f), MaxFrameBytes)
		}
		size += frameHeaderBytes + int64(len(f))
	}
	if size > j.options.MaxPendingBytes {
		return 0, fmt.Errorf("%w: a group of %d bytes, the limit is %d", ErrTooLarge, size, j.options.MaxPendingBytes)
	}
	return size, nil
}

// join puts the group into the batch that is filling, once there is room, and at level Synced its caller into the turn
// that is gathering. lead is true for the caller who must drive it.
func (j *Journal) join(level Level, frames [][]byte, size int64) (b *batch, t *turn, lead bool, err error) {
	j.admit.Lock()
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.err == nil && j.pending > 0 && j.pending+size > j.options.MaxPendingBytes {
		j.room.Wait()
	}
	j.admit.Unlock()
	if j.err != nil {
		return nil, nil, false, j.err
	}
	b, t = j.fill, j.turn
	for i, f := range frames {
		b.buf = appendFrame(b.buf, f, i == len(frames)-1, j.table)
	}
	j.pending += size
	b.enter()
	if level == Written {
		return b, nil, b.undertake(), nil
	}
	t.enter()
	return b, t, t.undertake(), nil
}

func (j *Journal) awaitWrite(b *batch, lead bool) error {
	defer j.leaveBatch(b)
	if lead {
		j.leadWrite()
	} else {
		<-b.done
	}
	return b.err
}

// awaitSync returns the batch's error before the turn's: the turn's leader has written whatever its members had added.
func (j *Journal) awaitSync(b *batch, t *turn, lead bool) error {
	defer j.leaveBatch(b)
	defer j.leaveTurn(t)
	if lead {
		j.leadSync()
	} else {
		<-t.done
	}
	if b.err != nil {
		return b.err
	}
	return t.err
}
