package archive

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func open(t testing.TB, dir string) *Folder {
	t.Helper()
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func read(t testing.TB, f *Folder, name string) string {
	t.Helper()
	r, err := f.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPutNeverOverwrites(t *testing.T) {
	f := open(t, t.TempDir())
	if err := f.Put("sessions/a/1.gbr.age", strings.NewReader("first")); err != nil {
		t.Fatal(err)
	}
	if err := f.Put("sessions/a/1.gbr.age", strings.NewReader("second")); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("second Put: %v, want fs.ErrExist", err)
	}
	if got := read(t, f, "sessions/a/1.gbr.age"); got != "first" {
		t.Errorf("content is %q", got)
	}
	if left, err := os.ReadDir(filepath.Join(f.root.Name(), spool)); err != nil || len(left) != 0 {
		t.Errorf("unfinished files left: %v, %v", left, err)
	}
}

func TestListIsSortedAndByPrefix(t *testing.T) {
	f := open(t, t.TempDir())
	for _, name := range []string{"sessions/b/1.gbr.age", "sessions/a/2.gbr.age", "sessions/a/1.gbr.age", "sessions/ab/1.gbr.age", "other"} {
		if err := f.Put(name, strings.NewReader(name)); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, want := range map[string][]string{
		"":             {"other", "sessions/a/1.gbr.age", "sessions/a/2.gbr.age", "sessions/ab/1.gbr.age", "sessions/b/1.gbr.age"},
		"sessions/a/":  {"sessions/a/1.gbr.age", "sessions/a/2.gbr.age"},
		"sessions/a":   {"sessions/a/1.gbr.age", "sessions/a/2.gbr.age", "sessions/ab/1.gbr.age"},
		"sessions/no/": nil,
	} {
		infos, err := f.List(prefix)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, i := range infos {
			got = append(got, i.Name)
			if i.Size != int64(len(i.Name)) {
				t.Errorf("%s: size %d", i.Name, i.Size)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("List(%q): %s", prefix, diff)
		}
	}
}

func TestNames(t *testing.T) {
	for _, bad := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", "a/.b", "a\\b", "a\x00", "a b", "é", strings.Repeat("a", 201), ".spool/x"} {
		if err := open(t, t.TempDir()).Put(bad, strings.NewReader("")); err == nil {
			t.Errorf("Put(%q) accepted", bad)
		}
		if _, err := open(t, t.TempDir()).Open(bad); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open(%q): %v, want a refusal", bad, err)
		}
	}
	if s, u, seg, key, ok := ParseName(SegmentName("s1", "u1")); s != "s1" || u != "u1" || !seg || key || !ok {
		t.Error("segment name does not parse")
	}
	if s, u, seg, key, ok := ParseName(KeyName("s1", "u1")); s != "s1" || u != "u1" || seg || !key || !ok {
		t.Error("key name does not parse")
	}
	if _, _, _, _, ok := ParseName("sessions/a/b/c.gbr.age"); ok {
		t.Error("a deeper name parses as a session's")
	}
}

func TestSymlinkOutOfTheArchiveIsNotFollowed(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "sessions")); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Put("sessions/x", strings.NewReader("x")); err == nil {
		t.Error("Put followed a symbolic link out of the archive")
	}
}

// A Put that dies at any step leaves the name free or the whole file there, and a second Put or Settle completes it.
func TestPutDiesAtEveryStep(t *testing.T) {
	for _, at := range []string{"create", "sync", "link", "syncdir", "unlink"} {
		t.Run(at, func(t *testing.T) {
			f := open(t, t.TempDir())
			died := errors.New("died")
			f.Fail = func(step string) error {
				if step == at {
					return died
				}
				return nil
			}
			if err := f.Put("sessions/a/1", strings.NewReader("whole")); !errors.Is(err, died) {
				t.Fatalf("Put: %v", err)
			}
			f.Fail = nil
			if err := f.Put("sessions/a/1", strings.NewReader("whole")); err != nil && !errors.Is(err, fs.ErrExist) {
				t.Fatal(err)
			}
			if err := f.Settle("sessions/a/1"); err != nil {
				t.Fatal(err)
			}
			if got := read(t, f, "sessions/a/1"); got != "whole" {
				t.Errorf("content is %q", got)
			}
			if infos, err := f.List(""); err != nil || len(infos) != 1 {
				t.Errorf("List: %v, %v", infos, err)
			}
		})
	}
}

func TestCleanRemovesOnlyStaleSpool(t *testing.T) {
	f := open(t, t.TempDir())
	f.Fail = func(step string) error {
		if step == "link" {
			return errors.New("died")
		}
		return nil
	}
	if err := f.Put("a", strings.NewReader("x")); err == nil {
		t.Fatal("Put survived")
	}
	count := func() int {
		entries, err := os.ReadDir(filepath.Join(f.root.Name(), spool))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	if err := f.Clean(time.Now()); err != nil || count() != 1 {
		t.Errorf("a fresh unfinished file was removed (%v)", err)
	}
	if err := f.Clean(time.Now().Add(staleAfter + time.Hour)); err != nil || count() != 0 {
		t.Errorf("a stale unfinished file is still there (%v)", err)
	}
}

func identity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func seal(t testing.TB, to age.Recipient, plain []byte) (cipher []byte, size int64, sum [32]byte) {
	t.Helper()
	var out bytes.Buffer
	s, err := NewSealer(&out, to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	size, sum = s.Sum()
	return out.Bytes(), size, sum
}

// B96: whoever has one session's key reads that session and no other; each auditor reads all.
func TestOneSessionsKeyOpensOnlyThatSession(t *testing.T) {
	ada, bob := identity(t), identity(t)
	auditors := []age.Recipient{ada.Recipient(), bob.Recipient()}
	type session struct {
		id     *age.X25519Identity
		cipher []byte
	}
	var all [2]session
	for i := range all {
		public, wrapped, err := NewKey(auditors)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(wrapped, []byte("AGE-SECRET-KEY")) {
			t.Fatal("the wrapped key holds the private half in clear")
		}
		for _, auditor := range []*age.X25519Identity{ada, bob} {
			if all[i].id, err = OpenKey(bytes.NewReader(wrapped), auditor); err != nil {
				t.Fatal(err)
			}
			if all[i].id.Recipient().String() != public.String() {
				t.Fatal("the wrapped key is another one")
			}
		}
		if _, err := OpenKey(bytes.NewReader(wrapped), identity(t)); err == nil {
			t.Fatal("a stranger opened the key")
		}
		all[i].cipher, _, _ = seal(t, public, []byte("secret of one session"))
	}
	for i := range all {
		for j := range all {
			r, err := Unseal(bytes.NewReader(all[j].cipher), all[i].id)
			var mismatch *age.NoIdentityMatchError
			if i != j {
				if !errors.As(err, &mismatch) {
					t.Errorf("session %d's key on session %d: %v", i, j, err)
				}
				continue
			}
			if b, err := io.ReadAll(r); err != nil || string(b) != "secret of one session" {
				t.Errorf("session %d: %q, %v", i, b, err)
			}
		}
	}
	if _, _, err := NewKey(nil); err == nil {
		t.Error("a key was encrypted to nobody")
	}
}

func TestSealRoundTrip(t *testing.T) {
	id := identity(t)
	rapid.Check(t, func(rt *rapid.T) {
		plain := bytes.Repeat(rapid.SliceOf(rapid.Byte()).Draw(rt, "plain"), rapid.IntRange(1, 3000).Draw(rt, "times"))
		cipher, size, sum := seal(t, id.Recipient(), plain)
		if size != int64(len(cipher)) || sum != sha256.Sum256(cipher) {
			rt.Fatal("size or digest is not the file's")
		}
		r, err := Unseal(bytes.NewReader(cipher), id)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, plain) {
			rt.Fatalf("read %d of %d bytes: %v", len(got), len(plain), err)
		}
		cut := rapid.IntRange(0, len(cipher)-1).Draw(rt, "cut")
		if r, err := Unseal(bytes.NewReader(cipher[:cut]), id); err == nil {
			if _, err := io.ReadAll(r); err == nil {
				rt.Fatalf("a file cut at %d of %d bytes reads as whole", cut, len(cipher))
			}
		}
	})
}
