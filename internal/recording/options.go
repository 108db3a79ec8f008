package recording

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"filippo.io/age"

	"gatebook/internal/access"
	"gatebook/internal/archive"
	"gatebook/internal/journal"
)

// Durability is when a frame counts as recorded. The zero value is Power.
type Durability string

const (
	Crash    Durability = "crash"    // everything is with the kernel: the death of the process loses nothing
	Power    Durability = "power"    // what changes something is on disk: a power cut loses no change and no approval
	Paranoid Durability = "paranoid" // everything is on disk
)

// Archive is where sealed files go. archive.Folder is one.
type Archive interface {
	// Put stores a file, durably and whole. A name that is taken is refused with fs.ErrExist.
	Put(name string, r io.Reader) error
	// Open reads a file; fs.ErrNotExist where there is none.
	Open(name string) (io.ReadCloser, error)
	// List gives the files whose names begin with prefix, sorted by name.
	List(prefix string) ([]archive.Info, error)
}

// Ledger is where leaves go. *ledger.Log is one.
type Ledger interface {
	Append(entries ...[]byte) (first uint64, err error)
	Checkpoint() ([]byte, error) // everything appended is on disk, under a signed checkpoint
	Size() uint64
	Entry(i uint64) ([]byte, error)
}

// Index is where operations are found again. One goroutine calls it, in the order of the journal, and again from some
// point before after a crash: it is idempotent. An error is retried; nothing waits for it but the removal of the
// journal's segments.
type Index interface {
	// PutBatch takes entries in order, all or none. What Passed says last is given again at the next start, by
	// Options.Indexed. A session comes before its operations; where it is there, the
	// earlier Started and the later Last stay. A record that has an Outcome is not replaced by one that has none. The end
	// of an operation that is not there is not an error.
	PutBatch(entries []access.IndexEntry) error
}

// Options are what a Recorder needs. Journal, Ledger, Archive, Dir and Recipients must be set.
type Options struct {
	Journal *journal.Journal
	// Ledger must have no other writer.
	Ledger  Ledger
	Archive Archive
	// Dir is a folder on this machine for the state of sealing and for files on their way to the archive (encrypted).
	Dir string
	// Recipients are the auditors, to whom each session's key is encrypted.
	Recipients []age.Recipient
	// Index may be nil.
	Index Index
	// Indexed gives what the index was last told has passed; 0 for a new one. Open fails with ErrIndexLost where the journal
	// no longer has what follows. Nil: that is not looked at.
	Indexed func() (uint64, error)
	// Notes, if set, is told at Open of every note that is still in the journal, oldest first: for states that follow
	// them, and that may be behind after a crash. data is valid until it returns.
	Notes func(kind string, data []byte) error
	// IndexDelay is how long the index is behind where operations come one after another: what comes within it shares
	// one durable step, which costs more than an operation. At 0 each is indexed at once.
	IndexDelay time.Duration
	Durability Durability
	// Now is the clock; time.Now where nil.
	Now func() time.Time
	// Log is told what goes wrong in the background; discarded where nil.
	Log *slog.Logger

	// A unit of the journal, and with it a part of each session in it, is sealed when it has SealBytes (default 64 MiB),
	// when it is SealAge old (default 5 minutes), or when nothing has happened for SealIdle (default 20 seconds) and no
	// operation is open. A negative SealAge: only by Seal and Close.
	SealBytes int64
	SealAge   time.Duration
	SealIdle  time.Duration

	// Fail, if set, is called before each step of sealing and recovery with the step's name. Its error ends the work
	// there, as a crash would. For tests.
	Fail func(step string) error
}

func (o *Options) check() error {
	switch {
	case o.Journal == nil || o.Ledger == nil || o.Archive == nil:
		return errors.New("a journal, a ledger and an archive are needed")
	case o.Dir == "":
		return errors.New("a folder for the state of sealing is needed")
	case len(o.Recipients) == 0:
		return errors.New("no auditor's recipient: nobody could ever read what is recorded")
	}
	switch o.Durability {
	case "":
		o.Durability = Power
	case Crash, Power, Paranoid:
	default:
		return fmt.Errorf("durability %q: want %q, %q or %q", o.Durability, Crash, Power, Paranoid)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.SealBytes <= 0 {
		o.SealBytes = 64 << 20
	}
	if o.SealAge == 0 {
		o.SealAge = 5 * time.Minute
	}
	if o.SealIdle <= 0 {
		o.SealIdle = 20 * time.Second
	}
	return nil
}
