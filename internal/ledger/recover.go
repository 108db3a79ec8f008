package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"
)

// Recovery is what Open found and did.
type Recovery struct {
	Size uint64 // of the last checkpoint, and of the log after Open: from here on entries have to be appended again
	// Cut lists the files of tiles and bundles that lay beyond the checkpoint, by their path in the log's folder. Nil after a clean end.
	Cut []string
	// CutTo is the folder to which they were moved, in the log's folder. They were never signed and prove nothing; they are kept
	// because an older checkpoint put in the place of the last one would look the same.
	CutTo string
	// Replayed is how many checkpoints were made again, because the process or the machine died before their tiles were known to be on disk.
	Replayed int
}

func (l *Log) recoverLog() error {
	records, err := readRecent(l.dir)
	if err != nil {
		return err
	}
	if l.recent, err = openRecent(l.dir, l.writer.fail); err != nil {
		return err
	}
	if err := l.load(records); err != nil {
		return err
	}
	l.recovered.Size = l.signed.size
	if err := l.cut(l.signed.size); err != nil {
		return err
	}
	return l.settle()
}

// load takes up the newest checkpoint: that of the folder, or one that only its record has, as after a power cut.
func (l *Log) load(records []record) error {
	signed, err := readLimited(filepath.Join(l.dir, checkpointFile), maxCheckpointBytes)
	if errors.Is(err, fs.ErrNotExist) && len(records) == 0 {
		return l.begin()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	published, damage := openCheckpoint(signed, ownVerifier{l.signer})
	if len(records) > 1 {
		last, err := records[len(records)-1].tree(ownVerifier{l.signer})
		if err != nil {
			return err
		}
		if damage != nil || last.size >= published.size {
			return l.replay(records, last, published, damage)
		}
	}
	if damage != nil {
		return &Damage{Kind: DamagedCheckpoint, Path: checkpointFile, Detail: damage.Error()}
	}
	return l.resume(published, signed, records)
}

// resume goes on from the folder's checkpoint.
func (l *Log) resume(published tree, signed []byte, records []record) error {
	if err := syncDir(l.dir); err != nil { // its writer may have died before that
		return fmt.Errorf("syncing ledger folder: %w", err)
	}
	if len(records) > 0 {
		base, err := records[0].tree(ownVerifier{l.signer})
		if err != nil {
			return err
		}
		if err := compareBase(published, base); err != nil {
			return err
		}
	}
	l.signed, l.note, l.settled = published, signed, published.size
	l.writer.many = l.writer.all != nil // without its records nobody knows whether the tiles are on disk
	return l.loadEdge(published)
}

// compareBase compares the folder's checkpoint with the one that was on disk before the first record was begun.
func compareBase(published, base tree) error {
	switch {
	case published.size < base.size:
		return &Damage{Kind: DamagedTail, First: published.size, End: base.size, Path: checkpointFile,
			Detail: fmt.Sprintf("it is an older one, of %d entries: one of %d was on disk", published.size, base.size)}
	case published.size == base.size && published.root != base.root:
		return &Damage{Kind: DamagedHistory, End: base.size, Path: checkpointFile, Detail: "another one of the same size was signed"}
	}
	return nil
}

// replay brings the log from the first record, whose tiles are on disk, to the last: as if each of its checkpoints were made again.
func (l *Log) replay(records []record, last, published tree, unreadable error) error {
	base, err := records[0].tree(ownVerifier{l.signer})
	if err != nil {
		return err
	}
	if unreadable == nil {
		if err := compareBase(published, base); err != nil {
			return err
		}
	}
	l.signed, l.settled = base, base.size
	if err := l.loadEdge(base); err != nil {
		return err
	}
	if err := l.checkRecords(records[1:], last); err != nil {
		return err
	}
	for _, r := range records[1:] {
		if err := l.replayRecord(r); err != nil {
			return err
		}
	}
	l.signed, l.note = last, records[len(records)-1].note
	l.recovered.Replayed = len(records) - 1
	return l.writer.replace(checkpointFile, l.note)
}

// checkRecords checks all entries against the last checkpoint, before anything is written.
func (l *Log) checkRecords(records []record, last tree) error {
	e := edge{size: l.edge.size}
	for _, data := range l.edge.levels {
		e.levels = append(e.levels, bytes.Clone(data))
	}
	for _, r := range records {
		for b := r.entries; len(b) > 0; {
			entry, rest, err := cutEntry(b)
			if err != nil {
				return err
			}
			e.add(l.hasher.sum(entry), func(coord, []byte) {})
			b = rest
		}
	}
	root, err := e.root()
	if err != nil {
		return err
	}
	if root != last.root {
		return &Damage{Kind: DamagedEntry, First: l.edge.size, End: last.size, Path: recentFile, Detail: "its entries are not what its last checkpoint signed"}
	}
	return nil
}

func (l *Log) replayRecord(r record) error {
	for b := r.entries; len(b) > 0; {
		entry, rest, err := cutEntry(b)
		if err != nil {
			return err
		}
		l.addCoveredLocked(entry)
		b = rest
	}
	s, before := l.snapshotLocked(), l.signed.size
	if err := l.writeTiles(s, before, l.writer.add); err != nil {
		return err
	}
	l.coveredLocked(s)
	l.signed.size = s.edge.size
	return l.prune(before, s.edge.size)
}

// begin makes the first checkpoint, unless there are entries: then there was one.
func (l *Log) begin() error {
	_, err := os.Lstat(filepath.Join(l.dir, "tile"))
	if err == nil {
		return &Damage{Kind: DamagedCheckpoint, Path: checkpointFile, Detail: "it is gone, but there are tiles"}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	root, err := tlog.TreeHash(0, nil)
	if err != nil {
		return err
	}
	l.signed = tree{root: root}
	if l.note, err = l.signed.sign(l.signer); err != nil {
		return err
	}
	if _, err := openCheckpoint(l.note, ownVerifier{l.signer}); err != nil {
		return fmt.Errorf("signer cannot be used for a log: %w", err)
	}
	return l.writer.replace(checkpointFile, l.note)
}

// loadEdge reads the incomplete tiles and the incomplete bundle, and checks them against the checkpoint.
func (l *Log) loadEdge(t tree) error {
	l.edge.size = t.size
	for level := 0; t.size>>(tileHeight*level) > 0; level++ {
		data, err := l.loadPartial(coord{level, t.size >> (tileHeight * (level + 1))}, t.size)
		if err != nil {
			return err
		}
		l.edge.levels = append(l.edge.levels, data)
	}
	root, err := l.edge.root()
	if err != nil {
		return err
	}
	if root != t.root {
		return &Damage{Kind: DamagedTile, End: t.size, Detail: "the right edge of the tree is not what the checkpoint signed"}
	}
	c := coord{entryBundle, t.size / tileWidth}
	if l.bundle, err = l.loadPartial(c, t.size); err != nil {
		return err
	}
	return l.checkBundle(c, l.bundle, t.size)
}

// loadPartial reads a tile of the edge. Where only the full tile is there, because the log was once longer than its checkpoint says,
// the partial one is written again.
func (l *Log) loadPartial(c coord, size uint64) ([]byte, error) {
	w := c.width(size)
	if w == 0 {
		return nil, nil
	}
	data, exact, err := readTile(l.dir, c, w)
	if err != nil {
		return nil, &Damage{Kind: DamagedTile, First: c.first(), End: c.end(w), Path: c.path(w), Detail: err.Error()}
	}
	if exact {
		return data, nil
	}
	if data, err = firstEntries(c, data, w); err != nil {
		return nil, &Damage{Kind: DamagedTile, First: c.first(), End: c.end(w), Path: c.path(tileWidth), Detail: err.Error()}
	}
	if err := l.writer.add(c.path(w), data); err != nil {
		return nil, err
	}
	return data, l.writer.commit()
}

// firstEntries cuts a full bundle down to w entries; a tile is cut already.
func firstEntries(c coord, data []byte, w int) ([]byte, error) {
	if c.level != entryBundle {
		return data, nil
	}
	rest := data
	for range w {
		var err error
		if _, rest, err = cutEntry(rest); err != nil {
			return nil, err
		}
	}
	return bytes.Clone(data[:len(data)-len(rest)]), nil
}

// checkBundle compares the edge's bundle with the edge's leaves.
func (l *Log) checkBundle(c coord, bundle []byte, size uint64) error {
	for i := range c.width(size) {
		entry, rest, err := cutEntry(bundle)
		at := c.first() + uint64(i)
		if err != nil {
			return &Damage{Kind: DamagedEntry, First: at, End: at + 1, Path: c.path(c.width(size)), Detail: err.Error()}
		}
		if leaf := l.hasher.sum(entry); !bytes.Equal(leaf[:], l.edge.levels[0][i*tlog.HashSize:][:tlog.HashSize]) {
			return &Damage{Kind: DamagedEntry, First: at, End: at + 1, Path: c.path(c.width(size)), Detail: "it does not match its hash"}
		}
		bundle = rest
	}
	if len(bundle) > 0 {
		return &Damage{Kind: DamagedEntry, First: size, End: size + 1, Path: c.path(c.width(size)), Detail: "the bundle goes on after its last entry"}
	}
	return nil
}

// cut moves away what no checkpoint covers.
func (l *Log) cut(size uint64) error {
	beyond, err := findBeyond(l.dir, size)
	if err != nil || len(beyond) == 0 {
		return err
	}
	if err := l.writer.folder(filepath.Join(l.dir, "cut")); err != nil {
		return err
	}
	to, err := os.MkdirTemp(filepath.Join(l.dir, "cut"), fmt.Sprintf("at-%d-", size))
	if err != nil {
		return fmt.Errorf("cutting ledger: %w", err)
	}
	for _, path := range beyond {
		if err := l.writer.folder(filepath.Dir(filepath.Join(to, path))); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(l.dir, path), filepath.Join(to, path)); err != nil {
			return fmt.Errorf("cutting ledger: %w", err)
		}
		l.writer.touched[filepath.Dir(filepath.Join(to, path))] = true
		l.writer.touched[filepath.Dir(filepath.Join(l.dir, path))] = true
	}
	l.recovered.Cut = beyond
	l.recovered.CutTo = filepath.Join("cut", filepath.Base(to))
	return l.writer.commit()
}

// findBeyond lists the tiles and bundles that hold anything after the first size entries.
func findBeyond(dir string, size uint64) ([]string, error) {
	var beyond []string
	err := filepath.WalkDir(filepath.Join(dir, "tile"), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if c, w, ok := parsePath(rel); ok && c.end(w) > size {
			beyond = append(beyond, rel)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for tiles beyond the checkpoint: %w", err)
	}
	return beyond, nil
}
