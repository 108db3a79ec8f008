package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	formats "github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

const testOrigin = "example.com/ledger"

type key struct {
	signer   note.Signer
	verifier note.Verifier
}

func newKey(t testing.TB, origin string) key {
	t.Helper()
	s, v, err := NewKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(s)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(v)
	if err != nil {
		t.Fatal(err)
	}
	return key{signer, verifier}
}

func openLog(t testing.TB, dir string, k key) *Log {
	t.Helper()
	l, err := Open(dir, Options{Origin: testOrigin, Signer: k.signer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func entry(i uint64) []byte { return []byte(strings.Repeat(fmt.Sprintf("entry %d;", i), 1+int(i%3))) }

func appendTo(t testing.TB, l *Log, size uint64) {
	t.Helper()
	for i := l.Size(); i < size; i++ {
		first, err := l.Append(entry(i))
		if err != nil {
			t.Fatal(err)
		}
		if first != i {
			t.Fatalf("entry %d got index %d", i, first)
		}
	}
}

func checkpoint(t testing.TB, l *Log) []byte {
	t.Helper()
	c, err := l.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reference is the same log as package tlog makes it, held in memory.
type reference struct{ hashes []tlog.Hash }

func (r *reference) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		out = append(out, r.hashes[i])
	}
	return out, nil
}

func newReference(t testing.TB, size uint64) *reference {
	t.Helper()
	r := &reference{}
	for i := range size {
		h, err := tlog.StoredHashes(int64(i), entry(i), r)
		if err != nil {
			t.Fatal(err)
		}
		r.hashes = append(r.hashes, h...)
	}
	return r
}

func (r *reference) root(t testing.TB, size uint64) tlog.Hash {
	t.Helper()
	h, err := tlog.TreeHash(int64(size), r)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// checkStored compares the log's checkpoint and every tile that a tree of its size has with the reference.
func (r *reference) checkStored(t testing.TB, dir string, size uint64, v note.Verifier) {
	t.Helper()
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	c, _, _, err := formats.ParseCheckpoint(signed, testOrigin, v)
	if err != nil {
		t.Fatal(err)
	}
	root := r.root(t, size)
	if c.Size != size || !bytes.Equal(c.Hash, root[:]) {
		t.Fatalf("checkpoint is of size %d, root %x; want %d, %x", c.Size, c.Hash, size, root)
	}
	for _, tile := range tlog.NewTiles(8, 0, int64(size)) {
		want, err := tlog.ReadTileData(tile, r)
		if err != nil {
			t.Fatal(err)
		}
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		got, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%s is not the tile of a log of %d", path, size)
		}
	}
}

// checkEntries compares the log's entries with what was appended.
func checkEntries(t testing.TB, l *Log, size uint64) {
	t.Helper()
	if l.Size() != size {
		t.Fatalf("size is %d, want %d", l.Size(), size)
	}
	for i := range size {
		got, err := l.Entry(i)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, entry(i)) {
			t.Fatalf("entry %d is %q", i, got)
		}
	}
	if _, err := l.Entry(size); err == nil {
		t.Fatalf("entry %d was read from a log of %d", size, size)
	}
}

func TestLogIsWhatTlogMakesOfTheSameEntries(t *testing.T) {
	k := newKey(t, testOrigin)
	ref := newReference(t, 1500)
	rapid.Check(t, func(rt *rapid.T) {
		dir := filepath.Join(t.TempDir(), "log")
		l := openLog(t, dir, k)
		size := uint64(0)
		for range rapid.IntRange(1, 4).Draw(rt, "checkpoints") {
			size += uint64(rapid.OneOf(rapid.IntRange(0, 300), rapid.SampledFrom([]int{1, 255, 256, 257})).Draw(rt, "grow"))
			appendTo(t, l, size)
			checkEntries(t, l, size)
			checkpoint(t, l)
			ref.checkStored(t, dir, size, k.verifier)
			if rapid.Bool().Draw(rt, "reopen") {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				l = openLog(t, dir, k)
				if l.Recovered().Cut != nil || l.Recovered().Size != size {
					t.Fatalf("after a clean end: %+v", l.Recovered())
				}
				checkEntries(t, l, size)
			}
		}
		if _, err := Verify(dir, k.verifier); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestThreeLevels(t *testing.T) {
	const size = 256*256 + 256 + 3
	k, dir := newKey(t, testOrigin), t.TempDir()
	ref := newReference(t, size)
	l := openLog(t, dir, k)
	appendTo(t, l, 256*256-1)
	checkpoint(t, l)
	appendTo(t, l, size)
	checkpoint(t, l)
	ref.checkStored(t, dir, size, k.verifier)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, k)
	p, err := l.Inclusion(77, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckRecord(p, size, ref.root(t, size), 77, tlog.RecordHash(entry(77))); err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(dir, k.verifier); err != nil || r.Size != size {
		t.Fatal(r, err)
	}
}

func TestProofs(t *testing.T) {
	k, dir := newKey(t, testOrigin), t.TempDir()
	const signed, all = 700, 1100
	ref := newReference(t, all)
	l := openLog(t, dir, k)
	appendTo(t, l, signed)
	checkpoint(t, l)
	appendTo(t, l, all)
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.Uint64Range(1, all).Draw(rt, "size")
		i := rapid.Uint64Range(0, size-1).Draw(rt, "i")
		old := rapid.Uint64Range(1, size).Draw(rt, "old")
		p, err := l.Inclusion(i, size)
		if err != nil {
			rt.Fatal(err)
		}
		if err := tlog.CheckRecord(p, int64(size), ref.root(t, size), int64(i), tlog.RecordHash(entry(i))); err != nil {
			rt.Fatal(err)
		}
		c, err := l.Consistency(old, size)
		if err != nil {
			rt.Fatal(err)
		}
		if err := tlog.CheckTree(c, int64(size), ref.root(t, size), int64(old), ref.root(t, old)); err != nil {
			rt.Fatal(err)
		}
	})
	for _, bad := range [][2]uint64{{5, 5}, {0, all + 1}, {all, all}} {
		if _, err := l.Inclusion(bad[0], bad[1]); err == nil {
			t.Errorf("inclusion of %d in %d was proven", bad[0], bad[1])
		}
	}
	for _, bad := range [][2]uint64{{0, 5}, {6, 5}, {1, all + 1}} {
		if _, err := l.Consistency(bad[0], bad[1]); err == nil {
			t.Errorf("consistency of %d with %d was proven", bad[0], bad[1])
		}
	}
}

func TestEntrySizes(t *testing.T) {
	k, dir := newKey(t, testOrigin), t.TempDir()
	l := openLog(t, dir, k)
	long := bytes.Repeat([]byte{7}, MaxEntryBytes)
	if _, err := l.Append([]byte("fits"), append(long, 7)); !errors.Is(err, ErrEntryTooLarge) {
		t.Fatalf("an entry of 65536 bytes: %v", err)
	}
	if l.Size() != 0 {
		t.Fatal("half of a refused Append was added")
	}
	if first, err := l.Append(long, nil, []byte("x")); first != 0 || err != nil {
		t.Fatal(first, err)
	}
	checkpoint(t, l)
	for i, want := range [][]byte{long, {}, []byte("x")} {
		if got, err := l.Entry(uint64(i)); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("entry %d: %d bytes, %v", i, len(got), err)
		}
	}
	if _, err := Verify(dir, k.verifier); err != nil {
		t.Fatal(err)
	}
}

func TestPendingEntriesAreBounded(t *testing.T) {
	k, dir := newKey(t, testOrigin), t.TempDir()
	l, err := Open(dir, Options{Signer: k.signer, MaxPendingBytes: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for range 1000 {
		if _, err := l.Append(make([]byte, 98)); err != nil {
			t.Fatal(err)
		}
		if len(l.fresh) > 10_100 {
			t.Fatalf("%d bytes are pending", len(l.fresh))
		}
	}
	if l.signed.size == 0 {
		t.Fatal("no checkpoint was made")
	}
}

func TestCheckpointWithoutNewEntriesIsTheLast(t *testing.T) {
	k, dir := newKey(t, testOrigin), t.TempDir()
	l := openLog(t, dir, k)
	empty := checkpoint(t, l)
	if _, err := openCheckpoint(empty, k.verifier); err != nil {
		t.Fatal(err)
	}
	appendTo(t, l, 3)
	a, b := checkpoint(t, l), checkpoint(t, l)
	if !bytes.Equal(a, b) || bytes.Equal(a, empty) {
		t.Fatalf("%s\n%s\n%s", empty, a, b)
	}
}

func TestReplacedPartialTilesAreRemoved(t *testing.T) {
	k, dir := newKey(t, testOrigin), t.TempDir()
	l := openLog(t, dir, k)
	for _, size := range []uint64{100, 200, 300} {
		appendTo(t, l, size)
		checkpoint(t, l)
	}
	for _, path := range []string{"tile/0/000.p", "tile/entries/000.p"} {
		if _, err := os.Stat(filepath.Join(dir, path)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
	for _, path := range []string{"tile/0/000", "tile/entries/000", "tile/0/001.p/44", "tile/entries/001.p/44", "tile/1/000.p/1"} {
		if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
			t.Error(err)
		}
	}
}

func TestTwoProcessesAreKeptApart(t *testing.T) {
	k, dir := newKey(t, testOrigin), t.TempDir()
	l := openLog(t, dir, k)
	if _, err := Open(dir, Options{Signer: k.signer}); !errors.Is(err, ErrLocked) {
		t.Fatalf("opened twice: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Fatalf("append after close: %v", err)
	}
	if _, err := l.Checkpoint(); !errors.Is(err, ErrClosed) {
		t.Fatalf("checkpoint after close: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	k := newKey(t, testOrigin)
	if _, err := Open(t.TempDir(), Options{}); err == nil {
		t.Error("a log without a signer")
	}
	if _, err := Open(t.TempDir(), Options{Origin: "other", Signer: k.signer}); err == nil {
		t.Error("an origin that is not the signer's")
	}
	if _, _, err := NewKey("with space"); err == nil {
		t.Error("a key for a name that no note can carry")
	}
	if _, err := Open(t.TempDir(), Options{Signer: &fickleSigner{Signer: k.signer}}); err == nil {
		t.Error("a signer that never signs the same twice")
	}
}

type fickleSigner struct {
	note.Signer
	calls byte
}

func (s *fickleSigner) Sign([]byte) ([]byte, error) {
	s.calls++
	return bytes.Repeat([]byte{s.calls}, 64), nil
}

func TestPaths(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tile := tlog.Tile{H: 8, L: rapid.IntRange(0, 7).Draw(rt, "L"), N: rapid.Int64Range(0, 1<<40).Draw(rt, "N"), W: rapid.IntRange(1, 256).Draw(rt, "W")}
		c := coord{tile.L, uint64(tile.N)}
		want := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		if got := c.path(tile.W); got != want {
			rt.Fatalf("%s, want %s", got, want)
		}
		if rapid.Bool().Draw(rt, "bundle") {
			c.level = entryBundle
		}
		if got, w, ok := parsePath(c.path(tile.W)); !ok || got != c || w != tile.W {
			rt.Fatalf("%s parsed as %v, %d, %v", c.path(tile.W), got, w, ok)
		}
	})
	for _, bad := range []string{"tile/0/1", "tile/0/0000", "tile/x/000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/x001", "tile/9/000", "x", "tile/entries/000/000"} {
		if c, w, ok := parsePath(bad); ok {
			t.Errorf("%s parsed as %v, %d", bad, c, w)
		}
	}
}
