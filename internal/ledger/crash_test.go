package ledger

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

var errCrash = errors.New("crash")

// disk follows what a log does to its folder, so that a power cut can take back what was not synced.
type disk struct {
	dir     string
	crashAt int // the failpoint at which the machine dies; counts down
	dead    bool

	last     string          // the point that was passed last: its action is done by the next
	content  map[string]int  // files whose content is not on disk, and how often they were written since it was
	names    map[string]bool // files whose name is not on disk
	replaced []byte          // the checkpoint whose replacement is not on disk
	recent   []byte          // the file of that name as it is on disk, while it is not as it is on disk
	risky    bool            // recent is not as it is on disk
	torn     bool            // the checkpoint was renamed before its content was on disk
}

func newDisk(dir string, crashAt int) *disk {
	return &disk{dir: dir, crashAt: crashAt, content: map[string]int{}, names: map[string]bool{}}
}

func (d *disk) fail(point string) error {
	d.settle()
	if d.crashAt--; d.crashAt < 0 || d.dead {
		d.dead = true
		return errCrash
	}
	d.last = point
	return d.prepare(point)
}

// prepare notes what the action after the point puts at risk.
func (d *disk) prepare(point string) error {
	verb, path, _ := strings.Cut(point, " ")
	full := filepath.Join(d.dir, path)
	switch verb {
	case "write":
		d.content[full]++
		d.names[full] = true
	case "append":
		return d.keep(&d.recent, full, &d.risky)
	case "rename":
		if d.replaced == nil {
			return d.keep(&d.replaced, full, new(bool))
		}
	}
	return nil
}

// keep remembers a file as it is on disk, unless it is remembered already.
func (d *disk) keep(old *[]byte, path string, risky *bool) error {
	if *risky {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	*old, *risky = b, true
	return nil
}

// settle notes that the action after the last point has succeeded.
func (d *disk) settle() {
	verb, path, _ := strings.Cut(d.last, " ")
	d.last = ""
	switch {
	case verb == "sync" && filepath.Base(path) == "recent":
		d.risky = false
	case verb == "sync":
		if d.content[path]--; d.content[path] <= 0 {
			delete(d.content, path)
			d.torn = d.torn && !strings.HasSuffix(path, ".new")
		}
	case verb == "rename":
		d.torn = d.content[filepath.Join(d.dir, path)+".new"] > 0
	case verb == "syncall":
		clear(d.content)
		clear(d.names)
		d.replaced, d.risky, d.torn = nil, false, false
	case verb == "syncdir":
		for f := range d.names {
			if filepath.Dir(f) == path {
				delete(d.names, f)
			}
		}
		if path == d.dir {
			d.replaced = nil
		}
	}
}

// powerCut takes back an arbitrary part of what was not on disk.
func (d *disk) powerCut(t *rapid.T) {
	for _, f := range slices.Sorted(maps.Keys(d.names)) {
		if rapid.Bool().Draw(t, "lose name") && filepath.Base(f) != "checkpoint" {
			must(t, os.RemoveAll(f))
		}
	}
	for _, f := range slices.Sorted(maps.Keys(d.content)) {
		loseContent(t, f)
	}
	if d.torn {
		loseContent(t, filepath.Join(d.dir, "checkpoint"))
	}
	if d.replaced != nil && rapid.Bool().Draw(t, "lose rename") {
		must(t, os.WriteFile(filepath.Join(d.dir, "checkpoint"), d.replaced, 0o600))
	}
	if d.risky {
		d.tearRecent(t)
	}
}

func loseContent(t *rapid.T, f string) {
	info, err := os.Stat(f)
	if err != nil {
		return
	}
	switch rapid.SampledFrom([]string{"keep", "cut", "zero"}).Draw(t, "lose content") {
	case "cut":
		must(t, os.Truncate(f, rapid.Int64Range(0, info.Size()).Draw(t, "at")))
	case "zero":
		must(t, os.WriteFile(f, make([]byte, info.Size()), 0o600))
	}
}

// tearRecent leaves of what was written last only what is before or behind some place.
func (d *disk) tearRecent(t *rapid.T) {
	path := filepath.Join(d.dir, "recent")
	now, err := os.ReadFile(path)
	must(t, err)
	old := append(slices.Clone(d.recent), make([]byte, max(0, len(now)-len(d.recent)))...)
	at := rapid.IntRange(0, len(now)).Draw(t, "tear at")
	if rapid.Bool().Draw(t, "keep the beginning") {
		must(t, os.WriteFile(path, append(slices.Clone(now[:at]), old[at:]...), 0o600))
	} else {
		must(t, os.WriteFile(path, append(slices.Clone(old[:at]), now[at:]...), 0o600))
	}
}

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

// TestCrashAnywhere is ATTACKS.md B92 and B94 for the ledger: whatever dies at whichever step, the last checkpoint that was handed out is
// kept with all that it covers, and the log goes on.
func TestCrashAnywhere(t *testing.T) {
	k := newKey(t, testOrigin)
	rapid.Check(t, func(rt *rapid.T) {
		dir := filepath.Join(t.TempDir(), "log")
		recent := rapid.SampledFrom([]int64{1, 2000, 20_000, 0}).Draw(rt, "recent bytes")
		each := rapid.Bool().Draw(rt, "sync each")
		var handed [][]byte
		size, tried := uint64(0), uint64(0)
		for range rapid.IntRange(1, 4).Draw(rt, "lives") {
			d := newDisk(dir, rapid.IntRange(0, 60).Draw(rt, "crash at"))
			l, err := Open(dir, Options{Signer: k.signer, Fail: d.fail, RecentBytes: recent, syncEach: each})
			if err == nil {
				checkCrashed(rt, l, size, tried)
				size = l.Size()
			}
			for err == nil && tried < 2000 {
				tried = l.Size() + uint64(rapid.OneOf(rapid.IntRange(1, 600), rapid.IntRange(1, 3)).Draw(rt, "grow"))
				appendTo(t, l, tried)
				var c []byte
				if c, err = l.Checkpoint(); err == nil {
					handed, size = append(handed, c), tried
				}
			}
			if err != nil && !errors.Is(err, errCrash) {
				rt.Fatal(err)
			}
			if l != nil {
				l.Close() // gives up the lock, as death would
			}
			if rapid.Bool().Draw(rt, "power cut") {
				d.powerCut(rt)
			}
		}
		l, err := Open(dir, Options{Signer: k.signer})
		must(rt, err)
		checkCrashed(rt, l, size, tried)
		checkEntries(t, l, l.Size())
		appendTo(t, l, tried+300)
		checkpoint(t, l)
		must(rt, l.Close())
		_, err = Verify(dir, k.verifier, handed...)
		must(rt, err)
	})
}

// checkCrashed checks a log just opened: it has what was handed out, or what the checkpoint that crashed would have had.
func checkCrashed(t *rapid.T, l *Log, size, tried uint64) {
	if l.Size() != size && l.Size() != tried {
		t.Fatalf("size is %d; %d were handed out, %d tried", l.Size(), size, tried)
	}
	beyond, err := findBeyond(l.dir, l.Size())
	must(t, err)
	if len(beyond) > 0 {
		t.Fatalf("beyond the checkpoint of %d there are %v", l.Size(), beyond)
	}
}

func TestWhatLiesBeyondIsReported(t *testing.T) {
	s := newScene(t)
	s.write(t, "checkpoint", s.early)
	var d *Damage
	if _, err := Open(s.dir, Options{Signer: s.key.signer}); !errors.As(err, &d) || d.Kind != DamagedTail {
		t.Fatalf("another checkpoint is known to have been on disk: %v", err)
	}
	s.remove(t, "recent") // and who goes on hides that
	l := openLog(t, s.dir, s.key)
	r := l.Recovered()
	if r.Size != verifyEarly || len(r.Cut) == 0 || r.CutTo == "" {
		t.Fatalf("%+v", r)
	}
	for _, path := range r.Cut {
		if _, err := os.Stat(filepath.Join(s.dir, r.CutTo, path)); err != nil {
			t.Error(err)
		}
	}
	checkEntries(t, l, verifyEarly)
	appendTo(t, l, verifySize)
	checkpoint(t, l)
	if _, err := s.verify(s.early, s.late); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesADamagedEdge(t *testing.T) {
	for _, path := range []string{"checkpoint", "tile/0/003.p/90", "tile/1/000.p/3", "tile/entries/003.p/90"} {
		for _, attack := range []string{"change", "remove"} {
			s := newScene(t)
			if attack == "remove" {
				s.remove(t, path)
			} else {
				b := s.read(t, path)
				b[len(b)/2] ^= 4
				s.write(t, path, b)
			}
			var d *Damage
			if _, err := Open(s.dir, Options{Signer: s.key.signer}); !errors.As(err, &d) {
				t.Errorf("%s of %s: %v", attack, path, err)
			}
		}
	}
	s := newScene(t)
	var d *Damage
	if _, err := Open(s.dir, Options{Signer: newKey(t, testOrigin).signer}); !errors.As(err, &d) || d.Kind != DamagedCheckpoint {
		t.Errorf("another key: %v", err)
	}
}

// TestFullDiskCanBeRetried: the log goes on once there is space, and has lost nothing.
func TestFullDiskCanBeRetried(t *testing.T) {
	k, dir := newKey(t, testOrigin), t.TempDir()
	full := false
	l, err := Open(dir, Options{Signer: k.signer, Fail: func(point string) error {
		if full && strings.HasPrefix(point, "write") {
			return syscall.ENOSPC
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, l, 300)
	before := checkpoint(t, l)
	appendTo(t, l, 700)
	full = true
	for range 2 {
		if _, err := l.Checkpoint(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	appendTo(t, l, 720)
	full = false
	after := checkpoint(t, l)
	checkEntries(t, l, 720)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(dir, k.verifier, before, after); err != nil || r.Size != 720 {
		t.Fatal(r, err)
	}
}

// TestFailedSyncIsFinal is ATTACKS.md B91: after a failed sync nobody knows what is on disk, so nothing is tried again.
func TestFailedSyncIsFinal(t *testing.T) {
	for point, size := range map[string]uint64{"sync ": 300, "syncdir ": 300, "syncall": 2 * openAtOnce * tileWidth} {
		t.Run(point, func(t *testing.T) { failSync(t, point, size) })
	}
}

func failSync(t *testing.T, point string, size uint64) {
	broken, asked := false, 0
	l, err := Open(t.TempDir(), Options{Signer: newKey(t, testOrigin).signer, RecentBytes: 1, Fail: func(p string) error {
		if broken && strings.HasPrefix(p, point) {
			broken = false
			return syscall.EIO
		}
		asked++
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if point == "syncall" && l.writer.all == nil {
		t.Skip("the file system below the temporary folder cannot be synced at once")
	}
	appendTo(t, l, size)
	broken = true
	if _, err := l.Checkpoint(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	asked = 0
	if _, err := l.Checkpoint(); !errors.Is(err, syscall.EIO) || asked > 0 {
		t.Fatalf("tried again (%d steps): %v", asked, err)
	}
	if _, err := l.Append([]byte("x")); !errors.Is(err, syscall.EIO) {
		t.Fatalf("append: %v", err)
	}
	if err := l.Close(); !errors.Is(err, syscall.EIO) || asked > 0 {
		t.Fatalf("close (%d steps): %v", asked, err)
	}
}
