package journal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
)

// Level is how far the frames of an Append have come when it returns.
type Level int

const (
	// Written: in the kernel. The frames survive the death of the process, not a power cut.
	Written Level = iota + 1
	// Synced: on disk. The frames survive a power cut.
	Synced
)

// The points at which Options.Fail is asked.
const (
	FailCreate     = "create"      // before a segment's file is created
	FailDirSync    = "dirsync"     // before the folder is synced, after a segment's file was created
	FailRotate     = "rotate"      // before a segment is sealed
	FailWrite      = "write"       // before a batch is written
	FailShortWrite = "write.short" // when half of a batch is written; the other half then is not
	FailWritten    = "written"     // after a batch was written
	FailSync       = "sync"        // before a sync
	FailSynced     = "sync.after"  // after a sync that succeeded: its success is not known then
	FailTruncate   = "truncate"    // before a refused batch is cut off
)

const (
	defaultSegmentBytes    = 64 << 20
	defaultMaxPendingBytes = 32 << 20
	maxSegmentBytes        = 1 << 30 // offsets are 32 bits in a frame
	keptBufferBytes        = 4 << 20 // a larger write buffer goes back to the allocator
)

// Options configure a Journal. The zero value is ready for production.
type Options struct {
	// SegmentBytes is the size at which a segment is sealed and the next begins. A batch is never split, so that a
	// segment can be longer by one batch. 0 means 64 MiB; at most 1 GiB.
	SegmentBytes int64
	// MaxPendingBytes bounds what waits in memory to be written: Append blocks above it. It is also the largest group,
	// headers included. 0 means 32 MiB; at most 1 GiB.
	MaxPendingBytes int64
	// Fail is for tests: it is asked at each Fail… point, from whichever goroutine is there, and an error from it stands for
	// that of the system call. Nil in production.
	Fail func(point string) error
}

func (o Options) withDefaults() (Options, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	if o.MaxPendingBytes == 0 {
		o.MaxPendingBytes = defaultMaxPendingBytes
	}
	if o.SegmentBytes < segmentHeaderBytes || o.SegmentBytes > maxSegmentBytes {
		return o, fmt.Errorf("journal segment size of %d bytes is not between %d and %d", o.SegmentBytes, segmentHeaderBytes, maxSegmentBytes)
	}
	if o.MaxPendingBytes < frameHeaderBytes || o.MaxPendingBytes > maxSegmentBytes {
		return o, fmt.Errorf("journal pending limit of %d bytes is not between %d and %d", o.MaxPendingBytes, frameHeaderBytes, maxSegmentBytes)
	}
	return o, nil
}

// Journal is an open journal. Its methods are safe for concurrent use.
//
// Locks are taken in the order admit, syncMu, writeMu, mu.
type Journal struct {
	dir       string
	options   Options
	table     *crc32.Table
	lock      *os.File
	recovered Recovery

	admit   sync.Mutex // who waits for room waits in line
	syncMu  sync.Mutex // one sync at a time; held to change cur.file
	writeMu sync.Mutex // one write at a time; held to change cur

	mu        sync.Mutex
	room      *sync.Cond // pending became smaller, or err was set
	fill      *batch     // collects groups for the next write
	turn      *turn      // collects waiters for the next sync
	spare     []byte     // the previous batch's buffer
	freeBatch *batch
	freeTurn  *turn
	pending   int64 // bytes in fill and in the batch being written
	sealed    []Segment
	cur       current
	watch     chan struct{} // closed at the next change; nil while nobody watches
	err       error         // final
}

// Open opens the journal in dir, which it creates if need be, and recovers it: the tail that a crash left of the last
// segment is cut off (see Recovered). Everything that remains is on disk when it returns.
// It fails with ErrLocked while another process has the journal, with a *CorruptError where bytes were damaged that
// recovery must not cut.
func Open(dir string, o Options) (*Journal, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := makeFolder(dir); err != nil {
		return nil, err
	}
	lock, err := lockFolder(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	j := &Journal{dir: dir, options: o, table: castagnoli(), lock: lock, fill: new(batch), turn: new(turn)}
	j.room = sync.NewCond(&j.mu)
	if err := j.recoverTail(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening journal: %w", err), lock.Close())
	}
	return j, nil
}

func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("creating journal folder: %w", err)
	}
	return syncDir(filepath.Dir(filepath.Clean(dir)))
}

// Recovered says what Open found.
func (j *Journal) Recovered() Recovery { return j.recovered }

// Err returns why the journal has stopped: a *FailedError, ErrClosed, or nil while it works.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Close writes and syncs what is pending, then closes the journal. It returns the journal's failure, if it had one.
func (j *Journal) Close() error {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	j.writeMu.Lock()
	defer j.writeMu.Unlock()
	if errors.Is(j.Err(), ErrClosed) {
		return nil
	}
	j.flush(true)
	err := j.syncCurrent()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		err = j.err
	}
	j.err = ErrClosed
	j.announceLocked()
	j.room.Broadcast()
	return errors.Join(err, j.cur.file.Close(), j.lock.Close())
}

// fail asks the failpoint.
func (j *Journal) fail(point string) error {
	if j.options.Fail == nil {
		return nil
	}
	return j.options.Fail(point)
}

// stop makes err final and returns the error that every caller gets from now on.
func (j *Journal) stop(err error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		j.err = &FailedError{Cause: err}
	}
	j.announceLocked()
	j.room.Broadcast()
	return j.err
}
