package recording

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"gatebook/internal/access"
	"gatebook/internal/journal"
)

// faults is a journal's failpoint that counts syncs and fails where it is told to.
type faults struct {
	syncs atomic.Int64
	fail  atomic.Pointer[fault]
}

type fault struct {
	point string
	err   error
}

func (f *faults) at(point string) error {
	if point == journal.FailSync {
		f.syncs.Add(1)
	}
	if at := f.fail.Load(); at != nil && at.point == point {
		return at.err
	}
	return nil
}

// Which calls are on disk when they return, by durability.
func TestDurabilityDecidesWhatIsSynced(t *testing.T) {
	type synced struct{ read, change, stdin, stdout, end, note, refused bool }
	for durability, want := range map[Durability]synced{
		Crash:    {},
		Power:    {change: true, stdin: true, end: true, note: true},
		Paranoid: {read: true, change: true, stdin: true, stdout: true, end: true, note: true, refused: true},
	} {
		t.Run(string(durability), func(t *testing.T) {
			b, f := newBook(t), &faults{}
			b.journalFail = f.at
			b.mustStart(func(o *Options) { o.Durability = durability })
			did := func(call func()) bool {
				before := f.syncs.Load()
				call()
				return f.syncs.Load() > before
			}
			var got synced
			got.read = did(func() {
				if _, err := b.Begin(operation(b, "s", "read"), access.Decision{}, nil, nil, false); err != nil {
					t.Fatal(err)
				}
			})
			var o *Operation
			got.change = did(func() { o = begin(t, b, "s", "change", "payload") })
			got.stdin = did(func() { write(t, o, Stdin, FromClient, "x") })
			got.stdout = did(func() { write(t, o, Stdout, ToClient, "x") })
			got.end = did(func() { end(t, o, access.Outcome{}) })
			got.note = did(func() {
				if err := b.Note("s", "approval.answered", 1); err != nil {
					t.Fatal(err)
				}
			})
			got.refused = did(func() {
				if err := b.Refused(operation(b, "s", "c"), access.Decision{}, access.Refuse(access.CodeDenied, nil, "no")); err != nil {
					t.Fatal(err)
				}
			})
			if got != want {
				t.Errorf("synced: %+v, want %+v", got, want)
			}
		})
	}
}

// B91, B93: a journal that fails refuses every call, for good.
func TestFailedJournalRefusesEverything(t *testing.T) {
	b, f := newBook(t), &faults{}
	b.journalFail = f.at
	b.mustStart(func(o *Options) { o.Durability = Power })
	o := begin(t, b, "s", "c", "")
	f.fail.Store(&fault{journal.FailSync, syscall.EIO})
	if _, err := b.Begin(operation(b, "s", "change"), access.Decision{}, nil, nil, true); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Begin: %v", err)
	}
	f.fail.Store(nil)
	for i, call := range []func() error{
		func() error { return o.Write(Stdout, ToClient, []byte("x")) },
		func() error { return o.Resize(1, 1) },
		func() error { return b.Note("s", "k", 1) },
		func() error {
			_, err := b.Begin(operation(b, "s", "read"), access.Decision{}, nil, nil, false)
			return err
		},
		func() error {
			return b.Refused(operation(b, "s", "c"), access.Decision{}, access.Refuse(access.CodeDenied, nil, "no"))
		},
		func() error { return o.End(access.Outcome{}) },
	} {
		if err := call(); !errors.Is(err, syscall.EIO) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

// B93: a full disk refuses, and when there is room again the book goes on: the operation whose end did not fit is ended.
func TestFullDiskRefusesAndGoesOn(t *testing.T) {
	b, f := newBook(t), &faults{}
	b.journalFail = f.at
	b.mustStart(nil)
	o := begin(t, b, "s", "c", "")
	id := o.tally.leaf.Operation
	write(t, o, Stdout, ToClient, "before")
	f.fail.Store(&fault{journal.FailWrite, syscall.ENOSPC})
	if err := o.Write(Stdout, ToClient, []byte("does not fit")); !errors.Is(err, journal.ErrNoSpace) {
		t.Fatalf("Write: %v", err)
	}
	if err := o.EndWith(Stdout, ToClient, []byte("does not fit"), access.Outcome{}); !errors.Is(err, journal.ErrNoSpace) {
		t.Errorf("EndWith: %v", err)
	}
	if _, err := b.Begin(operation(b, "s", "other"), access.Decision{}, nil, strings.NewReader("x"), true); !errors.Is(err, journal.ErrNoSpace) {
		t.Fatalf("Begin: %v", err)
	}
	if err := o.End(access.Outcome{Truncated: "not recorded"}); !errors.Is(err, journal.ErrNoSpace) {
		t.Fatalf("End: %v", err)
	}
	f.fail.Store(nil)
	end(t, begin(t, b, "s", "later", ""), access.Outcome{})
	if err := b.Seal(); err != nil { // writes the end that is owed, in the next unit
		t.Fatal(err)
	}
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	got := b.sealed("s")
	if len(got) != 2 || got[id] == nil || !got[id].ended || got[id].streams[Stdout] != "before" {
		t.Errorf("recorded: %+v", got)
	}
	b.mustVerify(t)
}

// An index that is down delays nothing but the removal of the journal's segments.
func TestIndexDown(t *testing.T) {
	b := newBook(t)
	b.index.down = true
	b.mustStart(nil)
	o := begin(t, b, "s", "c", "")
	end(t, o, access.Outcome{})
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	if n := len(b.units.all()); n != 2 {
		t.Fatalf("%d units in the journal: one was removed that the index does not have", n)
	}
	b.kill()
	b.index.down = false
	b.mustStart(nil)
	b.awaitIndex()
	if r, ok := b.index.get(o.tally.leaf.Operation); !ok || r.Outcome == nil {
		t.Errorf("the index has %+v", r)
	}
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	b.awaitIndex()
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	if n := len(b.units.all()); n > 2 {
		t.Errorf("%d units are still in the journal", n)
	}
	b.mustVerify(t)
}

func TestCloseEndsSealsAndRefuses(t *testing.T) {
	b := newBook(t)
	b.mustStart(nil)
	o := begin(t, b, "s", "c", "")
	if err := b.Recorder.Close(); err != nil {
		t.Fatal(err)
	}
	got := b.sealed("s")[o.tally.leaf.Operation]
	if got == nil || !got.ended || got.truncated == "" {
		t.Errorf("sealed: %+v", got)
	}
	if err := b.Note("s", "k", 1); !errors.Is(err, ErrClosed) {
		t.Errorf("Note after Close: %v", err)
	}
}

// An archive in which somebody put a file under the name of a segment is not trusted.
func TestForeignFileUnderASegmentsName(t *testing.T) {
	b := newBook(t)
	stop := errors.New("stop")
	b.mustStart(func(o *Options) {
		o.Fail = func(step string) error {
			if step == "put" {
				return stop
			}
			return nil
		}
	})
	end(t, begin(t, b, "s", "c", ""), access.Outcome{})
	if err := b.Seal(); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if err := b.folder.Put(b.sealer.state.Outputs[0].Leaf.Name, strings.NewReader("foreign")); err != nil {
		t.Fatal(err)
	}
	b.kill()
	b.mustStart(nil)
	if err := b.Seal(); err == nil || !strings.Contains(err.Error(), "is not what this gateway put there") {
		t.Errorf("Seal: %v", err)
	}
}
