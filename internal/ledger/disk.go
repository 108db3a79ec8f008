package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrLocked is returned by Open while another process has the log open.
var ErrLocked = errors.New("ledger is in use by another process")

func lockFolder(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening ledger lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	return nil, errors.Join(fmt.Errorf("locking ledger: %w", err), f.Close())
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("reading %s: more than %d bytes", filepath.Base(path), limit)
	}
	return data, nil
}

// readTile reads the first w hashes or entries of a tile or bundle: from the partial one of that width, or else from the full one,
// which replaces it once there (tlog-tiles «Partial Tiles»). exact says which. A bundle may have more than w entries if it is not exact.
func readTile(dir string, c coord, w int) (data []byte, exact bool, err error) {
	limit := int64(tileBytes)
	if c.level == entryBundle {
		limit = maxBundleBytes
	}
	exact = true
	data, err = readLimited(filepath.Join(dir, c.path(w)), limit)
	if errors.Is(err, fs.ErrNotExist) && w < tileWidth {
		exact = false
		data, err = readLimited(filepath.Join(dir, c.path(tileWidth)), limit)
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading %s: %w", c.path(w), err)
	}
	if c.level == entryBundle {
		return data, exact, nil
	}
	if exact && len(data) != w*tlog.HashSize || !exact && len(data) != tileBytes {
		return nil, false, fmt.Errorf("reading %s: it has %d bytes", c.path(w), len(data))
	}
	return data[:w*tlog.HashSize], exact, nil
}

// writer puts files on disk: first their content, then the names.
type writer struct {
	dir     string
	fail    func(point string) error
	folders map[string]bool // known to exist, on disk up to those in touched
	touched map[string]bool // has names that are not on disk yet
	open    []*os.File
}

// openAtOnce bounds the files that are written before the first is synced: one commit of the file system's journal then serves many.
const openAtOnce = 64

func newWriter(dir string, fail func(point string) error) *writer {
	if fail == nil {
		fail = func(string) error { return nil }
	}
	return &writer{dir: dir, fail: fail, folders: map[string]bool{dir: true}, touched: map[string]bool{}}
}

// syncError marks a failure after which nobody knows what is on disk.
type syncError struct{ cause error }

func (e *syncError) Error() string { return "syncing: " + e.cause.Error() }
func (e *syncError) Unwrap() error { return e.cause }

// add writes a file; it is on disk after commit.
func (w *writer) add(path string, data []byte) error {
	if err := w.fail("write " + path); err != nil {
		return err
	}
	full := filepath.Join(w.dir, path)
	if err := w.folder(filepath.Dir(full)); err != nil {
		return err
	}
	f, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("writing ledger: %w", err)
	}
	w.touched[filepath.Dir(full)] = true
	w.open = append(w.open, f)
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("writing ledger: %w", err)
	}
	if err := startWriting(f); err != nil {
		return &syncError{err}
	}
	if len(w.open) < openAtOnce {
		return nil
	}
	return w.syncOpen()
}

// folder makes a folder and those above it.
func (w *writer) folder(dir string) error {
	if w.folders[dir] {
		return nil
	}
	if err := w.folder(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("writing ledger: %w", err)
	}
	w.folders[dir] = true
	w.touched[filepath.Dir(dir)] = true
	return nil
}

func (w *writer) syncOpen() error {
	for len(w.open) > 0 {
		f := w.open[0]
		w.open = w.open[1:]
		err := w.fail("sync " + f.Name())
		if err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return &syncError{err}
		}
	}
	return nil
}

// commit brings everything added to disk, names included.
func (w *writer) commit() error {
	if err := w.syncOpen(); err != nil {
		return err
	}
	for dir := range w.touched {
		err := w.fail("syncdir " + dir)
		if err == nil {
			err = syncDir(dir)
		}
		if err != nil {
			return &syncError{err}
		}
		delete(w.touched, dir)
	}
	return nil
}

// abandon closes what a failure left open.
func (w *writer) abandon() error {
	var errs []error
	for _, f := range w.open {
		errs = append(errs, f.Close())
	}
	w.open = nil
	return errors.Join(errs...)
}

// replace puts a file in the place of another, atomically and on disk.
func (w *writer) replace(path string, data []byte) error {
	if err := w.add(path+".new", data); err != nil {
		return err
	}
	if err := w.syncOpen(); err != nil {
		return err
	}
	if err := w.fail("rename " + path); err != nil {
		return err
	}
	full := filepath.Join(w.dir, path)
	if err := os.Rename(full+".new", full); err != nil {
		return fmt.Errorf("writing ledger: %w", err)
	}
	return w.commit()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
