package ledger

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// startWriting asks the kernel to begin writing a file out. Where many files are written before the first is synced, they
// then share one commit of the file system's journal. It promises nothing: the sync does.
func startWriting(f *os.File) error {
	return unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}

// syncData brings the file's content, and as much of its metadata as reading it needs, to disk.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// openAll opens the folder for syncAll, or returns nil where that is not to be trusted: before Linux 5.8 syncfs does not report
// failures of writing, and some file systems (FUSE) do nothing at all.
func openAll(dir string) (*os.File, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, fmt.Errorf("asking for the ledger's file system: %w", err)
	}
	known := []int64{unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC}
	if !slices.Contains(known, int64(fs.Type)) || !reportsSyncAll() {
		return nil, nil
	}
	return os.Open(dir)
}

func reportsSyncAll() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var major, minor int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); n < 2 {
		return false
	}
	return major > 5 || major == 5 && minor >= 8
}

// syncAll brings everything on the file system of the folder to disk. The folder was opened before the first write, so that
// a failure of any since then is reported.
func syncAll(folder *os.File) error { return unix.Syncfs(int(folder.Fd())) }
