package ledger

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// cutOff is a copy of a log's folder while it was in use, as a power cut leaves it: of what its records hold no tile came to disk.
func cutOff(t *testing.T, k key) string {
	t.Helper()
	dir, copied := t.TempDir(), t.TempDir()
	l := openLog(t, dir, k)
	for _, size := range []uint64{100, 300, 310} {
		appendTo(t, l, size)
		checkpoint(t, l)
	}
	for _, f := range []string{recentFile, checkpointFile} {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, f), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

func TestRecordsBringTheTilesBack(t *testing.T) {
	k := newKey(t, testOrigin)
	dir := cutOff(t, k)
	l := openLog(t, dir, k)
	if l.Size() != 310 || l.Recovered().Replayed != 3 {
		t.Fatalf("size %d, %+v", l.Size(), l.Recovered())
	}
	checkEntries(t, l, 310)
	newReference(t, 310).checkStored(t, dir, 310, k.verifier)
	if _, err := Verify(dir, k.verifier, checkpoint(t, l)); err != nil {
		t.Fatal(err)
	}
	if again, err := readRecent(dir); err != nil || len(again) != 1 {
		t.Fatalf("%d records are left: %v", len(again), err)
	}
}

// TestRecordsMustBeSigned: what somebody else wrote into the file is not signed by opening the log.
func TestRecordsMustBeSigned(t *testing.T) {
	k := newKey(t, testOrigin)
	for name, forge := range map[string]func(r *record){
		"an entry is changed": func(r *record) { r.entries = bytes.Replace(r.entries, entry(305), bytes.ToUpper(entry(305)), 1) },
		"an entry is added":   func(r *record) { r.entries = appendEntry(bytes.Clone(r.entries), []byte("forged")) },
		"the checkpoint is another's": func(r *record) {
			signed, err := tree{size: 310}.sign(newKey(t, testOrigin).signer)
			if err != nil {
				t.Fatal(err)
			}
			r.note = signed
		},
	} {
		dir := cutOff(t, k)
		list, err := readRecent(dir)
		if err != nil || len(list) != 4 {
			t.Fatal(len(list), err)
		}
		forge(&list[3])
		var file []byte
		for _, r := range list {
			file = append(append(file, r.header()...), r.entries...)
		}
		if err := os.WriteFile(filepath.Join(dir, recentFile), file, 0o600); err != nil {
			t.Fatal(err)
		}
		var d *Damage
		if _, err := Open(dir, Options{Signer: k.signer}); !errors.As(err, &d) || d.Path != recentFile {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "tile")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was written: %v", name, err)
		}
	}
}

func TestTwoPassesLeaveNoRecordOfTheFirst(t *testing.T) {
	k, dir := newKey(t, testOrigin), t.TempDir()
	l, err := Open(dir, Options{Signer: k.signer, RecentBytes: 4000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for size := uint64(10); size < 2000; size += 10 {
		appendTo(t, l, size)
		checkpoint(t, l)
		list, err := readRecent(dir)
		if err != nil {
			t.Fatal(err)
		}
		if end, ok := list[len(list)-1].size(); !ok || end != size {
			t.Fatalf("the last of %d records ends at %d, the log at %d", len(list), end, size)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, recentFile)); err != nil || info.Size() > 8000 {
		t.Fatalf("%d bytes: %v", info.Size(), err)
	}
}
