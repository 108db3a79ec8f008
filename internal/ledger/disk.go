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

// writer puts files into the log's folder. They are on disk, names included, after commit.
type writer struct {
	dir     string
	fail    func(point string) error
	folders map[string]bool // known to exist, on disk up to those in touched
	touched map[string]bool // has names that are not on disk yet
	open    []*os.File      // written, not on disk yet
	all     *os.File        // the folder, where its whole file system can be synced by one call that reports failures; else nil
	many    bool            // more was written than open has: all has to be synced
}

// openAtOnce bounds the files that are open until they are synced.
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
	_, err = f.Write(data)
	if err := errors.Join(err, w.keep(f)); err != nil {
		return fmt.Errorf("writing ledger: %w", err)
	}
	return nil
}

// keep holds a file open until it is synced, as far as there is room.
func (w *writer) keep(f *os.File) error {
	if len(w.open) >= openAtOnce && w.all != nil {
		w.many = true
		return f.Close()
	}
	w.open = append(w.open, f)
	if len(w.open) <= openAtOnce {
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

// syncOpen has all writes begin before it waits for the first: they then share one commit of the file system's journal.
func (w *writer) syncOpen() error {
	for _, f := range w.open {
		if err := startWriting(f); err != nil {
			return &syncError{err}
		}
	}
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

// commit brings everything added to disk, names included: file by file, or all at once where they are many.
func (w *writer) commit() error {
	if w.many {
		return w.commitAll()
	}
	if err := w.syncOpen(); err != nil {
		return err
	}
	for dir := range w.touched {
		err := w.fail("syncdir " + dir)
		if err == nil {
			err = syncDir(dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a folder of partial tiles that full ones have replaced is gone
			return &syncError{err}
		}
		delete(w.touched, dir)
	}
	return nil
}

func (w *writer) commitAll() error {
	err := w.fail("syncall")
	if err == nil {
		err = syncAll(w.all)
	}
	if err = errors.Join(err, w.closeOpen()); err != nil {
		return &syncError{err}
	}
	w.many = false
	clear(w.touched)
	return nil
}

func (w *writer) closeOpen() error {
	var errs []error
	for _, f := range w.open {
		errs = append(errs, f.Close())
	}
	w.open = nil
	return errors.Join(errs...)
}

// abandon closes everything.
func (w *writer) abandon() error {
	err := w.closeOpen()
	if w.all != nil {
		err = errors.Join(err, w.all.Close())
		w.all = nil
	}
	return err
}

// replace puts a file in the place of another, atomically and on disk.
func (w *writer) replace(path string, data []byte) error {
	if err := w.add(path+newSuffix, data); err != nil {
		return err
	}
	if err := w.commit(); err != nil {
		return err
	}
	if err := w.rename(path); err != nil {
		return err
	}
	return w.commit()
}

// newSuffix is that of a file which is to replace another.
const newSuffix = ".new"

// rename puts a file added with newSuffix in its place. After a failure nobody knows which of the two is there.
func (w *writer) rename(path string) error {
	if err := w.fail("rename " + path); err != nil {
		return &syncError{err}
	}
	full := filepath.Join(w.dir, path)
	if err := os.Rename(full+newSuffix, full); err != nil {
		return &syncError{err}
	}
	w.touched[filepath.Dir(full)] = true
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
