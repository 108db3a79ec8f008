package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// leadWrite writes the batch that is filling, without waiting for a sync that is under way.
func (j *Journal) leadWrite() {
	j.writeMu.Lock()
	done := j.flush(false)
	j.writeMu.Unlock()
	if done {
		return
	}
	j.syncMu.Lock() // the segment is full: changing it excludes syncs
	j.writeMu.Lock()
	j.flush(true)
	j.writeMu.Unlock()
	j.syncMu.Unlock()
}

// leadSync waits for the sync under way, then writes and syncs all that gathered meanwhile.
func (j *Journal) leadSync() {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	j.gather()
	j.mu.Lock()
	t := j.turn
	j.turn = j.nextTurn()
	j.mu.Unlock()
	j.writeMu.Lock()
	j.flush(true)
	j.writeMu.Unlock()
	t.err = j.syncCurrent()
	if t.done != nil {
		close(t.done)
	}
}

// gatherRounds bounds how often a leader yields.
const gatherRounds = 2

// gather yields while others join: those whom the last sync released come to this turn, not to the next.
func (j *Journal) gather() {
	for range gatherRounds {
		before := j.gathered()
		runtime.Gosched()
		if j.gathered() == before {
			return
		}
	}
}

func (j *Journal) gathered() int32 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.turn.members.Load()
}

// flush writes the batch that is filling. The caller holds writeMu, and syncMu if mayRotate.
// It reports false, having done nothing, where a new segment is needed and may not be made.
func (j *Journal) flush(mayRotate bool) bool {
	j.mu.Lock()
	b := j.fill
	size := int64(len(b.buf))
	full := j.err == nil && size > 0 && j.cur.written > segmentHeaderBytes && j.cur.written+size > j.options.SegmentBytes
	if full && !mayRotate {
		j.mu.Unlock()
		return false
	}
	if b.members.Load() == 0 {
		j.mu.Unlock()
		return true
	}
	j.fill = j.nextBatch()
	err := j.err
	j.mu.Unlock()
	if err == nil && full {
		err = j.rotate()
	}
	if err == nil && size > 0 {
		err = j.write(b.buf)
	}
	j.finish(b, err)
	return true
}

// finish releases a batch's waiters and its room, and tells the watchers.
func (j *Journal) finish(b *batch, err error) {
	j.mu.Lock()
	j.pending -= int64(len(b.buf))
	if cap(b.buf) <= keptBufferBytes {
		j.spare = b.buf
	}
	if err == nil && len(b.buf) > 0 {
		j.cur.written += int64(len(b.buf))
		j.announceLocked()
	}
	b.buf, b.err = nil, err
	done := b.done
	j.room.Broadcast()
	j.mu.Unlock()
	if done != nil {
		close(done)
	}
}

// write puts a batch at the end of the segment. If there is no space for it, the segment is as it was.
func (j *Journal) write(buf []byte) error {
	at := j.cur.written
	stamp(buf, j.cur.seed, at, j.syncedTo(), j.table)
	err := j.writeAt(buf, at)
	switch {
	case err == nil:
		return nil
	case isNoSpace(err):
		return j.takeBack(at, err)
	default:
		return j.stop(fmt.Errorf("writing journal segment %d: %w", j.cur.id, err))
	}
}

func (j *Journal) syncedTo() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.cur.synced
}

func (j *Journal) writeAt(buf []byte, at int64) error {
	if err := j.fail(FailWrite); err != nil {
		return err
	}
	if err := j.fail(FailShortWrite); err != nil {
		_, writing := j.cur.file.WriteAt(buf[:len(buf)/2], at)
		return errors.Join(err, writing)
	}
	if _, err := j.cur.file.WriteAt(buf, at); err != nil {
		return err
	}
	return j.fail(FailWritten)
}

// takeBack cuts a refused batch off the segment, on disk, and returns the refusal. It has a descriptor of its own, because
// the kernel reports a failed write-back once per descriptor, and a sync that runs beside must hear of it too.
func (j *Journal) takeBack(at int64, cause error) error {
	err := j.fail(FailTruncate)
	if err == nil {
		err = truncate(filepath.Join(j.dir, segmentName(j.cur.id)), at)
	}
	if err != nil {
		return j.stop(errors.Join(fmt.Errorf("cutting a refused batch off journal segment %d: %w", j.cur.id, err), cause))
	}
	return fmt.Errorf("%w: writing journal segment %d: %w", ErrNoSpace, j.cur.id, cause)
}

func truncate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err = f.Truncate(size); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncCurrent brings what was written of the current segment to disk. The caller holds syncMu.
func (j *Journal) syncCurrent() error {
	j.mu.Lock()
	cur, err := j.cur, j.err
	j.mu.Unlock()
	if cur.synced == cur.written {
		return nil
	}
	if err != nil {
		return err
	}
	if err := j.syncFile(cur.file); err != nil {
		return j.stop(fmt.Errorf("syncing journal segment %d: %w", cur.id, err))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cur.synced = cur.written
	return nil
}

func (j *Journal) syncFile(f *os.File) error {
	if err := j.fail(FailSync); err != nil {
		return err
	}
	if err := syncData(f); err != nil {
		return err
	}
	return j.fail(FailSynced)
}

// Rotate seals the current segment and begins the next. It returns the number of the sealed one, or 0 when the current
// segment holds nothing to seal. With ErrNoSpace the current segment simply goes on.
func (j *Journal) Rotate() (sealed uint64, err error) {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	j.writeMu.Lock()
	defer j.writeMu.Unlock()
	j.flush(true)
	if err := j.Err(); err != nil {
		return 0, err
	}
	if j.cur.written == segmentHeaderBytes {
		return 0, nil
	}
	id := j.cur.id
	if err := j.rotate(); err != nil {
		return 0, err
	}
	return id, nil
}

// rotate seals the current segment. The old one is on disk before the new one has a name, so that only the last segment of
// a folder can have a torn tail. The caller holds syncMu and writeMu.
func (j *Journal) rotate() error {
	if err := j.fail(FailRotate); err != nil {
		return j.stop(fmt.Errorf("sealing journal segment %d: %w", j.cur.id, err))
	}
	if err := j.syncCurrent(); err != nil {
		return err
	}
	next, err := j.createSegment(j.cur.id + 1)
	switch {
	case errors.Is(err, errCreate) && isNoSpace(err):
		return fmt.Errorf("%w: creating journal segment %d: %w", ErrNoSpace, j.cur.id+1, err)
	case err != nil:
		return j.stop(fmt.Errorf("creating journal segment %d: %w", j.cur.id+1, err))
	}
	old := j.cur
	j.mu.Lock()
	j.sealed = append(j.sealed, Segment{ID: old.id, Bytes: old.written, Sealed: true})
	j.cur = next
	j.announceLocked()
	j.mu.Unlock()
	if err := old.file.Close(); err != nil {
		return j.stop(fmt.Errorf("closing journal segment %d: %w", old.id, err))
	}
	return nil
}
