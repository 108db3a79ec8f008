package archive

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// spool holds files that are not whole yet. Its name is one that CheckName refuses, so nothing can be put there.
const spool = ".spool"

// staleAfter is the age at which an unfinished file belongs to nobody: a Put takes seconds.
const staleAfter = 24 * time.Hour

// Info is a file in the archive.
type Info struct {
	Name string
	Size int64 // bytes
}

// Folder is an archive in a directory. It is safe for concurrent use, also by several processes.
type Folder struct {
	root *os.Root
	// Fail, if set, is called before each step of Put with the step's name; its error ends the Put there, as a crash
	// would. For tests.
	Fail func(step string) error
}

// OpenFolder opens the archive in dir, which must exist. It writes nothing, so that an auditor can read a copy that is
// read-only.
func OpenFolder(dir string) (*Folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening archive: %w", err)
	}
	return &Folder{root: root}, nil
}

// Close releases the directory.
func (f *Folder) Close() error { return f.root.Close() }

// Put stores what r gives under name. When it returns nil, the file is on disk, whole, and will be found after a power
// cut. A name that is taken is refused with fs.ErrExist, and what is there stays as it is.
func (f *Folder) Put(name string, r io.Reader) error {
	if err := CheckName(name); err != nil {
		return err
	}
	tmp := path.Join(spool, rand.Text())
	if err := f.put(name, tmp, r); err != nil {
		return fmt.Errorf("putting %s into the archive: %w", name, err)
	}
	return nil
}

func (f *Folder) put(name, tmp string, r io.Reader) error {
	if err := f.root.MkdirAll(spool, 0o700); err != nil {
		return err
	}
	if err := f.fail("create"); err != nil {
		return err
	}
	if err := f.write(tmp, r); err != nil {
		return errors.Join(err, f.discard(tmp))
	}
	if err := f.fail("link"); err != nil {
		return err
	}
	if err := f.link(tmp, name); err != nil {
		return errors.Join(err, f.discard(tmp))
	}
	if err := f.fail("unlink"); err != nil {
		return err
	}
	return f.root.Remove(tmp)
}

// write makes the file and has it on disk.
func (f *Folder) write(tmp string, r io.Reader) error {
	file, err := f.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, r)
	if err == nil {
		err = f.fail("sync")
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// link gives the whole file its name, which fails if the name is taken, and has every directory above on disk: also
// those that were there, since the process that made one may have died before syncing it.
func (f *Folder) link(tmp, name string) error {
	if err := f.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	if err := f.root.Link(tmp, name); err != nil {
		return err
	}
	if err := f.fail("syncdir"); err != nil {
		return err
	}
	return f.syncAbove(name)
}

func (f *Folder) syncAbove(name string) error {
	for name != "." {
		name = path.Dir(name)
		dir, err := f.root.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
			return fmt.Errorf("syncing directory %s: %w", name, err)
		}
	}
	return nil
}

func (f *Folder) discard(tmp string) error {
	if err := f.root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Settle makes sure that name, which is there, stays there after a power cut. A Put that found its name taken by an
// earlier, interrupted Put of the same bytes calls it.
func (f *Folder) Settle(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return f.syncAbove(name)
}

// Open reads a file. A name that is not there is fs.ErrNotExist.
func (f *Folder) Open(name string) (io.ReadCloser, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	file, err := f.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening %s in the archive: %w", name, err)
	}
	return file, nil
}

// List returns the files whose names begin with prefix, sorted by name.
func (f *Folder) List(prefix string) ([]Info, error) {
	start := "."
	if i := strings.LastIndexByte(prefix, '/'); i > 0 {
		start = prefix[:i]
		if err := CheckName(start); err != nil {
			return nil, err
		}
	}
	var out []Info
	err := fs.WalkDir(f.root.FS(), start, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == start:
			return fs.SkipAll
		case err != nil:
			return err
		case name == spool:
			return fs.SkipDir
		case d.IsDir() || !strings.HasPrefix(name, prefix):
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		out = append(out, Info{Name: name, Size: info.Size()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the archive: %w", err)
	}
	return out, nil
}

// Clean removes what Puts that died a day or more before now have left. The gateway calls it when it starts.
func (f *Folder) Clean(now time.Time) error {
	entries, err := fs.ReadDir(f.root.FS(), spool)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cleaning the archive: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && now.Sub(info.ModTime()) >= staleAfter {
			err = f.discard(path.Join(spool, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cleaning the archive: %w", err)
		}
	}
	return nil
}

func (f *Folder) fail(step string) error {
	if f.Fail == nil {
		return nil
	}
	return f.Fail(step)
}
