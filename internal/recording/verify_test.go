package recording

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"gatebook/internal/access"
	"gatebook/internal/archive"
)

func (b *book) atRest(ids ...age.Identity) *Book {
	return &Book{Archive: b.folder, Ledger: filepath.Join(b.dir, "ledger"), Verifier: b.verifier, Identities: ids}
}

type fatal interface{ Fatalf(string, ...any) }

func (b *book) mustVerify(t fatal) *Verification {
	v, err := b.atRest(b.auditor).Verify()
	if err != nil {
		t.Fatalf("verifying: %v", err)
	}
	if len(v.Findings) > 0 {
		t.Fatalf("verifying: %v", v.Findings)
	}
	if v.Compared != v.Operations+v.Notes {
		t.Fatalf("%d of %d operations and %d notes were compared", v.Compared, v.Operations, v.Notes)
	}
	return v
}

// recorded is a book of two sessions in two units each, with operations across both.
func recorded(t *testing.T) *book {
	b := newBook(t)
	b.mustStart(nil)
	across := begin(t, b, "s1", "across", "payload")
	for _, s := range []string{"s1", "s2"} {
		o := begin(t, b, s, "first of "+s, "")
		write(t, o, Stdout, ToClient, "out of "+s)
		end(t, o, access.Outcome{Code: 200})
	}
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	write(t, across, Stdout, ToClient, "later")
	end(t, across, access.Outcome{})
	end(t, begin(t, b, "s2", "second", ""), access.Outcome{})
	if err := b.Note("s1", "login", "ada"); err != nil {
		t.Fatal(err)
	}
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *book) files(session string) (segments, keys []string) {
	b.t.Helper()
	list, err := b.folder.List(archive.SessionPrefix(session))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, i := range list {
		if strings.HasSuffix(i.Name, ".gbr.age") {
			segments = append(segments, i.Name)
		} else {
			keys = append(keys, i.Name)
		}
	}
	return segments, keys
}

func (b *book) path(name string) string { return filepath.Join(b.dir, "archive", name) }

func (b *book) edit(name string, change func([]byte) []byte) {
	b.t.Helper()
	data, err := os.ReadFile(b.path(name))
	if err == nil {
		err = os.Chmod(b.path(name), 0o600)
	}
	if err == nil {
		err = os.WriteFile(b.path(name), change(data), 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestWholeBookVerifies(t *testing.T) {
	b := recorded(t)
	v := b.mustVerify(t)
	if v.Operations != 4 || v.Notes != 1 || v.Segments != 4 || v.Keys != 2 {
		t.Errorf("%+v", v)
	}
	without, err := b.atRest().Verify()
	if err != nil || len(without.Findings) > 0 || without.Compared != 0 {
		t.Errorf("without keys: %+v, %v", without, err)
	}
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if v, err := b.atRest(stranger).Verify(); err != nil || len(v.Findings) > 0 || len(v.Unopened) != 2 {
		t.Errorf("with a stranger's key: %+v, %v", v, err)
	}
}

// B88, without keys: the file that was touched is named.
func TestVerifyNamesTheFile(t *testing.T) {
	for name, touch := range map[string]func(b *book, segments []string) Finding{
		"edited": func(b *book, s []string) Finding {
			b.edit(s[0], func(d []byte) []byte { d[len(d)-1] ^= 1; return d })
			return Finding{Kind: FoundAltered, Name: s[0]}
		},
		"cut": func(b *book, s []string) Finding {
			b.edit(s[0], func(d []byte) []byte { return d[:len(d)-1] })
			return Finding{Kind: FoundAltered, Name: s[0]}
		},
		"deleted": func(b *book, s []string) Finding {
			if err := os.Remove(b.path(s[1])); err != nil {
				b.t.Fatal(err)
			}
			return Finding{Kind: FoundMissing, Name: s[1]}
		},
		"added": func(b *book, s []string) Finding {
			added := "sessions/s1/zzz.gbr.age"
			if err := b.folder.Put(added, strings.NewReader("x")); err != nil {
				b.t.Fatal(err)
			}
			return Finding{Kind: FoundAdded, Name: added}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := recorded(t)
			segments, _ := b.files("s1")
			want := touch(b, segments)
			for _, ids := range [][]age.Identity{nil, {b.auditor}} {
				v, err := b.atRest(ids...).Verify()
				if err != nil {
					t.Fatal(err)
				}
				if len(v.Findings) != 1 || v.Findings[0].Kind != want.Kind || v.Findings[0].Name != want.Name {
					t.Errorf("with %d keys: found %v, want %s of %s", len(ids), v.Findings, want.Kind, want.Name)
				}
			}
		})
	}
}

func TestVerifyNamesSwappedFiles(t *testing.T) {
	b := recorded(t)
	s, _ := b.files("s1")
	if err := errors.Join(os.Rename(b.path(s[0]), b.path(s[0])+".x"), os.Rename(b.path(s[1]), b.path(s[0])), os.Rename(b.path(s[0])+".x", b.path(s[1]))); err != nil {
		t.Fatal(err)
	}
	v, err := b.atRest(b.auditor).Verify()
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Findings) != 2 || v.Findings[0].Name != s[0] || v.Findings[1].Name != s[1] {
		t.Errorf("found %v", v.Findings)
	}
}

func TestVerifyNamesTheLedgerEntry(t *testing.T) {
	b := recorded(t)
	known, err := b.ledger.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	first := b.leaves()[0].Operation
	err = filepath.WalkDir(filepath.Join(b.dir, "ledger", "tile", "entries"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		at := strings.Index(string(data), `"effect":"allow"`)
		copy(data[at:], `"effect":"deny" `)
		return errors.Join(err, os.Chmod(path, 0o600), os.WriteFile(path, data, 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
	rest := b.atRest(b.auditor)
	rest.Known = [][]byte{known}
	v, err := rest.Verify()
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Findings) != 1 || v.Findings[0].Kind != FoundLedger || v.Findings[0].Entry != 0 || v.Findings[0].Operation != first {
		t.Errorf("found %+v, want entry 0, operation %s", v.Findings, first)
	}
}

// What was changed in the journal before it was sealed does not match the leaf that was made when it was recorded.
func TestVerifyComparesFramesWithTheirLeaf(t *testing.T) {
	b := newBook(t)
	b.mustStart(nil)
	o := begin(t, b, "s1", "c", "")
	write(t, o, Stdout, ToClient, "true")
	o.tally.sum.Write([]byte("as if other bytes had been journaled"))
	end(t, o, access.Outcome{})
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	v, err := b.atRest(b.auditor).Verify()
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Findings) != 1 || v.Findings[0].Kind != FoundAltered || v.Findings[0].Operation != o.tally.leaf.Operation {
		t.Errorf("found %v", v.Findings)
	}
}

// B96, in whole: who has one session's keys verifies that session and opens no other.
func TestOneSessionsKeysOpenOnlyIt(t *testing.T) {
	b := recorded(t)
	all, err := SessionKeys(b.folder, "s1", b.auditor)
	if err != nil {
		t.Fatal(err)
	}
	handed := all[:len(all)-1] // without the auditor's
	read := func(session access.SessionID) (n int, err error) {
		err = ReadSession(b.folder, session, func(Event) error { n++; return nil }, handed...)
		return n, err
	}
	if n, err := read("s1"); err != nil || n == 0 {
		t.Errorf("its own session: %d frames, %v", n, err)
	}
	if n, err := read("s2"); !errors.Is(err, ErrNoKey) || n > 0 {
		t.Errorf("another session: %d frames, %v", n, err)
	}
}
