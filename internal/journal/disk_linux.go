package journal

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// syncData brings the file's content, and as much of its metadata as reading it needs, to disk.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// dropCache makes the next read come from the disk. After a sync that failed in a process now dead, the kernel may
// hold pages that it calls clean and that never reached the disk.
func dropCache(f *os.File) error {
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("dropping cached pages: %w", err)
	}
	return nil
}
