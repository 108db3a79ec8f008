package journal

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var errCrash = errors.New("crash")

// machine follows what a journal does to its folder, so that a power cut can take back what was not synced.
type machine struct {
	t       *rapid.T
	dir     string
	crashAt int // failpoints left
	dead    bool

	synced  map[uint64]int64 // by segment
	syncing int64            // size of the segment whose sync is under way
	newborn uint64           // the segment whose name is not on disk
}

func (m *machine) last() (uint64, int64) {
	list, err := listSegments(m.dir)
	if err != nil {
		m.t.Fatal(err)
	}
	if len(list) == 0 {
		return 0, 0
	}
	return list[len(list)-1].ID, list[len(list)-1].Bytes
}

func (m *machine) fail(point string) error {
	m.settle()
	if point == FailDirSync {
		m.newborn, _ = m.last()
	}
	if point == FailShortWrite && m.crashAt > 0 { // a short write happens only in death
		return nil
	}
	if m.crashAt--; m.crashAt < 0 {
		m.dead = true
		return errCrash
	}
	id, size := m.last()
	switch point {
	case FailSync:
		m.syncing = size
	case FailSynced:
		m.synced[id] = m.syncing
	}
	return nil
}

// settle notes that what was under way has succeeded.
func (m *machine) settle() {
	if m.newborn != 0 && !m.dead {
		m.synced[m.newborn] = segmentHeaderBytes
		m.newborn = 0
	}
}

// powerCut takes back an arbitrary part of what was not on disk, in whichever segment.
func (m *machine) powerCut() {
	list, err := listSegments(m.dir)
	m.must(err)
	for _, s := range list {
		if m.newborn == s.ID {
			m.loseNewborn(segmentPath(m.dir, s.ID))
		} else if from := m.synced[s.ID]; s.Bytes > from {
			m.loseTail(segmentPath(m.dir, s.ID), from, s.Bytes)
		}
	}
}

func (m *machine) loseNewborn(path string) {
	switch rapid.SampledFrom([]string{"lost", "empty", "part", "whole"}).Draw(m.t, "newborn") {
	case "lost":
		m.must(os.Remove(path))
	case "empty":
		m.must(os.Truncate(path, 0))
	case "part":
		m.must(os.Truncate(path, rapid.Int64Range(0, segmentHeaderBytes-1).Draw(m.t, "header")))
	}
}

// loseTail cuts a file somewhere between from and size, and loses arbitrary blocks of what remains behind from.
func (m *machine) loseTail(path string, from, size int64) {
	to := rapid.Int64Range(from, size).Draw(m.t, "cut at")
	m.must(os.Truncate(path, to))
	if to == from {
		return
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	m.must(err)
	for range rapid.IntRange(0, 3).Draw(m.t, "lost blocks") {
		at := rapid.Int64Range(from, to-1).Draw(m.t, "lost from")
		_, err := f.WriteAt(make([]byte, rapid.Int64Range(1, to-at).Draw(m.t, "lost bytes")), at)
		m.must(err)
	}
	m.must(f.Close())
}

func (m *machine) must(err error) {
	if err != nil {
		m.t.Fatal(err)
	}
}

// TestCrashAnywhere is ATTACKS.md B92: at whichever step the process or the power dies, what was acknowledged is there after recovery, groups are
// whole, and order is kept.
func TestCrashAnywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{t: rt, dir: t.TempDir(), synced: map[uint64]int64{}}
		var groups [][]string
		for life := range rapid.IntRange(1, 5).Draw(rt, "lives") {
			m.crashAt, m.dead = rapid.IntRange(0, 40).Draw(rt, "crash at"), false
			written, synced, all := m.live(groups, life)
			m.settle()
			need := written
			if rapid.Bool().Draw(rt, "power cut") {
				m.powerCut()
				need = synced
			}
			groups = m.recovered(all, need)
			m.restart()
		}
	})
}

// restart notes that all that recovery left is on disk.
func (m *machine) restart() {
	m.synced, m.newborn = map[uint64]int64{}, 0
	list, err := listSegments(m.dir)
	m.must(err)
	for _, s := range list {
		m.synced[s.ID] = s.Bytes
	}
}

// live opens the journal and appends until it dies. It returns all groups that were ever tried, and how many of them were acknowledged
// at either level.
func (m *machine) live(groups [][]string, life int) (written, synced int, all [][]string) {
	written, synced, all = len(groups), len(groups), groups
	j, err := Open(m.dir, Options{SegmentBytes: 2000, Fail: m.fail})
	if err != nil {
		if !errors.Is(err, errCrash) {
			m.t.Fatal(err)
		}
		return written, synced, all
	}
	defer j.Close()
	for i := 0; ; i++ {
		if rapid.IntRange(0, 9).Draw(m.t, "rotate") == 0 {
			if _, err := j.Rotate(); err != nil {
				break
			}
			written, synced = len(all), len(all)
		}
		group := m.group(fmt.Sprintf("%d.%d", life, i))
		level := Level(rapid.IntRange(1, 2).Draw(m.t, "level"))
		all = append(all[:len(all):len(all)], group)
		if j.Append(level, bytesOf(group)...) != nil {
			break
		}
		written = len(all)
		if level == Synced {
			synced = len(all)
		}
	}
	if !m.dead {
		m.t.Fatal("the journal failed before it was made to")
	}
	return written, synced, all
}

func (m *machine) group(name string) []string {
	var group []string
	for i := range rapid.IntRange(1, 4).Draw(m.t, "frames") {
		filler := rapid.SampledFrom([]string{"", frameMarker, "\x00", "abcdefg"}).Draw(m.t, "filler")
		group = append(group, fmt.Sprintf("%s.%d ", name, i)+strings.Repeat(filler, rapid.IntRange(0, 100).Draw(m.t, "length")))
	}
	return group
}

// recovered opens the journal as it was left, checks it, and returns the groups that are in it.
func (m *machine) recovered(all [][]string, need int) [][]string {
	j, err := Open(m.dir, Options{SegmentBytes: 2000})
	m.must(err)
	defer j.Close()
	segments, err := j.Segments()
	m.must(err)
	var got []string
	for _, s := range segments {
		_, err := j.Read(s.ID, 0, func(_ int64, f []byte) error { got = append(got, string(f)); return nil })
		m.must(err)
	}
	var want []string
	for n, g := range append([][]string{nil}, all...) {
		want = append(want, g...)
		if len(want) == len(got) && n >= need {
			if d := cmp.Diff(want, got); d != "" && len(want) > 0 {
				m.t.Fatal(d)
			}
			return all[:n]
		}
	}
	m.t.Fatalf("%d frames are there; they are no whole number of groups, or fewer than the %d groups that were acknowledged", len(got), need)
	return nil
}

// TestDamageIsNotCut: what a later frame proves to have been on disk is not a torn tail.
func TestDamageIsNotCut(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir, Options{})
	mustAppend(t, j, Synced, "first")
	mustAppend(t, j, Synced, strings.Repeat(frameMarker, 100_000))
	mustAppend(t, j, Synced, "third")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, dir, 1, segmentHeaderBytes+frameHeaderBytes+2)
	_, err := Open(dir, Options{})
	var c *CorruptError
	if !errors.As(err, &c) || c.Segment != 1 || c.Offset != segmentHeaderBytes {
		t.Fatalf("open: %v", err)
	}
	damage(t, dir, 1, segmentHeaderBytes+frameHeaderBytes+2)
	openJournal(t, dir, Options{})
}

func TestTornTailIsCutAndReported(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir, Options{})
	mustAppend(t, j, Synced, "kept")
	at := j.cur.written
	mustAppend(t, j, Written, "one", "two", "three")
	end := j.cur.written
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(segmentPath(dir, 1), end-1); err != nil {
		t.Fatal(err)
	}
	j = openJournal(t, dir, Options{})
	if r := j.Recovered(); r.Segment != 1 || r.At != at || r.CutBytes != end-1-at || r.Reason == "" {
		t.Fatalf("%+v", r)
	}
	if d := cmp.Diff([]string{"kept"}, readAll(t, j)); d != "" {
		t.Fatal(d)
	}
}

// TestDamagedSealedSegmentIsAnError: every byte of a sealed segment counts.
func TestDamagedSealedSegmentIsAnError(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir, Options{})
	mustAppend(t, j, Synced, "one")
	mustAppend(t, j, Synced, "two", "three")
	if _, err := j.Rotate(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, Synced, "four")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(segmentPath(dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	frames := func(j *Journal) (n int, err error) {
		_, err = j.Read(1, 0, func(int64, []byte) error { n++; return nil })
		return n, err
	}
	for at := range info.Size() {
		damage(t, dir, 1, at)
		j := openJournal(t, dir, Options{})
		n, err := frames(j)
		var c *CorruptError
		if !errors.As(err, &c) || c.Segment != 1 || c.Offset > at || at >= segmentHeaderBytes && c.Offset < segmentHeaderBytes {
			t.Fatalf("damaged at %d: %d frames, %v", at, n, err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		damage(t, dir, 1, at)
	}
	if err := os.Truncate(segmentPath(dir, 1), info.Size()-1); err != nil {
		t.Fatal(err)
	}
	var c *CorruptError
	if _, err := frames(openJournal(t, dir, Options{})); !errors.As(err, &c) {
		t.Fatalf("cut short: %v", err)
	}
}

// TestFramesOutOfPlaceAreAnError: a whole frame in another place than its own is damage, in a segment and between segments.
func TestFramesOutOfPlaceAreAnError(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir, Options{})
	mustAppend(t, j, Synced, "one")
	mustAppend(t, j, Synced, "two")
	if _, err := j.Rotate(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, Synced, "six")
	data, err := os.ReadFile(segmentPath(dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(segmentPath(dir, 2))
	if err != nil {
		t.Fatal(err)
	}
	const first, second = segmentHeaderBytes, segmentHeaderBytes + frameHeaderBytes + 3
	swapped := slices.Concat(data[:first], data[second:], data[first:second])
	foreign := slices.Concat(data[:first], other[first:], data[second:])
	for _, bad := range [][]byte{swapped, foreign} {
		if err := os.WriteFile(segmentPath(dir, 1), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		var c *CorruptError
		if _, err := j.Read(1, 0, func(int64, []byte) error { return nil }); !errors.As(err, &c) || c.Offset != first {
			t.Fatal(err)
		}
	}
}
