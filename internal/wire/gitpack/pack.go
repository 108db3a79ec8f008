package gitpack

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // git's own names
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"

	"github.com/klauspost/compress/zlib"
)

// Limits bound what reading one pack may take.
type Limits struct {
	// Objects bounds their number, and Inflated the bytes of all of them: beyond, the pack is an error.
	Objects  int
	Inflated int64
	// Kept bounds the memory of commits, tags, trees and waiting deltas, each with what it costs beside its bytes: beyond, what
	// is left out is named.
	Kept int64
}

// overhead is what one object costs beside its bytes: names, fields, places in maps.
const overhead = 512

// Pack is what a pack tells of history.
type Pack struct {
	Commits map[ID]*Commit
	Tags    map[ID]*Tag
	// Trees by name, to be read by ParseTree.
	Trees map[ID][]byte
	// Objects in the pack.
	Objects int
	// Kept is how much of Limits.Kept was used.
	Kept int64
	// Unresolved counts the objects that may be commits, tags or trees, and of which the base is not in the pack.
	Unresolved int
	// Dropped says that more was to be kept than Limits.Kept allows: any object may be missing.
	Dropped bool
}

// ErrTooLarge is the error of a pack that exceeds its limits.
var ErrTooLarge = errors.New("the pack exceeds its limits")

// Types of objects in a pack.
const (
	commitType = 1
	treeType   = 2
	blobType   = 3
	tagType    = 4
	offsetType = 6 // a delta, whose base is so many bytes before
	nameType   = 7 // a delta, whose base has that name
	noType     = 0 // a delta of which the base is not known yet
)

var typeNames = [...]string{commitType: "commit", treeType: "tree", blobType: "blob", tagType: "tag"}

// reader reads one pack.
type reader struct {
	in        *bufio.Reader
	count     *counter
	zip       io.ReadCloser
	hashBytes int
	l         Limits
	kept      int64
	pack      *Pack

	// offsets of the objects so far, in order, and what they are.
	offsets []int64
	types   []byte
	// content of commits, tags and trees, by offset; names by their names.
	content map[int64][]byte
	names   map[ID]int64
	// at and by hold the deltas that wait for their base, by its offset and by its name.
	at map[int64][]delta
	by map[ID][]delta
}

// delta is one object that is made of another.
type delta struct {
	at, base int64 // base is -1 where it is named
	name     ID
	data     []byte
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// Read reads a pack to its end, after which nothing may come. Object names have hashBytes bytes: 20 or 32.
func Read(src io.Reader, hashBytes int, l Limits) (*Pack, error) {
	c := &counter{r: src}
	r := &reader{in: bufio.NewReaderSize(c, 64<<10), count: c, hashBytes: hashBytes, l: l, content: map[int64][]byte{}, names: map[ID]int64{},
		at: map[int64][]delta{}, by: map[ID][]delta{},
		pack: &Pack{Commits: map[ID]*Commit{}, Tags: map[ID]*Tag{}, Trees: map[ID][]byte{}}}
	if err := r.read(); err != nil {
		return nil, fmt.Errorf("reading a pack at byte %d: %w", r.offsetNow(), err)
	}
	r.pack.Kept = r.kept
	for _, waiting := range r.at {
		r.pack.Unresolved += len(waiting)
	}
	for _, waiting := range r.by {
		r.pack.Unresolved += len(waiting)
	}
	return r.pack, nil
}

// offsetNow is where the next byte is in the pack.
func (r *reader) offsetNow() int64 { return r.count.n - int64(r.in.Buffered()) }

func (r *reader) read() error {
	var head [12]byte
	if _, err := io.ReadFull(r.in, head[:]); err != nil {
		return short(err)
	}
	if v := binary.BigEndian.Uint32(head[4:]); string(head[:4]) != "PACK" || v != 2 && v != 3 {
		return errors.New("it is no pack of version 2 or 3")
	}
	n := binary.BigEndian.Uint32(head[8:])
	if int64(n) > int64(r.l.Objects) {
		return fmt.Errorf("%w: %d objects", ErrTooLarge, n)
	}
	r.pack.Objects = int(n)
	for range n {
		if err := r.object(); err != nil {
			return err
		}
	}
	if _, err := io.CopyN(io.Discard, r.in, int64(r.hashBytes)); err != nil {
		return short(err)
	}
	if _, err := r.in.ReadByte(); err != io.EOF {
		return errors.New("something follows the pack")
	}
	return nil
}

// short makes an end amid the pack one that is not taken for its end.
func short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *reader) object() error {
	at := r.offsetNow()
	kind, size, err := r.header()
	if err != nil {
		return err
	}
	d := delta{at: at, base: -1}
	switch kind {
	case commitType, treeType, blobType, tagType:
	case offsetType:
		back, err := r.offset()
		if err != nil {
			return err
		}
		d.base = at - back
		if kind, err = r.typeAt(d.base); err != nil {
			return err
		}
	case nameType:
		raw := make([]byte, r.hashBytes)
		if _, err := io.ReadFull(r.in, raw); err != nil {
			return short(err)
		}
		d.name = ID(hex.EncodeToString(raw))
		kind = noType
		if base, ok := r.names[d.name]; ok {
			d.base = base
			if kind, err = r.typeAt(base); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("an object has type %d", kind)
	}
	r.offsets, r.types = append(r.offsets, at), append(r.types, kind)
	isDelta := d.base >= 0 || d.name != ""
	data, kept, err := r.inflate(size, kind != blobType)
	switch {
	case err != nil || kind == blobType:
		return err
	case !kept:
		r.pack.Dropped = true
		return nil
	case isDelta:
		d.data = data
		return r.resolve(d)
	}
	woken, err := r.add(at, kind, data)
	for i := 0; err == nil && i < len(woken); i++ {
		err = r.resolve(woken[i])
	}
	return err
}

// header reads type and size: three bits of the first byte, then what is left of it and 7 bits of each further.
func (r *reader) header() (kind byte, size int64, err error) {
	b, err := r.in.ReadByte()
	if err != nil {
		return 0, 0, short(err)
	}
	kind, size = b>>4&7, int64(b&15)
	for shift := 4; b&0x80 != 0; shift += 7 {
		if b, err = r.in.ReadByte(); err != nil {
			return 0, 0, short(err)
		}
		if shift > 53 {
			return 0, 0, errors.New("an object's size has too many digits")
		}
		size |= int64(b&0x7f) << shift
	}
	if r.l.Inflated -= size; r.l.Inflated < 0 {
		return 0, 0, fmt.Errorf("%w: its objects are longer than allowed", ErrTooLarge)
	}
	return kind, size, nil
}

// offset reads how far back a delta's base is.
func (r *reader) offset() (int64, error) {
	b, err := r.in.ReadByte()
	if err != nil {
		return 0, short(err)
	}
	n := int64(b & 0x7f)
	for b&0x80 != 0 {
		if b, err = r.in.ReadByte(); err != nil {
			return 0, short(err)
		}
		if n > 1<<53 {
			return 0, errors.New("a delta's base is too far back")
		}
		n = (n+1)<<7 | int64(b&0x7f)
	}
	return n, nil
}

func (r *reader) typeAt(at int64) (byte, error) {
	i, ok := slices.BinarySearch(r.offsets, at)
	if !ok {
		return 0, errors.New("a delta's base is no object")
	}
	return r.types[i], nil
}

// inflate reads an object's stream, and gives it where it is wanted and may be kept.
func (r *reader) inflate(size int64, wanted bool) (data []byte, kept bool, err error) {
	if r.zip == nil {
		r.zip, err = zlib.NewReader(r.in)
	} else {
		err = r.zip.(zlib.Resetter).Reset(r.in, nil)
	}
	if err != nil {
		return nil, false, short(err)
	}
	if kept = wanted && size <= r.l.Kept-r.kept-overhead; !kept {
		n, err := io.Copy(io.Discard, io.LimitReader(r.zip, size+1))
		return nil, false, wholly(n, size, err)
	}
	r.kept += size + overhead
	if size <= 1<<20 { // what is claimed is there, soon
		data = make([]byte, size)
		n, err := io.ReadFull(r.zip, data)
		if err == nil {
			var extra int64
			extra, err = io.CopyN(io.Discard, r.zip, 1)
			n += int(extra)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && int64(n) < size {
			err = nil
		}
		return data, true, wholly(int64(n), size, err)
	}
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r.zip, size+1))
	return b.Bytes(), true, wholly(n, size, err)
}

// wholly makes sure that an object is as long as it says.
func wholly(n, size int64, err error) error {
	switch {
	case err != nil:
		return short(err)
	case n != size:
		return errors.New("an object is not as long as it says")
	}
	return nil
}

// resolve makes the object that a delta gives, and those that waited for it; or has it wait for its base.
func (r *reader) resolve(d delta) error {
	for next := []delta{d}; len(next) > 0; {
		d, next = next[len(next)-1], next[:len(next)-1]
		if d.base < 0 {
			if base, ok := r.names[d.name]; ok {
				d.base = base
			}
		}
		base, ok := r.content[d.base]
		switch {
		case ok:
		case d.base < 0:
			r.by[d.name] = append(r.by[d.name], d)
			continue
		default:
			r.at[d.base] = append(r.at[d.base], d)
			continue
		}
		woken, err := r.make(d, base)
		if err != nil {
			return err
		}
		next = append(next, woken...)
	}
	return nil
}

// make applies a delta to its base, and gives those that waited for what comes of it.
func (r *reader) make(d delta, base []byte) ([]delta, error) {
	kind, err := r.typeAt(d.base)
	if err != nil {
		return nil, err
	}
	data, err := patch(base, d.data, r.l.Kept-r.kept)
	if errors.Is(err, ErrTooLarge) {
		r.pack.Dropped = true
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r.kept += int64(len(data)) - int64(len(d.data))
	i, _ := slices.BinarySearch(r.offsets, d.at)
	r.types[i] = kind
	return r.add(d.at, kind, data)
}

// add names an object and keeps it, and gives the deltas that waited for it.
func (r *reader) add(at int64, kind byte, data []byte) ([]delta, error) {
	id := r.name(kind, data)
	r.content[at], r.names[id] = data, at
	var err error
	switch kind {
	case commitType:
		r.pack.Commits[id], err = parseCommit(id, data)
	case tagType:
		r.pack.Tags[id], err = parseTag(id, data)
	case treeType:
		r.pack.Trees[id] = data
	}
	woken := append(r.at[at], r.by[id]...)
	delete(r.at, at)
	delete(r.by, id)
	return woken, err
}

func (r *reader) name(kind byte, data []byte) ID {
	var h hash.Hash = sha1.New() //nolint:gosec // git's own names
	if r.hashBytes == sha256.Size {
		h = sha256.New()
	}
	h.Write(append(strconv.AppendInt(append([]byte(typeNames[kind]), ' '), int64(len(data)), 10), 0))
	h.Write(data)
	return ID(hex.EncodeToString(h.Sum(nil)))
}
