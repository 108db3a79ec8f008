package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// snapshot is the log at one moment, as far as it is not on disk. Its bytes never change.
type snapshot struct {
	edge    edge
	bundle  []byte
	full    map[coord][]byte
	pending int
}

func (l *Log) snapshotLocked() snapshot {
	return snapshot{
		edge:    edge{size: l.edge.size, levels: slices.Clone(l.edge.levels)},
		bundle:  l.bundle,
		full:    maps.Clone(l.full),
		pending: l.pending,
	}
}

// Checkpoint brings all entries and tiles to disk, then a new signed checkpoint, and returns it: only then may anyone else be given it.
// Without new entries it returns the last one. Append goes on meanwhile; what it adds waits for the next checkpoint.
//
// A failed write (a full disk) leaves the last checkpoint in force and can be tried again; a failed sync is final.
func (l *Log) Checkpoint() ([]byte, error) {
	l.checkpointMu.Lock()
	defer l.checkpointMu.Unlock()
	l.mu.Lock()
	s, signed, current, err := l.snapshotLocked(), l.signed, l.note, l.err
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if s.edge.size == signed.size {
		return slices.Clone(current), nil
	}
	next, err := l.publish(s, signed.size)
	if err != nil {
		return nil, l.failed(fmt.Errorf("writing ledger checkpoint: %w", err))
	}
	if err := l.prune(signed.size, s.edge.size); err != nil {
		return nil, fmt.Errorf("removing replaced partial tiles: %w", err)
	}
	return slices.Clone(next), nil
}

// publish writes a snapshot, of which the first signed entries are on disk, and its checkpoint.
func (l *Log) publish(s snapshot, signed uint64) ([]byte, error) {
	root, err := s.edge.root()
	if err != nil {
		return nil, err
	}
	now := tree{size: s.edge.size, root: root}
	text, err := now.sign(l.signer)
	if err != nil {
		return nil, err
	}
	if err := l.writeTiles(s, signed); err != nil {
		return nil, err
	}
	if err := l.writer.replace(checkpointFile, text); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range s.full {
		delete(l.full, c)
	}
	l.pending -= s.pending
	l.signed, l.note = now, text
	return text, nil
}

func (l *Log) writeTiles(s snapshot, signed uint64) error {
	order := slices.SortedFunc(maps.Keys(s.full), func(a, b coord) int {
		return cmp.Or(cmp.Compare(a.level, b.level), cmp.Compare(a.n, b.n))
	})
	for _, c := range order {
		if err := l.writer.add(c.path(tileWidth), s.full[c]); err != nil {
			return err
		}
	}
	if err := l.writePartial(coord{entryBundle, s.edge.size / tileWidth}, s.edge.size, signed, s.bundle); err != nil {
		return err
	}
	for level, data := range s.edge.levels {
		c := coord{level, s.edge.size >> (tileHeight * (level + 1))}
		if err := l.writePartial(c, s.edge.size, signed, data); err != nil {
			return err
		}
	}
	return l.writer.commit()
}

// writePartial writes a tile of the edge, unless it is empty or was the same in the last checkpoint.
func (l *Log) writePartial(c coord, size, signed uint64, data []byte) error {
	w := c.width(size)
	if w == 0 || w == c.width(signed) {
		return nil
	}
	return l.writer.add(c.path(w), data)
}

// failed makes a failed sync, or one of a log that was left in doubt, final.
func (l *Log) failed(err error) error {
	err = errors.Join(err, l.writer.abandon())
	var doubt *syncError
	if !errors.As(err, &doubt) {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = fmt.Errorf("ledger has stopped: %w", err)
	return l.err
}

// prune removes the partial tiles whose full tile the new checkpoint covers (tlog-tiles «Partial Tiles»).
func (l *Log) prune(old, size uint64) error {
	for level := entryBundle; size>>(tileHeight*(max(level, 0)+1)) > 0; level++ {
		c := coord{level, old >> (tileHeight * (max(level, 0) + 1))}
		if c.width(old) == 0 || c.width(size) < tileWidth {
			continue
		}
		if err := os.RemoveAll(filepath.Dir(filepath.Join(l.dir, c.path(1)))); err != nil {
			return err
		}
	}
	return nil
}

// Inclusion proves that entry i is in the log of the given size, which is at most Size. Check it with tlog.CheckRecord.
func (l *Log) Inclusion(i, size uint64) (tlog.RecordProof, error) {
	if size > l.Size() || i >= size {
		return nil, fmt.Errorf("proving ledger entry %d in a log of %d: the log has %d", i, size, l.Size())
	}
	p, err := tlog.ProveRecord(int64(size), int64(i), hashReader(l.tile))
	if err != nil {
		return nil, fmt.Errorf("proving ledger entry %d: %w", i, err)
	}
	return p, nil
}

// Consistency proves that the log of size old, at least 1, is the beginning of the log of the given size, which is at most Size.
// Check it with tlog.CheckTree.
func (l *Log) Consistency(old, size uint64) (tlog.TreeProof, error) {
	if size > l.Size() || old > size || old == 0 {
		return nil, fmt.Errorf("proving that a log of %d begins one of %d: the log has %d", old, size, l.Size())
	}
	p, err := tlog.ProveTree(int64(size), int64(old), hashReader(l.tile))
	if err != nil {
		return nil, fmt.Errorf("proving ledger consistency from %d to %d: %w", old, size, err)
	}
	return p, nil
}

// tile returns at least w hashes of a tile.
func (l *Log) tile(c coord, w int) ([]byte, error) {
	l.mu.RLock()
	data, inMemory := l.edge.tile(c)
	if !inMemory {
		data, inMemory = l.full[c]
	}
	l.mu.RUnlock()
	if inMemory {
		return data, nil
	}
	data, _, err := readTile(l.dir, c, tileWidth)
	return data, err
}
