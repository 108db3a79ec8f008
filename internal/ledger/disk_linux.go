package ledger

import (
	"os"

	"golang.org/x/sys/unix"
)

// startWriting asks the kernel to begin writing a file out. Where many files are written before the first is synced, they
// then share one commit of the file system's journal. It promises nothing: the sync does.
func startWriting(f *os.File) error {
	return unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}
