package recording

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"gatebook/internal/access"
	"gatebook/internal/archive"
	"gatebook/internal/journal"
	"gatebook/internal/ledger"
)

// book is a gateway's data folder, which outlives the processes that use it.
type book struct {
	t        testing.TB
	dir      string
	auditor  *age.X25519Identity
	signer   note.Signer
	verifier note.Verifier
	index    *memoryIndex
	clock    *clock
	// journalFail is the journal's failpoint.
	journalFail func(string) error
	// segmentBytes is the journal's.
	segmentBytes int64

	// Of the process that runs.
	journal *journal.Journal
	ledger  *ledger.Log
	folder  *archive.Folder
	*Recorder
}

// clock is one that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Millisecond)
	return c.now
}

// memoryIndex is an index that keeps what it was told.
type memoryIndex struct {
	mu       sync.Mutex
	down     bool
	sessions map[access.SessionID]access.Session
	records  map[access.OperationID]access.Record
}

func newMemoryIndex() *memoryIndex {
	return &memoryIndex{sessions: map[access.SessionID]access.Session{}, records: map[access.OperationID]access.Record{}}
}

func (m *memoryIndex) putSession(s access.Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return errors.New("the index is down")
	}
	m.sessions[s.ID] = s
	return nil
}

func (m *memoryIndex) putOperation(r access.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return errors.New("the index is down")
	}
	if old, ok := m.records[r.Operation.ID]; !ok || old.Outcome == nil || r.Outcome != nil {
		m.records[r.Operation.ID] = r
	}
	return nil
}

func (m *memoryIndex) endOperation(id access.OperationID, out access.Outcome) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return errors.New("the index is down")
	}
	if r, ok := m.records[id]; ok {
		r.Outcome = &out
		m.records[id] = r
	}
	return nil
}

func (m *memoryIndex) get(id access.OperationID) (access.Record, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[id]
	return r, ok
}

func newBook(t testing.TB) *book {
	t.Helper()
	auditor, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	signerKey, verifierKey, err := ledger.NewKey("gatebook.test/book")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(signerKey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(verifierKey)
	if err != nil {
		t.Fatal(err)
	}
	b := &book{t: t, dir: t.TempDir(), auditor: auditor, signer: signer, verifier: verifier, index: newMemoryIndex(), segmentBytes: 256 << 10,
		clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	if err := os.Mkdir(filepath.Join(b.dir, "archive"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if b.Recorder != nil {
			b.kill()
		}
	})
	return b
}

// start is a process that comes up. It gives Open's error; the folders are then closed again.
func (b *book) start(change func(*Options)) error {
	b.t.Helper()
	var err error
	if b.journal, err = journal.Open(filepath.Join(b.dir, "journal"), journal.Options{SegmentBytes: b.segmentBytes, Fail: b.journalFail}); err != nil {
		b.t.Fatal(err)
	}
	if b.ledger, err = ledger.Open(filepath.Join(b.dir, "ledger"), ledger.Options{Signer: b.signer}); err != nil {
		b.t.Fatal(err)
	}
	if b.folder, err = archive.OpenFolder(filepath.Join(b.dir, "archive")); err != nil {
		b.t.Fatal(err)
	}
	o := Options{
		Journal: b.journal, Ledger: b.ledger, Archive: b.folder, Dir: filepath.Join(b.dir, "sealing"),
		Recipients: []age.Recipient{b.auditor.Recipient()}, Index: b.index, Now: b.clock.Now, SealAge: -1, Durability: Crash,
	}
	if change != nil {
		change(&o)
	}
	if b.Recorder, err = Open(o); err != nil {
		b.close()
		return err
	}
	return nil
}

func (b *book) mustStart(change func(*Options)) {
	b.t.Helper()
	if err := b.start(change); err != nil {
		b.t.Fatal(err)
	}
}

// kill is the death of the process: nothing is ended, nothing sealed.
func (b *book) kill() {
	b.t.Helper()
	b.halt()
	b.close()
}

func (b *book) close() {
	b.t.Helper()
	b.Recorder = nil
	if err := b.journal.Close(); err != nil && b.journalFail == nil { // a journal that was made to fail says so again
		b.t.Error(err)
	}
	if err := errors.Join(b.ledger.Close(), b.folder.Close()); err != nil {
		b.t.Error(err)
	}
}

func operation(b *book, session, command string) *access.Operation {
	return &access.Operation{
		ID: access.OperationID(access.NewID(b.clock.Now())), Session: access.SessionID(session), Time: b.clock.Now(),
		Principal: access.Principal{Issuer: "cluster", Subject: "agent", Name: "agent"},
		Target:    access.Target{Name: "prod", Protocol: "kubernetes"}, Verb: "create", Command: command,
		Digest: sha256.Sum256([]byte(command)),
		Kubernetes: &access.Kubernetes{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: "default", Name: "web",
			Exec: &access.Exec{Command: []string{"sh"}, Stdin: true, Stdout: true, TTY: true}},
	}
}

// told is what a test knows of an operation: what Begin, Write and End said was recorded.
type told struct {
	id        access.OperationID
	payload   string
	streams   map[Stream]string
	ended     bool
	truncated string
}

// collect gives all sessions' operations as they are read back.
func collect(t testing.TB, read func(fn func(Event) error) error) map[access.OperationID]*told {
	t.Helper()
	out := map[access.OperationID]*told{}
	var last uint64
	err := read(func(e Event) error {
		if e.Number <= last && last > 0 {
			return fmt.Errorf("frame %d comes after frame %d", e.Number, last)
		}
		last = e.Number
		o := out[e.Operation]
		switch {
		case e.Kind == KindBegin && o != nil:
			return fmt.Errorf("operation %s begins twice", e.Operation)
		case e.Kind == KindBegin:
			out[e.Operation] = &told{id: e.Operation, streams: map[Stream]string{}}
		case e.Kind == KindPayload:
			o.payload += string(e.Data)
		case e.Kind == KindStream:
			o.streams[e.Stream] += string(e.Data)
		case e.Kind == KindEnd && o.ended:
			return fmt.Errorf("operation %s ends twice", e.Operation)
		case e.Kind == KindEnd:
			o.ended = true
			if bytes.Contains(e.Data, []byte(`"truncated"`)) {
				o.truncated = stopped
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (b *book) sealed(session access.SessionID) map[access.OperationID]*told {
	b.t.Helper()
	return collect(b.t, func(fn func(Event) error) error { return ReadSession(b.folder, session, fn, b.auditor) })
}

func (b *book) leaves() []Leaf {
	b.t.Helper()
	var out []Leaf
	for i := range b.ledger.Size() {
		entry, err := b.ledger.Entry(i)
		if err != nil {
			b.t.Fatal(err)
		}
		l, err := ParseLeaf(entry)
		if err != nil {
			b.t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

func begin(t testing.TB, b *book, session, command, payload string) *Operation {
	t.Helper()
	o, err := b.Begin(operation(b, session, command), access.Decision{Effect: access.Allow}, nil, strings.NewReader(payload), true)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func write(t testing.TB, o *Operation, s Stream, d Direction, data string) {
	t.Helper()
	if err := o.Write(s, d, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func end(t testing.TB, o *Operation, out access.Outcome) {
	t.Helper()
	if err := o.End(out); err != nil {
		t.Fatal(err)
	}
}

func sortedKeys[V any](m map[access.OperationID]V) []access.OperationID {
	return slices.Sorted(maps.Keys(m))
}

func (m *memoryIndex) PutBatch(entries []access.IndexEntry) error {
	for _, e := range entries {
		var err error
		switch {
		case e.Session != nil:
			err = m.putSession(*e.Session)
		case e.Record != nil:
			err = m.putOperation(*e.Record)
		case e.End != nil:
			err = m.endOperation(e.End.ID, e.End.Outcome)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
