package recording

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// bundleEntries is how many entries an entry bundle holds (C2SP tlog-tiles, "Entry bundles").
const bundleEntries = 256

// eachEntry reads the first size entries of a ledger's folder, without opening the ledger, which may be in use.
// The entry is valid until fn returns.
func eachEntry(dir string, size uint64, fn func(i uint64, entry []byte) error) error {
	for first := uint64(0); first < size; first += bundleEntries {
		width := min(bundleEntries, size-first)
		bundle, err := readBundle(dir, first/bundleEntries, int(width))
		if err != nil {
			return fmt.Errorf("reading the ledger's entries from %d: %w", first, err)
		}
		for i := range width {
			if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
				return fmt.Errorf("reading entry %d of the ledger: the bundle is cut short", first+i)
			}
			n := 2 + int(binary.BigEndian.Uint16(bundle))
			if err := fn(first+i, bundle[2:n]); err != nil {
				return err
			}
			bundle = bundle[n:]
		}
	}
	return nil
}

// readBundle reads a bundle that holds at least width entries: the full one, or a partial one, of which the log keeps
// the newest.
func readBundle(dir string, n uint64, width int) ([]byte, error) {
	path := filepath.Join(dir, "tile", "entries", bundlePath(n))
	b, err := os.ReadFile(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	for ; width < bundleEntries; width++ {
		b, err = os.ReadFile(filepath.Join(path+".p", strconv.Itoa(width)))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	return nil, err
}

// bundlePath writes 1234067 as x001/x234/067.
func bundlePath(n uint64) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = filepath.Join(fmt.Sprintf("x%03d", n%1000), path)
	}
	return path
}
