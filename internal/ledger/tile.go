package ledger

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight  = 8 // tlog-tiles «Merkle Tree»
	tileWidth   = 1 << tileHeight
	tileBytes   = tileWidth * tlog.HashSize
	entryBundle = -1 // the level that stands for tile/entries
)

// coord names a full tile or bundle: its level, or entryBundle, and its number in the level.
type coord struct {
	level int
	n     uint64
}

// base is the level whose tiles have the same span of entries: a bundle spans what a tile of level 0 does.
func (c coord) base() int { return max(c.level, 0) }

// first is the index of the first entry below the tile.
func (c coord) first() uint64 { return c.n << (tileHeight * (c.base() + 1)) }

// end is the index after the last entry below the tile's first w hashes.
func (c coord) end(w int) uint64 { return c.first() + uint64(w)<<(tileHeight*c.base()) }

// path is the tile's path in the log's folder, tlog-tiles «Merkle Tree» and «Partial Tiles»; w is its width.
func (c coord) path(w int) string {
	n := c.n
	name := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		name = fmt.Sprintf("x%03d/%s", n%1000, name)
	}
	level := "entries"
	if c.level != entryBundle {
		level = strconv.Itoa(c.level)
	}
	if w < tileWidth {
		return fmt.Sprintf("tile/%s/%s.p/%d", level, name, w)
	}
	return fmt.Sprintf("tile/%s/%s", level, name)
}

// parsePath is the inverse of path.
func parsePath(path string) (c coord, w int, ok bool) {
	rest, ok := strings.CutPrefix(filepath.ToSlash(path), "tile/")
	if !ok {
		return coord{}, 0, false
	}
	level, rest, _ := strings.Cut(rest, "/")
	c.level, w = entryBundle, tileWidth
	var err error
	if level != "entries" {
		if c.level, err = strconv.Atoi(level); err != nil || c.level < 0 || c.level > 63/tileHeight {
			return coord{}, 0, false
		}
	}
	if number, width, partial := strings.Cut(rest, ".p/"); partial {
		rest = number
		if w, err = strconv.Atoi(width); err != nil || w < 1 || w >= tileWidth {
			return coord{}, 0, false
		}
	}
	if c.n, err = strconv.ParseUint(strings.NewReplacer("x", "", "/", "").Replace(rest), 10, 48); err != nil {
		return coord{}, 0, false
	}
	return c, w, c.path(w) == filepath.ToSlash(path)
}

// width is how many hashes or entries the tile has in a log of this size.
func (c coord) width(size uint64) int {
	if size <= c.first() {
		return 0
	}
	return int(min((size-c.first())>>(tileHeight*c.base()), tileWidth))
}

// edge is the incomplete right side of the tree: for each level the hashes of the tile that is not full yet.
type edge struct {
	size   uint64
	levels [][]byte
}

// add appends a leaf. full is given each tile that the leaf completes, and owns its data.
func (e *edge) add(leaf tlog.Hash, full func(c coord, data []byte)) {
	h := leaf
	for level := 0; ; level++ {
		if level == len(e.levels) {
			e.levels = append(e.levels, make([]byte, 0, tlog.HashSize))
		}
		data := append(e.levels[level], h[:]...)
		if len(data) < tileBytes {
			e.levels[level] = data
			break
		}
		full(coord{level, e.size >> (tileHeight * (level + 1))}, data)
		e.levels[level] = make([]byte, 0, tileBytes)
		h = subtree(data)
	}
	e.size++
}

// subtree is the root above the hashes in data, whose number is a power of two.
func subtree(data []byte) tlog.Hash {
	if len(data) == tlog.HashSize {
		return tlog.Hash(data)
	}
	half := len(data) / 2
	return tlog.NodeHash(subtree(data[:half]), subtree(data[half:]))
}

// tile returns the incomplete tile c, if that is what it is.
func (e *edge) tile(c coord) ([]byte, bool) {
	if c.level >= len(e.levels) || c.n != e.size>>(tileHeight*(c.level+1)) {
		return nil, false
	}
	return e.levels[c.level], true
}

// root is the hash of the whole tree: the edge has all that it needs.
func (e *edge) root() (tlog.Hash, error) {
	return tlog.TreeHash(int64(e.size), hashReader(func(c coord, w int) ([]byte, error) {
		data, ok := e.tile(c)
		if !ok || len(data) < w*tlog.HashSize {
			return nil, fmt.Errorf("tile %s is not on the edge", c.path(w))
		}
		return data, nil
	}))
}

// hashReader reads single hashes out of tiles: it is given a tile and how many of its hashes are needed.
type hashReader func(c coord, w int) ([]byte, error)

// ReadHashes implements tlog.HashReader.
func (r hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		t := tlog.TileForIndex(tileHeight, index)
		data, err := r(coord{t.L, uint64(t.N)}, t.W)
		if err != nil {
			return nil, err
		}
		if hashes[i], err = tlog.HashFromTile(t, data, index); err != nil {
			return nil, fmt.Errorf("reading tile: %w", err)
		}
	}
	return hashes, nil
}
