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
	edge   edge
	bundle []byte
	full   map[coord][]byte
	fresh  []byte
}

func (l *Log) snapshotLocked() snapshot {
	return snapshot{
		edge:   edge{size: l.edge.size, levels: slices.Clone(l.edge.levels)},
		bundle: l.bundle,
		full:   maps.Clone(l.full),
		fresh:  l.fresh,
	}
}

// Checkpoint brings all entries and a signed checkpoint of them to disk, and returns it: only then may anyone else be given it. The tiles
// are written before it, and are on disk later, see settle; until then the entries are twice there.
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
	if l.recent.at > l.recentBytes {
		if err := l.settle(); err != nil {
			return nil, err
		}
	}
	return slices.Clone(next), nil
}

// publish writes a snapshot, of which the first signed entries are covered, and its checkpoint. Whoever reads the folder finds a
// checkpoint only when its tiles are there; after a power cut that is so once Open has put back what the record has.
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
	if err := l.writeTiles(s, signed, l.writer.add); err != nil {
		return nil, err
	}
	if err := l.writer.add(checkpointFile+newSuffix, text); err != nil {
		return nil, err
	}
	if err := l.recent.append(record{first: signed, note: text, entries: s.fresh}); err != nil {
		return nil, err
	}
	if err := l.writer.rename(checkpointFile); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.coveredLocked(s)
	l.signed, l.note = now, text
	return text, nil
}

// coveredLocked lets go of what a checkpoint covers.
func (l *Log) coveredLocked(s snapshot) {
	for c := range s.full {
		delete(l.full, c)
	}
	l.fresh = append(l.fresh[:0], l.fresh[len(s.fresh):]...)
}

// settle brings the tiles to disk: from then on they need no record. It is called with checkpointMu.
func (l *Log) settle() error {
	size := l.signed.size
	if l.settled == size && len(l.writer.open) == 0 && !l.writer.many && l.recent.at > 0 {
		return nil
	}
	err := l.writer.commit()
	if err == nil {
		err = l.recent.restart(size, l.note)
	}
	if err != nil {
		return l.failed(fmt.Errorf("bringing ledger tiles to disk: %w", err))
	}
	old := l.settled
	l.settled = size
	if err := l.prune(old, size); err != nil {
		return fmt.Errorf("removing replaced partial tiles: %w", err)
	}
	return nil
}

// writeTiles gives add what is beyond the first signed entries: full tiles and bundles, then the partial ones of the edge.
func (l *Log) writeTiles(s snapshot, signed uint64, add func(path string, data []byte) error) error {
	order := slices.SortedFunc(maps.Keys(s.full), func(a, b coord) int {
		return cmp.Or(cmp.Compare(a.level, b.level), cmp.Compare(a.n, b.n))
	})
	for _, c := range order {
		if err := add(c.path(tileWidth), s.full[c]); err != nil {
			return err
		}
	}
	partial := func(c coord, data []byte) error { // unless it is empty or was the same in the last checkpoint
		if w := c.width(s.edge.size); w > 0 && w != c.width(signed) {
			return add(c.path(w), data)
		}
		return nil
	}
	if err := partial(coord{entryBundle, s.edge.size / tileWidth}, s.bundle); err != nil {
		return err
	}
	for level, data := range s.edge.levels {
		if err := partial(coord{level, s.edge.size >> (tileHeight * (level + 1))}, data); err != nil {
			return err
		}
	}
	return nil
}

// failed makes a failed sync, or one of a log that was left in doubt, final.
func (l *Log) failed(err error) error {
	var doubt *syncError
	if !errors.As(err, &doubt) {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = fmt.Errorf("ledger has stopped: %w", errors.Join(err, l.writer.abandon()))
	return l.err
}

// prune removes the partial tiles of a log of size old whose full tile a checkpoint of size covers (tlog-tiles «Partial Tiles»). Those of the
// settled log stay: from them Open goes on after a power cut.
func (l *Log) prune(old, size uint64) error {
	for level := entryBundle; size>>(tileHeight*(max(level, 0)+1)) > 0; level++ {
		c := coord{level, old >> (tileHeight * (max(level, 0) + 1))}
		if c.width(old) == 0 || c.width(size) < tileWidth || l.keepsPartial(c) {
			continue
		}
		if err := os.RemoveAll(filepath.Dir(filepath.Join(l.dir, c.path(1)))); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) keepsPartial(c coord) bool {
	w := c.width(l.settled)
	return w > 0 && w < tileWidth
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
