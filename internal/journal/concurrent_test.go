package journal

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestLiveTail reads the open segment while many append: a reader that watches sees each group whole, once, in each writer's order.
func TestLiveTail(t *testing.T) {
	const writers, groups, frames = 8, 200, 3
	j := openJournal(t, t.TempDir(), Options{SegmentBytes: 4000})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for g := range groups {
				var group [][]byte
				for f := range frames {
					group = append(group, fmt.Appendf(nil, "%d %d %d", w, g, f))
				}
				if err := j.Append(Level(1+g%2), group...); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	tail := &tail{journal: j, segment: 1}
	next := make([]int, writers) // the frame that is to come from each writer
	for total := 0; total < writers*groups*frames; {
		watch := j.Watch()
		got, err := tail.read()
		if err != nil {
			t.Fatal(err)
		}
		if len(got)%frames != 0 {
			t.Fatalf("%d frames were read: a group in part", len(got))
		}
		for _, s := range got {
			var w, g, f int
			if _, err := fmt.Sscan(s, &w, &g, &f); err != nil {
				t.Fatal(err)
			}
			if g*frames+f != next[w] {
				t.Fatalf("writer %d: read %d.%d, expected frame %d", w, g, f, next[w])
			}
			next[w]++
		}
		if total += len(got); len(got) == 0 {
			<-watch
		}
	}
	wg.Wait()
}

// tail follows a journal over its segments.
type tail struct {
	journal *Journal
	segment uint64
	at      int64
}

func (r *tail) read() (got []string, err error) {
	segments, err := r.journal.Segments()
	if err != nil {
		return nil, err
	}
	for _, s := range segments {
		if s.ID < r.segment {
			continue
		}
		if s.ID > r.segment {
			r.segment, r.at = s.ID, 0
		}
		r.at, err = r.journal.Read(s.ID, r.at, func(_ int64, f []byte) error {
			got = append(got, string(f))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return got, nil
}

// TestPendingBytesAreBounded: while the disk hangs, Append blocks rather than piling up memory.
func TestPendingBytesAreBounded(t *testing.T) {
	const limit, writers, frame = 10_000, 100, 500
	held := newHeldSync()
	defer held.letGo()
	j := openJournal(t, t.TempDir(), Options{MaxPendingBytes: limit, Fail: held.fail})
	first := held.append(t, j)
	var done atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			if err := j.Append(Synced, make([]byte, frame)); err != nil {
				t.Error(err)
			}
			done.Add(1)
		})
	}
	const fits = limit / (frame + frameHeaderBytes)
	until(t, func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.admit.TryLock() {
			j.admit.Unlock()
			return false
		}
		return j.turn.members.Load() >= fits // full, and one waits for room
	})
	j.mu.Lock()
	pending, members := j.pending, j.turn.members.Load()
	j.mu.Unlock()
	if pending > limit || members != fits || done.Load() > 0 {
		t.Fatalf("%d bytes of %d appends are pending, %d have returned", pending, members, done.Load())
	}
	held.letGo()
	wg.Wait()
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if j.pending != 0 || done.Load() != writers {
		t.Fatalf("%d bytes are pending, %d appends have returned", j.pending, done.Load())
	}
}

// heldSync holds the first sync after append until it is released; err is that sync's result.
type heldSync struct {
	armed   atomic.Bool
	entered chan struct{}
	release chan struct{}
	once    sync.Once
	err     error
	writes  atomic.Int64
	syncs   atomic.Int64
}

func newHeldSync() *heldSync {
	return &heldSync{entered: make(chan struct{}), release: make(chan struct{})}
}

// letGo releases the sync. It is deferred too: a journal cannot be closed while a sync is held.
func (h *heldSync) letGo() { h.once.Do(func() { close(h.release) }) }

func (h *heldSync) fail(point string) error {
	switch point {
	case FailWrite:
		h.writes.Add(1)
	case FailSync:
		h.syncs.Add(1)
		if h.armed.CompareAndSwap(true, false) {
			close(h.entered)
			<-h.release
			return h.err
		}
	}
	return nil
}

// append returns when the sync of one append is being held.
func (h *heldSync) append(t *testing.T, j *Journal) <-chan error {
	t.Helper()
	h.armed.Store(true)
	result := make(chan error, 1)
	go func() { result <- j.Append(Synced, []byte("held")) }()
	<-h.entered
	return result
}

// until lets the others run until cond holds: waiting for a lock cannot be seen from outside. The deadline is only for a broken journal.
func until(t *testing.T, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); runtime.Gosched() {
		if time.Since(start) > 20*time.Second {
			t.Fatal("it never comes to that")
		}
	}
}

// gathered reports how many wait for the next sync.
func gathered(j *Journal) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return int(j.turn.members.Load())
}

// TestWrittenDoesNotWaitForASync: a read's record is released while a change's is still on its way to the disk.
func TestWrittenDoesNotWaitForASync(t *testing.T) {
	held := newHeldSync()
	defer held.letGo()
	j := openJournal(t, t.TempDir(), Options{Fail: held.fail})
	synced := held.append(t, j)
	mustAppend(t, j, Written, "read")
	select {
	case err := <-synced:
		t.Fatalf("the change was released before its sync: %v", err)
	default:
	}
	held.letGo()
	if err := <-synced; err != nil {
		t.Fatal(err)
	}
}

// TestWaitersShareASync: those who come while a sync is under way are served by one write and one sync.
func TestWaitersShareASync(t *testing.T) {
	held := newHeldSync()
	defer held.letGo()
	j := openJournal(t, t.TempDir(), Options{Fail: held.fail})
	held.append(t, j)
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			if err := j.Append(Synced, []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, func() bool { return gathered(j) == 500 })
	held.letGo()
	wg.Wait()
	if held.writes.Load() != 2 || held.syncs.Load() != 2 {
		t.Fatalf("%d writes and %d syncs", held.writes.Load(), held.syncs.Load())
	}
}

// TestFailedSyncFailsEveryWaiter: those whose sync it was, and those who stand in line behind.
func TestFailedSyncFailsEveryWaiter(t *testing.T) {
	held := newHeldSync()
	defer held.letGo()
	held.err = syscall.EIO
	j := openJournal(t, t.TempDir(), Options{Fail: held.fail})
	first := held.append(t, j)
	results := make(chan error, 20)
	for i := range 20 {
		go func() { results <- j.Append(Synced, fmt.Append(nil, i)) }()
	}
	until(t, func() bool { return gathered(j) == 20 })
	held.letGo()
	for range 20 {
		if err := <-results; !errors.Is(err, syscall.EIO) {
			t.Error(err)
		}
	}
	if err := <-first; !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if held.syncs.Load() != 1 {
		t.Errorf("%d syncs", held.syncs.Load())
	}
}

// TestEverythingAtOnce mixes all methods; the race detector and the final count judge.
func TestEverythingAtOnce(t *testing.T) {
	j := openJournal(t, t.TempDir(), Options{SegmentBytes: 3000, MaxPendingBytes: 2000})
	var writers, others sync.WaitGroup
	var read atomic.Int64
	stop := make(chan struct{})
	count := func(_ int64, _ []byte) error { read.Add(1); return nil }
	others.Go(func() {
		for at := uint64(1); ; at++ {
			watch := j.Watch()
			select {
			case <-stop:
				return
			case <-watch:
			}
			id, err := j.Rotate()
			if err != nil {
				t.Error(err)
				return
			}
			if id == 0 {
				continue
			}
			if _, err := j.Read(id, 0, count); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for w := range 8 {
		writers.Go(func() {
			for i := range 200 {
				if err := j.Append(Level(1+(w+i)%2), []byte(strings.Repeat("x", i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	others.Wait()
	if got := len(readAll(t, j)); got != 1600 {
		t.Fatalf("%d frames, want 1600", got)
	}
	segments, err := j.Segments()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments[:len(segments)-1] {
		if err := j.Remove(s.ID); err != nil {
			t.Fatal(err)
		}
	}
}
