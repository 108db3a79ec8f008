package journal

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Read calls fn for each frame of the segment from offset from on, in order, up to the last whole group at the time of the
// call, and returns the offset to go on from. from is 0, or an offset that Read has given: at of a frame, or next.
// The open segment can be read while it is appended to. What is read may not be synced yet.
//
// frame is valid until fn returns. An error from fn ends the reading and is returned, with next the offset of that frame.
// Damage is a *CorruptError, a segment that is not there ErrUnknownSegment.
func (j *Journal) Read(segment uint64, from int64, fn func(at int64, frame []byte) error) (next int64, err error) {
	limit, err := j.readable(segment)
	if err != nil {
		return from, err
	}
	f, err := os.Open(filepath.Join(j.dir, segmentName(segment)))
	if err != nil {
		return from, fmt.Errorf("opening journal segment: %w", err)
	}
	defer f.Close() // only read
	r := newReader(f, segment, limit, j.table)
	if err := r.start(from); err != nil {
		return from, err
	}
	for r.at < limit {
		at := r.at
		frame, _, err := r.frame()
		if err != nil {
			return at, err
		}
		if err := fn(at, frame); err != nil {
			return at, err
		}
	}
	return r.at, nil
}

func (j *Journal) readable(segment uint64) (limit int64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if segment == j.cur.id {
		return j.cur.written, nil
	}
	i := slices.IndexFunc(j.sealed, func(s Segment) bool { return s.ID == segment })
	if i < 0 {
		return 0, fmt.Errorf("reading journal segment %d: %w", segment, ErrUnknownSegment)
	}
	return j.sealed[i].Bytes, nil
}

// Watch returns a channel that is closed when a group is written, a segment is sealed, or the journal stops.
// Take the channel first, then Read, then wait: so that nothing is missed in between.
func (j *Journal) Watch() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.watch == nil {
		j.watch = make(chan struct{})
		if j.err != nil {
			close(j.watch)
		}
	}
	return j.watch
}

// announceLocked wakes the watchers. The caller holds mu.
func (j *Journal) announceLocked() {
	if j.watch == nil {
		return
	}
	select {
	case <-j.watch: // the journal has stopped: it stays closed
	default:
		close(j.watch)
	}
	if j.err == nil {
		j.watch = nil
	}
}

const readAheadBytes = 64 << 10

// reader decodes the frames of one segment up to limit.
type reader struct {
	file    io.ReaderAt
	segment uint64
	limit   int64
	seed    uint32
	table   *crc32.Table
	at      int64  // the next frame
	buf     []byte // what was read
	bufAt   int64  // offset of buf[0]
}

func newReader(file io.ReaderAt, segment uint64, limit int64, table *crc32.Table) *reader {
	return &reader{file: file, segment: segment, limit: limit, table: table}
}

func (r *reader) corrupt(at int64, reason string) error {
	return &CorruptError{Segment: r.segment, Offset: at, Reason: reason}
}

// start checks the segment's header and goes to from.
func (r *reader) start(from int64) error {
	b, err := r.window(0, segmentHeaderBytes)
	if err != nil {
		return err
	}
	seed, reason := parseSegmentHeader(b, r.segment, r.table)
	if reason != "" {
		return r.corrupt(0, reason)
	}
	if from == 0 {
		from = segmentHeaderBytes
	}
	if from < segmentHeaderBytes || from > r.limit {
		return fmt.Errorf("reading journal segment %d: offset %d is not in it", r.segment, from)
	}
	r.seed, r.at = seed, from
	return nil
}

// frame returns the next frame, valid until the next call, and moves on behind it.
func (r *reader) frame() ([]byte, header, error) {
	b, err := r.window(r.at, frameHeaderBytes)
	if err != nil {
		return nil, header{}, err
	}
	h, reason := parseHeader(b, r.seed, r.at, r.table)
	if reason != "" {
		return nil, header{}, r.corrupt(r.at, reason)
	}
	payload, err := r.window(r.at+frameHeaderBytes, h.length)
	if err != nil {
		return nil, header{}, err
	}
	if int64(len(payload)) < h.length {
		return nil, header{}, r.corrupt(r.at, "frame is cut short")
	}
	if crc32.Checksum(payload, r.table) != h.pcrc {
		return nil, header{}, r.corrupt(r.at, "frame checksum does not match")
	}
	r.at += frameHeaderBytes + h.length
	return payload, h, nil
}

// window returns n bytes from offset at, fewer where the segment ends. It is valid until the next call.
func (r *reader) window(at, n int64) ([]byte, error) {
	n = max(0, min(n, r.limit-at))
	if at < r.bufAt || at+n > r.bufAt+int64(len(r.buf)) {
		if err := r.load(at, n); err != nil {
			return nil, err
		}
	}
	have := max(0, r.bufAt+int64(len(r.buf))-at)
	return r.buf[at-r.bufAt:][:min(n, have)], nil
}

func (r *reader) load(at, n int64) error {
	n = min(max(n, readAheadBytes), r.limit-at)
	if int64(cap(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	got, err := r.file.ReadAt(r.buf[:n], at)
	if err != nil && err != io.EOF {
		return fmt.Errorf("reading journal segment %d: %w", r.segment, err)
	}
	r.buf, r.bufAt = r.buf[:got], at
	return nil
}
