package ledger

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Report is what Verify has checked.
type Report struct {
	Origin string
	Size   uint64    // that the log's checkpoint signs
	Root   tlog.Hash // that the log's checkpoint signs
	Known  int       // how many checkpoints kept elsewhere the log agrees with
}

// Verify checks a log offline: it recomputes the tree from the entries and compares it with the stored tiles, with the signed checkpoint
// and with known, checkpoints of the same log that were kept elsewhere. v holds the log's public key. The log may be in use meanwhile.
//
// A log that is not what was signed is a *Damage, which names the first entry that was touched, as closely as what is left proves it. Any other
// error means that the log could not be checked, for example because a known checkpoint is not one of this log. The report is not nil
// if the log's checkpoint could be read. It is only a success if the error is nil.
func Verify(dir string, v note.Verifier, known ...[]byte) (*Report, error) {
	trusted, err := openKnown(v, known)
	var foreign *Damage
	if err != nil && !errors.As(err, &foreign) {
		return nil, err
	}
	signed, err := readLimited(filepath.Join(dir, checkpointFile), maxCheckpointBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Damage{Kind: DamagedCheckpoint, End: largest(trusted), Path: checkpointFile, Detail: "it is gone"}
	}
	if err != nil {
		return nil, fmt.Errorf("verifying ledger: %w", err)
	}
	t, err := openCheckpoint(signed, v)
	if err != nil {
		return nil, &Damage{Kind: DamagedCheckpoint, End: largest(trusted), Path: checkpointFile, Detail: unsigned(err)}
	}
	if foreign != nil {
		return nil, foreign
	}
	c := &check{dir: dir, signed: t, known: trusted}
	report := &Report{Origin: v.Name(), Size: t.size, Root: t.root}
	if err := c.run(); err != nil {
		return report, unsettled(dir, err)
	}
	report.Known = len(trusted)
	return report, nil
}

// unsigned says why a checkpoint is not the log's.
func unsigned(err error) string {
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		return "it is not signed by this public key: the checkpoint or the key was exchanged"
	}
	return err.Error()
}

// unsettled adds to a damage what else than a hand can have done it. It stays one: what cannot be told apart is not whole.
func unsettled(dir string, err error) error {
	var d *Damage
	if records, reading := readRecent(dir); errors.As(err, &d) && reading == nil && len(records) > 1 {
		d.Detail += "; the log is in use or was not closed: if the machine lost power, opening it makes this good from its file " + recentFile
	}
	return err
}

// openKnown returns the known checkpoints, smallest first. One that is signed by another key is a *Damage: that is what a log begun anew
// under a new key looks like.
func openKnown(v note.Verifier, known [][]byte) ([]tree, error) {
	var trees []tree
	for i, k := range known {
		t, err := openCheckpoint(k, v)
		var unverified *note.UnverifiedNoteError
		if errors.As(err, &unverified) {
			return nil, &Damage{Kind: DamagedKey, Detail: fmt.Sprintf("checkpoint %d of %d kept elsewhere is not signed by this public key: it is of another log, or the key and all that it signs were exchanged", i+1, len(known))}
		}
		if err != nil {
			return nil, fmt.Errorf("reading known checkpoint %d of %d: %w", i+1, len(known), err)
		}
		trees = append(trees, t)
	}
	slices.SortStableFunc(trees, func(a, b tree) int { return cmp.Compare(a.size, b.size) })
	return trees, nil
}

func largest(known []tree) uint64 {
	if len(known) == 0 {
		return 0
	}
	return known[len(known)-1].size
}

// check is one verification: first the tree is computed from the entries, bottom up.
type check struct {
	dir    string
	signed tree
	known  []tree

	edge     edge
	hasher   leafHasher
	agreed   uint64  // size of the largest known tree that the entries agree with, so far
	rewrite  *Damage // the first known tree that they do not agree with
	tile     *Damage // the first tile that is not what the entries make it
	unusable *Damage // the first entry that cannot be read: the entries before it were
}

func (c *check) run() error {
	if err := c.scan(); err != nil {
		return err
	}
	if c.unusable == nil {
		root, err := c.edge.root()
		if err != nil {
			return err
		}
		if root == c.signed.root {
			return c.judge()
		}
	}
	return c.locate()
}

// judge is for entries that all are what the log's checkpoint signs.
func (c *check) judge() error {
	switch end := largest(c.known); {
	case c.rewrite != nil:
		return c.rewrite
	case end > c.signed.size:
		return &Damage{Kind: DamagedTail, First: c.signed.size, End: end,
			Detail: fmt.Sprintf("the log's checkpoint covers %d entries, one kept elsewhere %d", c.signed.size, end)}
	case c.tile != nil:
		return c.tile
	}
	return c.leftovers()
}

// leftovers checks what only readers of older checkpoints read: partial tiles, which must begin those that there are now. What lies beyond
// the checkpoint may be on its way.
func (c *check) leftovers() error {
	return filepath.WalkDir(filepath.Join(c.dir, "tile"), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // replaced meanwhile
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(c.dir, path)
		if err != nil {
			return err
		}
		at, w, ok := parsePath(rel)
		switch {
		case !ok:
			return &Damage{Kind: DamagedTile, End: c.signed.size, Path: rel, Detail: "no file of this name belongs to the log"}
		case w == tileWidth, at.end(w) > c.signed.size, w == at.width(c.signed.size):
			return nil
		}
		return c.leftover(at, w)
	})
}

func (c *check) leftover(at coord, w int) error {
	there, exact, err := readTile(c.dir, at, w)
	if err != nil || !exact { // replaced meanwhile
		return ignoreGone(err)
	}
	now, _, err := readTile(c.dir, at, at.width(c.signed.size))
	if err != nil {
		return ignoreGone(err)
	}
	if at.level != entryBundle {
		now = now[:w*tlog.HashSize]
	} else if now, err = firstEntries(at, now, w); err != nil {
		return err
	}
	if !bytes.Equal(there, now) {
		return &Damage{Kind: DamagedTile, First: at.first(), End: at.end(w), Path: at.path(w), Detail: "it is not how the tile that has replaced it begins"}
	}
	return nil
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// scan reads all entries up to the first that cannot be read.
func (c *check) scan() error {
	if err := c.compareKnown(); err != nil {
		return err
	}
	for n := uint64(0); n*tileWidth < c.signed.size; n++ {
		at := coord{entryBundle, n}
		bundle, exact, damage := c.readBundle(at)
		if damage == nil {
			var err error
			if damage, err = c.scanBundle(at, bundle, exact); err != nil {
				return err
			}
		}
		if damage != nil {
			c.unusable = damage
			return nil
		}
	}
	c.compareEdge()
	return nil
}

func (c *check) readBundle(at coord) (bundle []byte, exact bool, _ *Damage) {
	w := at.width(c.signed.size)
	bundle, exact, err := readTile(c.dir, at, w)
	if err != nil {
		return nil, false, &Damage{Kind: DamagedEntry, First: at.first(), End: at.first() + 1, Path: at.path(w), Detail: err.Error()}
	}
	return bundle, exact, nil
}

// scanBundle adds a bundle's entries to the tree.
func (c *check) scanBundle(at coord, bundle []byte, exact bool) (*Damage, error) {
	w := at.width(c.signed.size)
	for range w {
		i := c.edge.size
		entry, rest, err := cutEntry(bundle)
		if err != nil {
			return &Damage{Kind: DamagedEntry, First: i, End: i + 1, Path: at.path(w), Detail: err.Error()}, nil
		}
		bundle = rest
		c.edge.add(c.hasher.sum(entry), c.compareFull)
		if err := c.compareKnown(); err != nil {
			return nil, err
		}
	}
	if exact && len(bundle) > 0 {
		last := at.end(w) - 1
		return &Damage{Kind: DamagedEntry, First: last, End: last + 1, Path: at.path(w), Detail: fmt.Sprintf("the bundle goes on for %d bytes after its last entry", len(bundle))}, nil
	}
	return nil, nil
}

// compareKnown compares the tree so far with the known ones of its size.
func (c *check) compareKnown() error {
	size := c.edge.size
	i, found := slices.BinarySearchFunc(c.known, size, func(t tree, size uint64) int { return cmp.Compare(t.size, size) })
	if !found || c.rewrite != nil {
		return nil
	}
	root, err := c.edge.root()
	if err != nil {
		return err
	}
	for ; i < len(c.known) && c.known[i].size == size; i++ {
		if c.known[i].root != root {
			c.rewrite = &Damage{Kind: DamagedHistory, First: c.agreed, End: max(size, c.agreed+1),
				Detail: fmt.Sprintf("the first %d entries are not those of the checkpoint kept elsewhere", size)}
			return nil
		}
	}
	c.agreed = size
	return nil
}

func (c *check) compareFull(at coord, data []byte) { c.compareTile(at, tileWidth, data) }

func (c *check) compareEdge() {
	for level, data := range c.edge.levels {
		at := coord{level, c.edge.size >> (tileHeight * (level + 1))}
		if w := at.width(c.edge.size); w > 0 {
			c.compareTile(at, w, data)
		}
	}
}

// compareTile compares a computed tile with the stored one.
func (c *check) compareTile(at coord, w int, data []byte) {
	stored, _, err := readTile(c.dir, at, w)
	detail := "it is not what the entries hash to"
	switch {
	case err != nil:
		detail = err.Error()
	case bytes.Equal(stored, data):
		return
	}
	if c.tile == nil || at.first() < c.tile.First {
		c.tile = &Damage{Kind: DamagedTile, First: at.first(), End: at.end(w), Path: at.path(w), Detail: detail}
	}
}
