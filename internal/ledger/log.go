package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/mod/sumdb/note"
)

const (
	defaultMaxPendingBytes = 4 << 20
	defaultRecentBytes     = 16 << 20
)

// ErrClosed is returned by every method that needs an open log after Close.
var ErrClosed = errors.New("ledger is closed")

// Options configure a Log.
type Options struct {
	// Origin names the log. It must be the signer's name; empty means just that.
	Origin string
	// Signer signs checkpoints. Its signatures must be deterministic, as Ed25519's are.
	Signer note.Signer
	// MaxPendingBytes bounds the entries that no checkpoint covers yet: above it Append makes one first. 0 means 4 MiB.
	MaxPendingBytes int
	// RecentBytes is how much is kept twice, in the file that made it durable and in tiles, before the tiles are brought to disk too. 0 means 16 MiB.
	RecentBytes int64
	// Fail is for tests: it is asked before each "write", "append", "sync", "syncdir", "syncall" and "rename", followed by a path, and an error
	// from it stands for that of the system call. Nil in production.
	Fail func(point string) error
	// syncEach is for tests: to sync files one by one, as where all cannot be synced at once.
	syncEach bool
}

// Log is an open log. Its methods are safe for concurrent use.
type Log struct {
	dir        string
	signer     note.Signer
	maxPending int
	lock       *os.File
	recovered  Recovery

	checkpointMu sync.Mutex // one checkpoint at a time; taken before mu
	writer       *writer
	recent       *recent
	recentBytes  int64
	settled      uint64 // size of the log whose tiles are known to be on disk

	mu     sync.RWMutex
	edge   edge
	bundle []byte           // the bundle that is not full yet
	full   map[coord][]byte // full tiles and bundles that no checkpoint covers yet; their data never changes
	fresh  []byte           // entries that no checkpoint covers yet, each as in a bundle; what was added never changes until it is covered
	hasher leafHasher
	signed tree
	note   []byte // the checkpoint of signed
	err    error  // final
}

// Open opens the log in dir, or begins a new one there with a checkpoint of size 0. It checks the last checkpoint's signature and that the right
// edge of the tree, from which the log goes on, is what was signed; Verify checks the rest. See Recovered for what a crash left.
//
// It fails with ErrLocked while another process has the log, and with a *Damage if checkpoint or edge are not as they were signed.
func Open(dir string, o Options) (*Log, error) {
	if o.Signer == nil {
		return nil, errors.New("opening ledger: no signer")
	}
	if o.Origin != "" && o.Origin != o.Signer.Name() {
		return nil, fmt.Errorf("opening ledger: origin %q is not the signer's name %q", o.Origin, o.Signer.Name())
	}
	if o.MaxPendingBytes == 0 {
		o.MaxPendingBytes = defaultMaxPendingBytes
	}
	if o.RecentBytes == 0 {
		o.RecentBytes = defaultRecentBytes
	}
	dir = filepath.Clean(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating ledger folder: %w", err)
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("creating ledger folder: %w", err)
	}
	lock, err := lockFolder(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	l := &Log{dir: dir, signer: o.Signer, maxPending: o.MaxPendingBytes, recentBytes: o.RecentBytes, lock: lock,
		writer: newWriter(dir, o.Fail), full: map[coord][]byte{}}
	if err := l.start(o.syncEach); err != nil {
		return nil, errors.Join(fmt.Errorf("opening ledger: %w", err), l.release())
	}
	return l, nil
}

func (l *Log) start(syncEach bool) (err error) {
	if !syncEach {
		if l.writer.all, err = openAll(l.dir); err != nil {
			return err
		}
	}
	return l.recoverLog()
}

// release closes every file.
func (l *Log) release() error {
	err := l.writer.abandon()
	if l.recent != nil {
		err = errors.Join(err, l.recent.file.Close())
	}
	return errors.Join(err, l.lock.Close())
}

// Append adds entries in order and returns the index of the first. They count at once, in Size, Entry and proofs, and are durable
// after the next Checkpoint. The entries are copied. All are added or none.
// An entry above MaxEntryBytes is refused with ErrEntryTooLarge. Where too much is pending, Append makes a checkpoint first.
func (l *Log) Append(entries ...[]byte) (first uint64, err error) {
	for i, e := range entries {
		if len(e) > MaxEntryBytes {
			return 0, fmt.Errorf("%w: entry %d of %d has %d bytes, the limit is %d", ErrEntryTooLarge, i+1, len(entries), len(e), MaxEntryBytes)
		}
	}
	if l.tooMuchPending() {
		if _, err := l.Checkpoint(); err != nil {
			return 0, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, l.err
	}
	first = l.edge.size
	for _, e := range entries {
		l.addLocked(e)
	}
	return first, nil
}

func (l *Log) tooMuchPending() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.fresh) > l.maxPending
}

func (l *Log) addLocked(entry []byte) {
	l.fresh = appendEntry(l.fresh, entry)
	l.addCoveredLocked(entry)
}

// addCoveredLocked adds an entry that is durable already.
func (l *Log) addCoveredLocked(entry []byte) {
	l.bundle = appendEntry(l.bundle, entry)
	n := l.edge.size / tileWidth
	l.edge.add(l.hasher.sum(entry), func(c coord, data []byte) { l.full[c] = data })
	if l.edge.size%tileWidth == 0 {
		l.full[coord{entryBundle, n}] = l.bundle
		l.bundle = make([]byte, 0, len(l.bundle))
	}
}

// Size is the number of entries, those included that no checkpoint covers yet.
func (l *Log) Size() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.edge.size
}

// Recovered says what Open found.
func (l *Log) Recovered() Recovery { return l.recovered }

// Err returns why the log has stopped, or nil while it works.
func (l *Log) Err() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.err
}

// Entry returns a copy of entry i, as it is stored: whether that is what was signed, Verify tells.
func (l *Log) Entry(i uint64) ([]byte, error) {
	bundle, err := l.readBundle(i)
	if err != nil {
		return nil, fmt.Errorf("reading ledger entry %d: %w", i, err)
	}
	var entry []byte
	for range i%tileWidth + 1 {
		if entry, bundle, err = cutEntry(bundle); err != nil {
			return nil, fmt.Errorf("reading ledger entry %d: %w", i, err)
		}
	}
	return append([]byte{}, entry...), nil
}

func (l *Log) readBundle(i uint64) ([]byte, error) {
	c := coord{entryBundle, i / tileWidth}
	l.mu.RLock()
	size, bundle, inMemory := l.edge.size, l.bundle, true
	if c.n != size/tileWidth {
		bundle, inMemory = l.full[c]
	}
	l.mu.RUnlock()
	if i >= size {
		return nil, fmt.Errorf("the log has %d entries", size)
	}
	if inMemory {
		return bundle, nil
	}
	bundle, _, err := readTile(l.dir, c, tileWidth)
	return bundle, err
}

// Close brings the tiles to disk and releases the log. It makes no checkpoint: entries that none covers are lost. It returns the log's failure, if it had one.
func (l *Log) Close() error {
	l.checkpointMu.Lock()
	defer l.checkpointMu.Unlock()
	l.mu.RLock()
	err := l.err
	l.mu.RUnlock()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	if err == nil {
		err = l.settle()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = ErrClosed
	return errors.Join(err, l.release())
}
