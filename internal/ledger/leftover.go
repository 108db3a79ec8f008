package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Leftovers lists the folders, by their path in the log's folder, to which Open moved what no checkpoint covers, and which
// are from before before. They are no part of the log.
func Leftovers(dir string, before time.Time) ([]string, error) {
	all, err := os.ReadDir(filepath.Join(dir, "cut"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing what was cut off the ledger: %w", err)
	}
	var out []string
	for _, e := range all {
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("listing what was cut off the ledger: %w", err)
		}
		if info.ModTime().Before(before) {
			out = append(out, filepath.Join("cut", e.Name()))
		}
	}
	return out, nil
}
