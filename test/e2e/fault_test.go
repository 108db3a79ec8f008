package e2e

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"gatebook/internal/access"
	"gatebook/internal/archive"
	"gatebook/internal/journal"
	"gatebook/internal/recording"
)

// fault makes a journal's failpoint fail while it is set.
type fault struct {
	point string
	err   error
}

// faulty is the failpoint of a stack.
type faulty struct{ now atomic.Pointer[fault] }

func (f *faulty) at(point string) error {
	if now := f.now.Load(); now != nil && now.point == point {
		return now.err
	}
	return nil
}

// faults are those of the journal that an operation can meet. lasting: it refuses everything from then on.
var faults = []struct {
	fault
	lasting bool
}{
	{fault{journal.FailWrite, syscall.EIO}, true},
	{fault{journal.FailShortWrite, syscall.EIO}, true},
	{fault{journal.FailWritten, syscall.EIO}, true},
	{fault{journal.FailSync, syscall.EIO}, true},
	{fault{journal.FailSynced, syscall.EIO}, true},
	{fault{journal.FailSync, syscall.ENOSPC}, true}, // nobody knows what is on disk then
	{fault{journal.FailWrite, syscall.ENOSPC}, false},
	{fault{journal.FailShortWrite, syscall.ENOSPC}, false},
	{fault{journal.FailWritten, syscall.EDQUOT}, false},
}

func (f fault) String() string { return f.point + " " + f.err.Error() }

func startStack(t *testing.T, f *faulty) *stack {
	t.Helper()
	s, err := openStack(t.TempDir(), f.at, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// B91, B93: while the journal cannot take an operation, the operation is refused in the client's own protocol and not
// one request reaches the cluster. A failure of the disk is final, a full disk is not. Nothing is told that is not so:
// what was acknowledged before and after is in the book, and what was refused is not in it as done.
func TestJournalThatFailsRefuses(t *testing.T) {
	for _, c := range faults {
		t.Run(c.String(), func(t *testing.T) {
			f := &faulty{}
			s := startStack(t, f)
			said := newSaid(t)
			said.good(s.read())
			said.good(s.change("before"))
			reached := s.reached.Load()

			f.now.Store(&c.fault)
			said.notRecorded(s.change("refused"))
			said.notRecorded(s.read())
			f.now.Store(nil)
			if c.lasting {
				said.notRecorded(s.change("refused"))
				said.notRecorded(s.read())
			}
			if n := s.reached.Load(); n != reached {
				t.Errorf("%d requests reached the cluster", n-reached)
			}
			if !c.lasting {
				said.good(s.change("after"))
				said.good(s.read())
			}
			said.compare(reopen(t, s, c.lasting))
		})
	}
}

// B91, B93: a journal that fails while an answer comes gives the client nothing of it that is not in the book, and
// never the whole.
func TestJournalThatFailsHoldsAnswersBack(t *testing.T) {
	for _, c := range faults {
		if c.point == journal.FailSync || c.point == journal.FailSynced {
			continue // what is delivered is with the kernel, and survives the process
		}
		t.Run(c.String(), func(t *testing.T) {
			f := &faulty{}
			s := startStack(t, f)
			fail := func(string) { f.now.Store(&c.fault) }
			said := newSaid(t)
			s.during.Store(&fail)
			for i, ask := range []func() (reply, error){s.read, func() (reply, error) { return s.change("made") }} {
				f.now.Store(nil)
				if c.lasting && i > 0 {
					break
				}
				r, err := ask()
				if err == nil && r.code/100 == 2 && r.broken == nil {
					t.Errorf("the client has a whole answer, %d, of which the book knows nothing: %.100s", r.code, r.body)
				}
				said.part(r, err)
			}
			f.now.Store(nil)
			said.compare(reopen(t, s, c.lasting))
		})
	}
}

// said is what a stack's clients were told.
type said struct {
	t  *testing.T
	of []told
}

func newSaid(t *testing.T) *said { return &said{t: t} }

func (s *said) good(r reply, err error) {
	s.t.Helper()
	if err != nil || r.code != http.StatusOK || r.broken != nil || r.id == "" {
		s.t.Fatalf("answered %d %.200q: %v %v", r.code, r.body, err, r.broken)
	}
	s.of = append(s.of, told{id: string(r.id), got: r.body, whole: true})
}

// part is an answer that may have been cut off.
func (s *said) part(r reply, err error) {
	if err == nil && r.code/100 == 2 {
		s.of = append(s.of, told{id: string(r.id), got: r.body})
	}
}

func (s *said) notRecorded(r reply, err error) {
	s.t.Helper()
	var status struct {
		Kind, Reason, Message string
		Code                  int
	}
	if err == nil {
		err = json.Unmarshal([]byte(r.body), &status)
	}
	if err != nil || r.code != http.StatusServiceUnavailable || status.Kind != "Status" || status.Code != r.code || !strings.Contains(status.Message, "could not be recorded") {
		s.t.Errorf("answered %d %.300q: %v", r.code, r.body, err)
	}
}

// compare holds what was told against the book.
func (s *said) compare(book map[access.OperationID]*recorded) {
	s.t.Helper()
	for _, seen := range s.of {
		op := book[access.OperationID(seen.id)]
		if op == nil {
			s.t.Errorf("operation %s was acknowledged, and is not in the book", seen.id)
		} else if err := op.holds(seen); err != nil {
			s.t.Errorf("operation %s: %v", seen.id, err)
		}
	}
	for id, op := range book {
		if strings.Contains(op.payload, `"refused"`) && op.Refused == nil && op.outcome.Truncated == "" {
			s.t.Errorf("operation %s was refused, and is in the book as done: %+v", id, op.outcome)
		}
	}
}

// reopen closes a stack, whose journal may have stopped, recovers it as the next process would, and gives what is in
// the book then, which must be whole.
func reopen(t *testing.T, s *stack, stopped bool) map[access.OperationID]*recorded {
	t.Helper()
	if err := s.Close(); (err != nil) != stopped {
		t.Errorf("closing: %v", err)
	}
	s, err := openStack(s.dir, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // seals
		t.Fatal(err)
	}
	return readStack(t, s)
}

// readStack verifies what a stack has sealed, and reads it.
func readStack(t *testing.T, s *stack) map[access.OperationID]*recorded {
	t.Helper()
	folder, err := archive.OpenFolder(filepath.Join(s.dir, "archive"))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	verifier, err := note.NewVerifier(s.verifier)
	if err != nil {
		t.Fatal(err)
	}
	ids := s.identities()
	b := recording.Book{Archive: folder, Ledger: filepath.Join(s.dir, "ledger"), Verifier: verifier, Identities: ids}
	v, err := b.Verify()
	if err != nil || len(v.Findings) > 0 {
		t.Fatalf("verifying: %+v %v", v, err)
	}
	all := map[access.OperationID]*recorded{}
	err = recording.ReadSession(folder, stackSession, func(e recording.Event) error {
		op := all[e.Operation]
		if op == nil {
			op = &recorded{streams: map[recording.Stream]string{}}
			all[e.Operation] = op
		}
		switch e.Kind {
		case recording.KindBegin:
			op.begun++
			return json.Unmarshal(e.Data, &op.Opening)
		case recording.KindPayload:
			op.payload += string(e.Data)
		case recording.KindStream:
			if e.Direction == recording.ToClient {
				op.streams[e.Stream] += string(e.Data)
			}
		case recording.KindEnd:
			op.ended++
			var c recording.Closing
			err := json.Unmarshal(e.Data, &c)
			op.outcome = c.Outcome
			return err
		}
		return nil
	}, ids...)
	if err != nil {
		t.Fatal(err)
	}
	delete(all, "")
	return all
}
