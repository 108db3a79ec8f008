package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

const (
	verifySize  = 256*3 + 90
	verifyEarly = 256*2 + 10
)

// scene is a finished log, and two of its checkpoints kept elsewhere.
type scene struct {
	dir         string
	key         key
	early, late []byte
}

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{dir: t.TempDir(), key: newKey(t, testOrigin)}
	s.early = s.grow(t, verifyEarly)
	s.grow(t, verifySize-70) // leaves partial tiles of 20
	s.late = s.grow(t, verifySize)
	return s
}

// grow appends up to size and closes the log.
func (s *scene) grow(t testing.TB, size uint64) []byte {
	t.Helper()
	l := openLog(t, s.dir, s.key)
	appendTo(t, l, size)
	c := checkpoint(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *scene) verify(known ...[]byte) (*Report, error) {
	return Verify(s.dir, s.key.verifier, known...)
}

func (s *scene) read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, path))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *scene) write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, path), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *scene) remove(t testing.TB, path string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(s.dir, path)); err != nil {
		t.Fatal(err)
	}
}

// entries rewrites a bundle.
func (s *scene) entries(t testing.TB, path string, change func([][]byte) [][]byte) {
	t.Helper()
	var list [][]byte
	for b := s.read(t, path); len(b) > 0; {
		e, rest, err := cutEntry(b)
		if err != nil {
			t.Fatal(err)
		}
		list, b = append(list, e), rest
	}
	var out []byte
	for _, e := range change(list) {
		out = appendEntry(out, e)
	}
	s.write(t, path, out)
}

// rehash makes every tile what the entries hash to, as an attacker without the key would, and returns their root.
func (s *scene) rehash(t testing.TB) tlog.Hash {
	t.Helper()
	var e edge
	var h leafHasher
	w := newWriter(s.dir, nil)
	put := func(c coord, data []byte) {
		if err := w.add(c.path(c.width(verifySize)), data[:c.width(verifySize)*tlog.HashSize]); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"000", "001", "002", "003.p/90"} {
		s.entries(t, "tile/entries/"+path, func(list [][]byte) [][]byte {
			for _, b := range list {
				e.add(h.sum(b), put)
			}
			return list
		})
	}
	for level, data := range e.levels {
		put(coord{level, e.size >> (8 * (level + 1))}, data)
	}
	if err := w.commit(); err != nil {
		t.Fatal(err)
	}
	root, err := e.root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// resign is rehash by an attacker who has the key.
func (s *scene) resign(t testing.TB) {
	t.Helper()
	signed, err := tree{size: verifySize, root: s.rehash(t)}.sign(s.key.signer)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "checkpoint", signed)
}

func edit(i int) func([][]byte) [][]byte {
	return func(list [][]byte) [][]byte {
		list[i] = append(slices.Clone(list[i]), '!')
		return list
	}
}

func TestVerifyAcceptsAWholeLog(t *testing.T) {
	s := newScene(t)
	r, err := s.verify(s.early, s.late, s.early)
	if err != nil {
		t.Fatal(err)
	}
	if r.Size != verifySize || r.Origin != testOrigin || r.Known != 3 {
		t.Fatalf("%+v", r)
	}
}

// TestVerifyNamesTheDamage is ATTACKS.md B88 and B89, and what else can befall a folder.
func TestVerifyNamesTheDamage(t *testing.T) {
	tests := []struct {
		name       string
		attack     func(t *testing.T, s *scene)
		known      func(s *scene) [][]byte
		kind       DamageKind
		first, end uint64
	}{
		{name: "edit", kind: DamagedEntry, first: 300, end: 301,
			attack: func(t *testing.T, s *scene) { s.entries(t, "tile/entries/001", edit(300-256)) }},
		{name: "edit of the last entry", kind: DamagedEntry, first: verifySize - 1, end: verifySize,
			attack: func(t *testing.T, s *scene) { s.entries(t, "tile/entries/003.p/90", edit(89)) }},
		{name: "one bit", kind: DamagedEntry, first: 0, end: 1,
			attack: func(t *testing.T, s *scene) {
				b := s.read(t, "tile/entries/000")
				b[2] ^= 1
				s.write(t, "tile/entries/000", b)
			}},
		{name: "reorder", kind: DamagedEntry, first: 5, end: 6,
			attack: func(t *testing.T, s *scene) {
				s.entries(t, "tile/entries/000", func(l [][]byte) [][]byte { l[5], l[200] = l[200], l[5]; return l })
			}},
		{name: "delete in the middle", kind: DamagedEntry, first: 17, end: 18,
			attack: func(t *testing.T, s *scene) {
				s.entries(t, "tile/entries/000", func(l [][]byte) [][]byte { return slices.Delete(l, 17, 18) })
			}},
		{name: "delete at a bundle's end", kind: DamagedEntry, first: 255, end: 256,
			attack: func(t *testing.T, s *scene) {
				s.entries(t, "tile/entries/000", func(l [][]byte) [][]byte { return l[:255] })
			}},
		{name: "insert", kind: DamagedEntry, first: 100, end: 101,
			attack: func(t *testing.T, s *scene) {
				s.entries(t, "tile/entries/000", func(l [][]byte) [][]byte { return slices.Insert(l, 100, []byte("forged")) })
			}},
		{name: "append to a bundle", kind: DamagedEntry, first: 511, end: 512,
			attack: func(t *testing.T, s *scene) {
				s.entries(t, "tile/entries/001", func(l [][]byte) [][]byte { return append(l, []byte("forged")) })
			}},
		{name: "a length that runs over the end", kind: DamagedEntry, first: 0, end: 1,
			attack: func(t *testing.T, s *scene) {
				b := s.read(t, "tile/entries/000")
				binary.BigEndian.PutUint16(b, 0xffff)
				s.write(t, "tile/entries/000", b)
			}},
		{name: "bundle removed", kind: DamagedEntry, first: 256, end: 257,
			attack: func(t *testing.T, s *scene) { s.remove(t, "tile/entries/001") }},
		{name: "two bundles exchanged", kind: DamagedEntry, first: 0, end: 1,
			attack: func(t *testing.T, s *scene) {
				a, b := s.read(t, "tile/entries/000"), s.read(t, "tile/entries/001")
				s.write(t, "tile/entries/000", b)
				s.write(t, "tile/entries/001", a)
			}},
		{name: "edit, and its leaf hash", kind: DamagedEntry, first: 256, end: 512,
			attack: func(t *testing.T, s *scene) {
				s.entries(t, "tile/entries/001", edit(44))
				b := s.read(t, "tile/0/001")
				h := tlog.RecordHash(append(entry(300), '!'))
				copy(b[44*32:], h[:])
				s.write(t, "tile/0/001", b)
			}},
		{name: "edit, and another entry's hash to mislead", kind: DamagedEntry, first: 300, end: 301,
			attack: func(t *testing.T, s *scene) {
				b := s.read(t, "tile/0/000")
				b[5*32] ^= 1
				s.write(t, "tile/0/000", b)
				s.entries(t, "tile/entries/001", edit(44))
			}},
		{name: "edit, and all tiles above", kind: DamagedEntry, first: 0, end: verifySize,
			attack: func(t *testing.T, s *scene) { s.entries(t, "tile/entries/002", edit(100)); s.rehash(t) }},
		{name: "the same, with checkpoints kept elsewhere", kind: DamagedEntry, first: verifyEarly, end: verifySize,
			attack: func(t *testing.T, s *scene) { s.entries(t, "tile/entries/002", edit(100)); s.rehash(t) },
			known:  func(s *scene) [][]byte { return [][]byte{s.late, s.early} }},
		{name: "leaf tile altered", kind: DamagedTile, first: 256, end: 512,
			attack: func(t *testing.T, s *scene) {
				b := s.read(t, "tile/0/001")
				b[0] ^= 1
				s.write(t, "tile/0/001", b)
			}},
		{name: "leaf tile missing", kind: DamagedTile, first: 512, end: 768,
			attack: func(t *testing.T, s *scene) { s.remove(t, "tile/0/002") }},
		{name: "edge tile missing", kind: DamagedTile, first: 0, end: 768,
			attack: func(t *testing.T, s *scene) { s.remove(t, "tile/1/000.p/3") }},
		{name: "leaf tile cut", kind: DamagedTile, first: 0, end: 256,
			attack: func(t *testing.T, s *scene) { s.write(t, "tile/0/000", s.read(t, "tile/0/000")[:8191]) }},
		{name: "all tiles missing", kind: DamagedTile, first: 0, end: 256,
			attack: func(t *testing.T, s *scene) { s.remove(t, "tile/0"); s.remove(t, "tile/1") }},
		{name: "tail deletion without another checkpoint", kind: DamagedEntry, first: 768, end: 769,
			attack: func(t *testing.T, s *scene) { s.remove(t, "tile/entries/003.p"); s.remove(t, "tile/0/003.p") }},
		{name: "tail deletion with an older checkpoint put back", kind: DamagedTail, first: verifyEarly, end: verifySize,
			attack: func(t *testing.T, s *scene) { s.write(t, "checkpoint", s.early) },
			known:  func(s *scene) [][]byte { return [][]byte{s.late} }},
		{name: "whole log deleted", kind: DamagedCheckpoint, first: 0, end: verifySize,
			attack: func(t *testing.T, s *scene) { s.remove(t, ".") },
			known:  func(s *scene) [][]byte { return [][]byte{s.early, s.late} }},
		{name: "whole log deleted and begun anew", kind: DamagedTail, first: 0, end: verifySize,
			attack: func(t *testing.T, s *scene) { s.remove(t, "."); s.grow(t, 0) },
			known:  func(s *scene) [][]byte { return [][]byte{s.late} }},
		{name: "rewritten and signed again", kind: DamagedHistory, first: 0, end: verifyEarly,
			attack: func(t *testing.T, s *scene) { s.entries(t, "tile/entries/001", edit(3)); s.resign(t) },
			known:  func(s *scene) [][]byte { return [][]byte{s.early, s.late} }},
		{name: "suffix rewritten and signed again", kind: DamagedHistory, first: verifyEarly, end: verifySize,
			attack: func(t *testing.T, s *scene) { s.entries(t, "tile/entries/003.p/90", edit(3)); s.resign(t) },
			known:  func(s *scene) [][]byte { return [][]byte{s.early, s.late} }},
		{name: "checkpoint signed by another key", kind: DamagedCheckpoint, first: 0, end: 0,
			attack: func(t *testing.T, s *scene) { s.key.signer = newKey(t, testOrigin).signer; s.resign(t) }},
		{name: "checkpoint of another log", kind: DamagedCheckpoint, first: 0, end: 0,
			attack: func(t *testing.T, s *scene) {
				signed, err := note.Sign(&note.Note{Text: tree{size: verifySize}.text("elsewhere")}, s.key.signer)
				if err != nil {
					t.Fatal(err)
				}
				s.write(t, "checkpoint", signed)
			}},
		{name: "checkpoint with another size", kind: DamagedCheckpoint, first: 0, end: 0,
			attack: func(t *testing.T, s *scene) {
				s.write(t, "checkpoint", bytes.Replace(s.late, []byte("\n858\n"), []byte("\n857\n"), 1))
			}},
		{name: "checkpoint emptied", kind: DamagedCheckpoint, first: 0, end: 0,
			attack: func(t *testing.T, s *scene) { s.write(t, "checkpoint", nil) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			tt.attack(t, s)
			var known [][]byte
			if tt.known != nil {
				known = tt.known(s)
			}
			_, err := s.verify(known...)
			var d *Damage
			if !errors.As(err, &d) {
				t.Fatalf("verify: %v", err)
			}
			if d.Kind != tt.kind || d.First != tt.first || d.End != tt.end {
				t.Fatalf("%+v: %v", d, d)
			}
		})
	}
}

func TestVerifyRefusesAForeignKnownCheckpoint(t *testing.T) {
	s := newScene(t)
	other, err := tree{size: 1}.sign(newKey(t, testOrigin).signer)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.verify(s.late, other)
	var d *Damage
	if r != nil || !errors.As(err, &d) || d.Kind != DamagedKey {
		t.Fatalf("%+v, %v: the log may have been begun anew under another key, and must not pass", r, err)
	}
	forged := bytes.Replace(s.late, []byte("\n858\n"), []byte("\n857\n"), 1)
	if r, err := s.verify(forged); r != nil || err == nil || errors.As(err, &d) && d.Kind != DamagedKey {
		t.Fatalf("%+v, %v: a checkpoint that was altered says nothing about the log, and must not pass", r, err)
	}
	s.key = newKey(t, testOrigin)
	if _, err := s.verify(s.late); !errors.As(err, &d) || d.Kind != DamagedCheckpoint {
		t.Fatalf("another public key: %v", err)
	}
}

// TestAnotherReaderReadsTheLog is a client that knows the specification alone: over HTTP, by golang.org/x/mod's tlog and note.
func TestAnotherReaderReadsTheLog(t *testing.T) {
	s := newScene(t)
	server := httptest.NewServer(http.FileServerFS(os.DirFS(s.dir)))
	defer server.Close()
	client := httpTiles{t, server.URL}
	n, err := note.Open(client.get("/checkpoint"), note.VerifierList(s.key.verifier))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(n.Text, "\n")
	root, err := tlog.ParseHash(lines[2])
	if err != nil || lines[0] != testOrigin || lines[1] != strconv.Itoa(verifySize) {
		t.Fatalf("%q: %v", n.Text, err)
	}
	reader := tlog.TileHashReader(tlog.Tree{N: verifySize, Hash: root}, client)
	for i := int64(0); i < verifySize; i += 37 {
		p, err := tlog.ProveRecord(verifySize, i, reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(p, verifySize, root, i, tlog.RecordHash(entry(uint64(i)))); err != nil {
			t.Fatal(err)
		}
	}
	bundle := client.get("/tile/entries/003.p/90")
	for i := uint64(768); i < verifySize; i++ {
		size := binary.BigEndian.Uint16(bundle)
		if !bytes.Equal(bundle[2:2+size], entry(i)) {
			t.Fatalf("entry %d is %q", i, bundle[2:2+size])
		}
		bundle = bundle[2+size:]
	}
}

type httpTiles struct {
	t   *testing.T
	url string
}

func (c httpTiles) get(path string) []byte {
	c.t.Helper()
	r, err := http.Get(c.url + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %s, %v", path, r.Status, err)
	}
	return b
}

func (c httpTiles) Height() int { return 8 }

// ReadTiles asks by the specification's path, which is the checksum database's without its height.
func (c httpTiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, t := range tiles {
		out = append(out, c.get("/"+strings.Replace(t.Path(), "tile/8/", "tile/", 1)))
	}
	return out, nil
}

func (c httpTiles) SaveTiles([]tlog.Tile, [][]byte) {}

// TestVerifyFindsAnyChange changes one byte anywhere below tile/ or in the checkpoint.
func TestVerifyFindsAnyChange(t *testing.T) {
	s := newScene(t)
	paths := []string{"checkpoint", "tile/0/003.p/20", "tile/entries/003.p/20", "tile/0/000", "tile/0/001", "tile/0/003.p/90", "tile/1/000.p/3", "tile/entries/000", "tile/entries/002", "tile/entries/003.p/90"}
	rapid.Check(t, func(rt *rapid.T) {
		path := rapid.SampledFrom(paths).Draw(rt, "path")
		whole := s.read(t, path)
		changed := slices.Clone(whole)
		at := rapid.IntRange(0, len(whole)-1).Draw(rt, "at")
		changed[at] ^= rapid.ByteRange(1, 255).Draw(rt, "xor")
		s.write(t, path, changed)
		defer s.write(t, path, whole)
		_, err := s.verify(s.early)
		var d *Damage
		if !errors.As(err, &d) {
			rt.Fatalf("%s changed at %d: %v", path, at, err)
		}
		if d.Kind == DamagedEntry && d.End != d.First+1 {
			rt.Fatalf("the entry is not named: %v", d)
		}
	})
}

func TestVerifyWhileTheLogGrows(t *testing.T) {
	s := newScene(t)
	l := openLog(t, s.dir, s.key)
	done := make(chan error)
	go func() {
		defer close(done)
		for i := uint64(verifySize); i < verifySize+600; i++ {
			if _, err := l.Append(entry(i)); err != nil {
				done <- err
				return
			}
			if i%50 == 0 {
				if _, err := l.Checkpoint(); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
			if _, err := s.verify(s.early, s.late); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A signature whose last character was changed in bits that mean nothing is not the one that was made.
func TestSignatureIsExact(t *testing.T) {
	for in, ok := range map[string]bool{
		"a\n1\nx\n\n— n AAAAAA==\n": true, "a\n1\nx\n\n— n AAAAAB==\n": false, "a\n1\nx\n\n— n AAAAAA==\n— m AAAAAD==\n": false,
	} {
		if err := exact([]byte(in)); (err == nil) != ok {
			t.Errorf("%q: %v", in, err)
		}
	}
}
