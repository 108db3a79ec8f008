package recording

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gatebook/internal/access"
	"gatebook/internal/archive"
)

// unsealed is a book whose gateway has died: two units are sealed, and the journal alone has an operation and two notes more.
func unsealed(t *testing.T) *book {
	t.Helper()
	b := recorded(t)
	end(t, begin(t, b, "s1", "late", "payload"), access.Outcome{})
	for range 2 {
		if err := b.Note("s2", "login", "grace"); err != nil {
			t.Fatal(err)
		}
	}
	b.kill()
	return b
}

func (b *book) withJournal() *Book {
	rest := b.atRest(b.auditor)
	folder, err := archive.OpenFolder(filepath.Join(b.dir, "archive")) // the gateway's is closed with it
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := folder.Close(); err != nil {
			b.t.Error(err)
		}
	})
	rest.Archive = folder
	rest.Journal = filepath.Join(b.dir, "journal")
	return rest
}

func TestVerifySaysWhatIsNotCovered(t *testing.T) {
	b := unsealed(t)
	v, err := b.withJournal().Verify()
	if err != nil || !v.Whole || v.Complete || v.Unsealed.Operations != 1 || v.Unsealed.Notes != 2 || v.Unsealed.Since.IsZero() {
		t.Fatalf("%+v, %+v: %v", v, v.Unsealed, err)
	}
	if s := v.NotCovered[0]; !strings.Contains(s, "1 operations and 2 notes") || !strings.Contains(s, "journal alone") {
		t.Errorf("%q", v.NotCovered)
	}
	bare := b.withJournal()
	bare.Journal, bare.Identities = "", nil
	without, err := bare.Verify()
	if err != nil || !without.Whole || without.Complete || without.Unsealed != nil || !strings.Contains(strings.Join(without.NotCovered, " "), "no key was given") {
		t.Errorf("%+v: %v", without, err)
	}
	b.mustStart(nil)
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	if v, err = b.withJournal().Verify(); err != nil || !v.Whole || !v.Complete || *v.Unsealed != (Unsealed{}) {
		t.Errorf("sealed: %+v, %+v: %v", v, v.Unsealed, err)
	}
}

// TestVerifyNamesAnyTouchedFile is B88 for every file that proves something: a changed byte anywhere in any of them is found, and the file or
// the record named.
func TestVerifyNamesAnyTouchedFile(t *testing.T) {
	b := unsealed(t)
	var paths []string
	for _, dir := range []string{"ledger/tile", "ledger/checkpoint", "archive", "journal"} {
		err := filepath.WalkDir(filepath.Join(b.dir, dir), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() && e.Name() != "lock" {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(paths) < 12 {
		t.Fatalf("too few: %q", paths)
	}
	rest := b.withJournal()
	rapid.Check(t, func(rt *rapid.T) {
		path := rapid.SampledFrom(paths).Draw(rt, "path")
		data, err := os.ReadFile(path)
		if err != nil {
			rt.Fatal(err)
		}
		at := rapid.IntRange(0, len(data)-1).Draw(rt, "at")
		touched := slices.Clone(data)
		touched[at] ^= rapid.ByteRange(1, 255).Draw(rt, "xor")
		put(rt, path, touched)
		defer put(rt, path, data)
		v, err := rest.Verify()
		if err != nil {
			rt.Fatalf("%s changed at %d: not a finding, but: %v", path, at, err)
		}
		if v.Whole || len(v.Findings) == 0 {
			rt.Fatalf("%s changed at %d: whole", path, at)
		}
		for _, f := range v.Findings {
			if f.Name != "" && strings.HasSuffix(path, f.Name) || f.Operation != "" {
				return
			}
		}
		rt.Fatalf("%s changed at %d is not named: %v", path, at, v.Findings)
	})
}

func put(t *rapid.T, path string, data []byte) {
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyMissesAJournalSegment(t *testing.T) {
	b := unsealed(t)
	list, err := filepath.Glob(filepath.Join(b.dir, "journal", "*.journal"))
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	for _, path := range list {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	v, err := b.withJournal().Verify()
	if err != nil || len(v.Findings) != 1 || v.Findings[0].Kind != FoundMissing {
		t.Errorf("%+v, %v", v, err)
	}
}
