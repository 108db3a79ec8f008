package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func openJournal(t testing.TB, dir string, o Options) *Journal {
	t.Helper()
	j, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func mustAppend(t testing.TB, j *Journal, level Level, frames ...string) {
	t.Helper()
	if err := j.Append(level, bytesOf(frames)...); err != nil {
		t.Fatal(err)
	}
}

func bytesOf(frames []string) [][]byte {
	var b [][]byte
	for _, f := range frames {
		b = append(b, []byte(f))
	}
	return b
}

// readAll returns the frames of all segments in order.
func readAll(t testing.TB, j *Journal) []string {
	t.Helper()
	segments, err := j.Segments()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range segments {
		next, err := j.Read(s.ID, 0, func(_ int64, f []byte) error {
			all = append(all, string(f))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if next != s.Bytes {
			t.Fatalf("segment %d: read up to %d of %d", s.ID, next, s.Bytes)
		}
	}
	return all
}

func TestAppendedFramesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir, Options{})
	mustAppend(t, j, Written, "one")
	mustAppend(t, j, Synced, "two", "", "three")
	want := []string{"one", "two", "", "three"}
	if d := cmp.Diff(want, readAll(t, j)); d != "" {
		t.Fatal(d)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = openJournal(t, dir, Options{})
	if j.Recovered().CutBytes != 0 {
		t.Fatalf("a clean end was cut: %+v", j.Recovered())
	}
	mustAppend(t, j, Synced, "four")
	if d := cmp.Diff(append(want, "four"), readAll(t, j)); d != "" {
		t.Fatal(d)
	}
}

func TestReadGoesOnFromAnyFrame(t *testing.T) {
	j := openJournal(t, t.TempDir(), Options{})
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprint("frame ", i))
	}
	mustAppend(t, j, Written, want...)
	var at []int64
	if _, err := j.Read(1, 0, func(a int64, _ []byte) error { at = append(at, a); return nil }); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	for i, from := range at {
		var got []string
		next, err := j.Read(1, from, func(_ int64, f []byte) error {
			if len(got) == 2 {
				return stop
			}
			got = append(got, string(f))
			return nil
		})
		if d := cmp.Diff(want[i:min(i+2, len(want))], got); d != "" {
			t.Fatal(d)
		}
		if i+2 < len(at) && (!errors.Is(err, stop) || next != at[i+2]) {
			t.Fatalf("from frame %d: next is %d, %v; frame %d is at %d", i, next, err, i+2, at[i+2])
		}
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir, Options{SegmentBytes: 100})
	if id, err := j.Rotate(); id != 0 || err != nil {
		t.Fatalf("sealing an empty segment: %d, %v", id, err)
	}
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprintf("%030d", i))
		mustAppend(t, j, Level(1+i%2), want[i])
	}
	mustRead := func(ids ...uint64) {
		t.Helper()
		list, err := j.Segments()
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for i, s := range list {
			got = append(got, s.ID)
			if s.Sealed != (i < len(list)-1) {
				t.Fatalf("segment %+v of %v", s, list)
			}
		}
		if d := cmp.Diff(ids, got); d != "" {
			t.Fatal(d)
		}
	}
	mustRead(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20)
	if id, err := j.Rotate(); id != 20 || err != nil {
		t.Fatalf("sealing segment 20: %d, %v", id, err)
	}
	if d := cmp.Diff(want, readAll(t, j)); d != "" {
		t.Fatal(d)
	}
	for id := uint64(1); id < 20; id++ {
		if err := j.Remove(id); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Remove(21); err == nil {
		t.Fatal("the open segment was removed")
	}
	if err := j.Remove(3); !errors.Is(err, ErrUnknownSegment) {
		t.Fatalf("removing twice: %v", err)
	}
	mustRead(20, 21)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = openJournal(t, dir, Options{})
	mustRead(20, 21)
	if d := cmp.Diff(want[19:], readAll(t, j)); d != "" {
		t.Fatal(d)
	}
}

func TestLimitsAreRefused(t *testing.T) {
	j := openJournal(t, t.TempDir(), Options{MaxPendingBytes: 1000})
	if err := j.Append(Written, make([]byte, 981)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("a group above the pending limit: %v", err)
	}
	if err := j.Append(Written, make([]byte, MaxFrameBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("a frame above the limit: %v", err)
	}
	if err := j.Append(0, []byte("x")); err == nil {
		t.Fatal("the zero level was accepted")
	}
	mustAppend(t, j, Written, string(make([]byte, 980)))
	for _, o := range []Options{{SegmentBytes: 1}, {SegmentBytes: 2 << 30}, {MaxPendingBytes: 3}, {MaxPendingBytes: -1}} {
		if _, err := Open(t.TempDir(), o); err == nil {
			t.Fatalf("options accepted: %+v", o)
		}
	}
}

func TestTwoProcessesAreKeptApart(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("opened twice: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	openJournal(t, dir, Options{})
}

func TestClosedJournalRefuses(t *testing.T) {
	j := openJournal(t, t.TempDir(), Options{})
	watch := j.Watch()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	<-watch
	<-j.Watch()
	if err := j.Append(Written, []byte("x")); !errors.Is(err, ErrClosed) {
		t.Fatalf("append after close: %v", err)
	}
	if _, err := j.Rotate(); !errors.Is(err, ErrClosed) {
		t.Fatalf("rotate after close: %v", err)
	}
	if err := j.Remove(1); !errors.Is(err, ErrClosed) {
		t.Fatalf("remove after close: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatalf("second close: %v", err)
	}
}

func TestReadOffsetsOutsideTheSegmentAreRefused(t *testing.T) {
	j := openJournal(t, t.TempDir(), Options{})
	mustAppend(t, j, Written, "x")
	for _, from := range []int64{-1, 1, 31, 33, 54, 1 << 40} {
		if _, err := j.Read(1, from, func(int64, []byte) error { return nil }); err == nil {
			t.Errorf("read from %d", from)
		}
	}
	if _, err := j.Read(2, 0, nil); !errors.Is(err, ErrUnknownSegment) {
		t.Errorf("read of an unknown segment: %v", err)
	}
}

func TestGroupAppendDoesNotAllocate(t *testing.T) {
	j := openJournal(t, t.TempDir(), Options{})
	frame := bytes.Repeat([]byte("x"), 200)
	for _, level := range []Level{Written, Synced} {
		n := testing.AllocsPerRun(100, func() {
			if err := j.Append(level, frame, frame); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("level %d: %v allocations for each Append", level, n)
		}
	}
}

func segmentPath(dir string, id uint64) string { return filepath.Join(dir, segmentName(id)) }

// damage changes one byte of a segment.
func damage(t testing.TB, dir string, id uint64, at int64) {
	t.Helper()
	f, err := os.OpenFile(segmentPath(dir, id), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}
