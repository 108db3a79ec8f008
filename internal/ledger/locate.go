package ledger

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// locate finds the first entry that was touched, given that not all are what the checkpoint signs: top down, from the signed root
// to the leaf hashes that the stored tiles prove, and from there to the entries.
func (c *check) locate() error {
	reader := tlog.TileHashReader(tlog.Tree{N: int64(c.signed.size), Hash: c.signed.root}, storedTiles{c.dir})
	for n := uint64(0); n*tileWidth < c.signed.size; n++ {
		if d := c.locateIn(coord{0, n}, reader); d != nil {
			return d
		}
	}
	return &Damage{Kind: DamagedEntry, End: c.signed.size, Detail: "the entries do not hash to the signed root"}
}

// locateIn looks for it among the entries of one tile of level 0.
func (c *check) locateIn(at coord, reader tlog.HashReader) *Damage {
	computed, broken := c.leaves(at)
	proven, err := readLeaves(reader, at, at.width(c.signed.size))
	if err != nil {
		return c.locateUnproven(at, computed, broken, reader)
	}
	for i, h := range computed {
		if h != proven[i] {
			return entryDamage(at, i, c.signed.size, "it does not match its hash")
		}
	}
	return broken
}

// leaves hashes the entries of a bundle, up to the first that cannot be read.
func (c *check) leaves(at coord) ([]tlog.Hash, *Damage) {
	bundle, _, broken := c.readBundle(coord{entryBundle, at.n})
	if broken != nil {
		return nil, broken
	}
	var hashes []tlog.Hash
	for i := range at.width(c.signed.size) {
		entry, rest, err := cutEntry(bundle)
		if err != nil {
			return hashes, entryDamage(at, i, c.signed.size, err.Error())
		}
		hashes, bundle = append(hashes, c.hasher.sum(entry)), rest
	}
	if c.unusable != nil && c.unusable.First == at.first()+uint64(len(hashes))-1 {
		return hashes, c.unusable // what follows the last entry
	}
	return hashes, nil
}

// locateUnproven is for a tile that the signed root does not prove. If the tile above is proven, it tells whether the entries are whole.
func (c *check) locateUnproven(at coord, computed []tlog.Hash, broken *Damage, reader tlog.HashReader) *Damage {
	w := at.width(c.signed.size)
	if at.end(w) <= c.agreed { // a known checkpoint proves these entries
		return nil
	}
	end, above := c.signed.size, false
	if c.rewrite != nil {
		end = min(end, c.rewrite.End)
	}
	if w == tileWidth {
		parent, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(tileHeight, int64(at.n))})
		if err == nil {
			end, above = min(end, at.end(w)), true
		}
		if above && broken == nil && hashOf(computed) == parent[0] {
			return nil
		}
	}
	if d := c.contradicted(at, computed); d != nil {
		return d
	}
	switch {
	case broken != nil:
		d := *broken
		d.Detail += "; the tiles that prove the entries before it are damaged too, only a checkpoint kept elsewhere can"
		return &d
	case !above && c.unusable != nil: // nothing is seen here, and something is seen further on
		return nil
	}
	return &Damage{Kind: DamagedEntry, First: max(at.first(), c.agreed), End: end, Path: coord{entryBundle, at.n}.path(w),
		Detail: "entries and hash tiles agree with each other, but not with what was signed"}
}

// contradicted compares entries with a stored tile that nothing proves.
func (c *check) contradicted(at coord, computed []tlog.Hash) *Damage {
	stored, _, err := readTile(c.dir, at, at.width(c.signed.size))
	if err != nil {
		return nil // and so it contradicts nothing
	}
	for i, h := range computed {
		if at.first()+uint64(i) >= c.agreed && h != tlog.Hash(stored[i*tlog.HashSize:][:tlog.HashSize]) {
			return entryDamage(at, i, c.signed.size, "it does not match its hash, and the hash is not proven either")
		}
	}
	return nil
}

func entryDamage(at coord, i int, size uint64, detail string) *Damage {
	index := at.first() + uint64(i)
	return &Damage{Kind: DamagedEntry, First: index, End: index + 1, Path: coord{entryBundle, at.n}.path(at.width(size)), Detail: detail}
}

func hashOf(leaves []tlog.Hash) tlog.Hash {
	var data []byte
	for _, h := range leaves {
		data = append(data, h[:]...)
	}
	return subtree(data)
}

// readLeaves returns the hashes of a tile of level 0, proven.
func readLeaves(reader tlog.HashReader, at coord, w int) ([]tlog.Hash, error) {
	indexes := make([]int64, w)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(0, int64(at.first())+int64(i))
	}
	return reader.ReadHashes(indexes)
}

// storedTiles is the log's folder as a tlog.TileReader.
type storedTiles struct{ dir string }

func (s storedTiles) Height() int { return tileHeight }

func (s storedTiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, t := range tiles {
		var err error
		if data[i], _, err = readTile(s.dir, coord{t.L, uint64(t.N)}, t.W); err != nil {
			return nil, fmt.Errorf("reading tiles: %w", err)
		}
	}
	return data, nil
}

func (s storedTiles) SaveTiles([]tlog.Tile, [][]byte) {}
