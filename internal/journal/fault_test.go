package journal

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// faults fails the points that are set.
type faults struct {
	mu    sync.Mutex
	set   map[string]error
	asked map[string]int
}

func (f *faults) fail(point string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked == nil {
		f.asked = map[string]int{}
	}
	f.asked[point]++
	return f.set[point]
}

func (f *faults) use(set map[string]error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set, f.asked = set, nil
}

func (f *faults) total() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.asked {
		n += c
	}
	return n
}

// TestFirstFailureIsFinal is ATTACKS.md B91: no failed step is tried again, and everyone hears of it.
func TestFirstFailureIsFinal(t *testing.T) {
	for _, point := range []string{FailWrite, FailShortWrite, FailWritten, FailSync, FailSynced, FailRotate, FailCreate, FailDirSync} {
		t.Run(point, func(t *testing.T) {
			var f faults
			dir := t.TempDir()
			j := openJournal(t, dir, Options{Fail: f.fail})
			mustAppend(t, j, Synced, "kept")
			watch := j.Watch()
			f.use(map[string]error{point: syscall.EIO})
			err := j.Append(Synced, []byte("refused"))
			if point == FailRotate || point == FailCreate || point == FailDirSync {
				_, err = j.Rotate()
			}
			var failed *FailedError
			if !errors.Is(err, syscall.EIO) || !errors.As(err, &failed) {
				t.Fatal(err)
			}
			<-watch
			f.use(nil)
			for _, level := range []Level{Written, Synced} {
				if err := j.Append(level, []byte("x")); !errors.Is(err, syscall.EIO) {
					t.Fatalf("append at level %d: %v", level, err)
				}
			}
			if _, err := j.Rotate(); !errors.Is(err, syscall.EIO) {
				t.Fatalf("rotate: %v", err)
			}
			if err := j.Err(); !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			if f.total() > 0 {
				t.Fatalf("something was tried again: %v", f.asked)
			}
			if err := j.Close(); !errors.Is(err, syscall.EIO) {
				t.Fatalf("close: %v", err)
			}
			got := readAll(t, openJournal(t, dir, Options{}))
			if len(got) == 0 || got[0] != "kept" || strings.Contains(strings.Join(got, " "), "x") {
				t.Fatalf("%q", got)
			}
		})
	}
}

// TestFullDiskRefusesAndRecovers is ATTACKS.md B93: the batch is refused, nothing of it stays, and the journal goes on once there is space.
func TestFullDiskRefusesAndRecovers(t *testing.T) {
	for _, point := range []string{FailWrite, FailShortWrite, FailWritten, FailCreate, FailDirSync} {
		for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT} {
			t.Run(point, func(t *testing.T) {
				var f faults
				dir := t.TempDir()
				j := openJournal(t, dir, Options{SegmentBytes: 100, Fail: f.fail})
				want := []string{"before " + strings.Repeat("b", 50)}
				mustAppend(t, j, Synced, want...)
				f.use(map[string]error{point: cause})
				for _, level := range []Level{Written, Synced, Written} {
					err := j.Append(level, []byte("refused "), []byte(strings.Repeat("r", 60)))
					if !errors.Is(err, ErrNoSpace) || !errors.Is(err, cause) {
						t.Fatal(err)
					}
				}
				if j.Err() != nil {
					t.Fatal(j.Err())
				}
				info, err := os.Stat(segmentPath(dir, j.cur.id))
				if err != nil || info.Size() != j.cur.written {
					t.Fatalf("%d bytes are in the file, %d belong there: %v", info.Size(), j.cur.written, err)
				}
				f.use(nil)
				mustAppend(t, j, Synced, "after")
				want = append(want, "after")
				if d := cmp.Diff(want, readAll(t, j)); d != "" {
					t.Fatal(d)
				}
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(want, readAll(t, openJournal(t, dir, Options{}))); d != "" {
					t.Fatal(d)
				}
			})
		}
	}
}

func TestFullDiskThatCannotBeCutBackIsFinal(t *testing.T) {
	var f faults
	j := openJournal(t, t.TempDir(), Options{Fail: f.fail})
	f.use(map[string]error{FailShortWrite: syscall.ENOSPC, FailTruncate: syscall.EIO})
	err := j.Append(Written, []byte("x"))
	if errors.Is(err, ErrNoSpace) || !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	f.use(nil)
	if err := j.Append(Written, []byte("x")); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
}

// TestFullDiskRefusesOnlyItsBatch: in one turn of waiters some may be on disk and others refused, and each is told the truth.
func TestFullDiskRefusesOnlyItsBatch(t *testing.T) {
	dir := t.TempDir()
	refused := atomic.Int64{}
	var told, kept sync.Map
	j := openJournal(t, dir, Options{SegmentBytes: 5000, Fail: func(point string) error {
		if point == FailShortWrite && refused.Add(1)%3 == 0 {
			return syscall.ENOSPC
		}
		return nil
	}})
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 100 {
				name := fmt.Sprintf("%d.%d", w, i)
				switch err := j.Append(Level(1+i%2), []byte(name)); {
				case err == nil:
					kept.Store(name, true)
				case errors.Is(err, ErrNoSpace):
					told.Store(name, true)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	for _, name := range readAll(t, j) {
		if _, ok := told.Load(name); ok {
			t.Errorf("%s was refused, and is there", name)
		}
		if _, ok := kept.LoadAndDelete(name); ok {
			n++
		}
	}
	kept.Range(func(name, _ any) bool { t.Errorf("%v was acknowledged, and is not there", name); return true })
	if n == 0 {
		t.Error("nothing was kept")
	}
}
