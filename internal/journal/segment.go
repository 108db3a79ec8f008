package journal

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The head of a segment, little-endian, docs/design/journal.md «Segment»: 15 bytes of magic, the version, the segment's
// number, a random nonce that no frame's content can guess, and the CRC32-C of what precedes.
const (
	segmentMagic       = "gatebookjournal"
	segmentVersion     = 1
	segmentHeaderBytes = 32
	segmentSuffix      = ".journal"
)

// Segment is one file of the journal.
type Segment struct {
	ID     uint64 // from 1, never used twice for data
	Bytes  int64  // up to the last whole group
	Sealed bool   // complete and on disk; false for the one that is written to
}

func segmentName(id uint64) string { return fmt.Sprintf("%016x%s", id, segmentSuffix) }

func parseSegmentName(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 16, 64)
	return id, err == nil && id > 0 && segmentName(id) == name
}

func appendSegmentHeader(buf []byte, id uint64, nonce uint32, table *crc32.Table) []byte {
	start := len(buf)
	buf = append(buf, segmentMagic...)
	buf = append(buf, segmentVersion)
	buf = binary.LittleEndian.AppendUint64(buf, id)
	buf = binary.LittleEndian.AppendUint32(buf, nonce)
	return binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf[start:], table))
}

// parseSegmentHeader returns the seed of the segment's frames.
func parseSegmentHeader(b []byte, id uint64, table *crc32.Table) (seed uint32, reason string) {
	switch {
	case len(b) < segmentHeaderBytes:
		return 0, "segment header is cut short"
	case string(b[:len(segmentMagic)]) != segmentMagic:
		return 0, "not a journal segment"
	case crc32.Checksum(b[:28], table) != binary.LittleEndian.Uint32(b[28:]):
		return 0, "segment header checksum does not match"
	case b[15] != segmentVersion:
		return 0, fmt.Sprintf("segment has format version %d, this program reads %d", b[15], segmentVersion)
	case binary.LittleEndian.Uint64(b[16:]) != id:
		return 0, fmt.Sprintf("segment says that it is number %d", binary.LittleEndian.Uint64(b[16:]))
	}
	return frameSeed(b, table), ""
}

func frameSeed(segmentHeader []byte, table *crc32.Table) uint32 {
	return crc32.Checksum(segmentHeader[16:28], table)
}

// listSegments returns what is in the folder, oldest first; each but the last counts as sealed.
func listSegments(dir string) ([]Segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing journal segments: %w", err)
	}
	var list []Segment
	for _, e := range entries {
		id, ok := parseSegmentName(e.Name())
		if !ok {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("listing journal segments: %w", err)
		}
		list = append(list, Segment{ID: id, Bytes: info.Size(), Sealed: true})
	}
	slices.SortFunc(list, func(a, b Segment) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// current is the segment that is written to.
type current struct {
	id      uint64
	seed    uint32
	file    *os.File
	written int64 // end of the last whole group in the file
	synced  int64 // known to be on disk
}

// errCreate marks a failure that left no trace: the journal can go on in the segment that it has.
var errCreate = errors.New("creating a segment left nothing behind")

// createSegment makes an empty segment, on disk together with its name. An error that is errCreate harms nothing.
func (j *Journal) createSegment(id uint64) (current, error) {
	path := filepath.Join(j.dir, segmentName(id))
	if err := j.fail(FailCreate); err != nil {
		return current{}, errors.Join(errCreate, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return current{}, errors.Join(errCreate, err)
	}
	c := current{id: id, file: f, written: segmentHeaderBytes, synced: segmentHeaderBytes}
	if c.seed, err = j.initSegment(f, id); err == nil {
		return c, nil
	}
	if closing := f.Close(); closing != nil {
		return current{}, errors.Join(err, closing)
	}
	if !isNoSpace(err) {
		return current{}, err
	}
	if undo := errors.Join(os.Remove(path), syncDir(j.dir)); undo != nil {
		return current{}, errors.Join(err, undo)
	}
	return current{}, errors.Join(errCreate, err)
}

func (j *Journal) initSegment(f *os.File, id uint64) (seed uint32, err error) {
	var nonce [4]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return 0, fmt.Errorf("drawing a segment nonce: %w", err)
	}
	head := appendSegmentHeader(nil, id, binary.LittleEndian.Uint32(nonce[:]), j.table)
	if _, err := f.WriteAt(head, 0); err != nil {
		return 0, fmt.Errorf("writing segment header: %w", err)
	}
	if err := f.Sync(); err != nil {
		return 0, fmt.Errorf("syncing new segment: %w", err)
	}
	if err := j.fail(FailDirSync); err != nil {
		return 0, fmt.Errorf("syncing journal folder: %w", err)
	}
	if err := syncDir(j.dir); err != nil {
		return 0, err
	}
	return frameSeed(head, j.table), nil
}

// Remove deletes a sealed segment for good; its number is not used again.
// The open segment cannot be removed. A segment that is being read stays readable to that reader.
func (j *Journal) Remove(segment uint64) error {
	if err := j.removable(segment); err != nil {
		return fmt.Errorf("removing journal segment %d: %w", segment, err)
	}
	if err := os.Remove(filepath.Join(j.dir, segmentName(segment))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing journal segment: %w", err)
	}
	j.mu.Lock()
	j.sealed = slices.DeleteFunc(j.sealed, func(s Segment) bool { return s.ID == segment })
	j.mu.Unlock()
	if err := syncDir(j.dir); err != nil {
		return j.stop(err)
	}
	return nil
}

func (j *Journal) removable(segment uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.err != nil:
		return j.err
	case segment == j.cur.id:
		return errors.New("it is still open")
	case !slices.ContainsFunc(j.sealed, func(s Segment) bool { return s.ID == segment }):
		return ErrUnknownSegment
	}
	return nil
}

// Segments lists the journal's segments, oldest first; the last is the open one.
func (j *Journal) Segments() ([]Segment, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append(slices.Clone(j.sealed), Segment{ID: j.cur.id, Bytes: j.cur.written}), nil
}
