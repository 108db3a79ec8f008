package mask

import (
	"bytes"
	"encoding/base64"
	"slices"

	"gatebook/internal/mask/detect"
)

// mode says what follows the bytes that a stream has been given.
type mode uint8

const (
	going  mode = iota // more, soon
	paused             // perhaps more; who reads waits for what there is
	ended              // nothing
)

const (
	// lookback is how far before a pattern its first base64 quad may begin.
	lookback = 64
	// block is how much is taken up at once.
	block = 32 << 10
)

// stream replaces known values in bytes that come in pieces.
//
//	buf:  | context, gone out |  held back  |
//	      0      covered   out            len
//
// Bytes before covered belong to a placeholder that has gone out: a match that begins there adds to what it covers. Bytes
// between covered and out went out as they were; a match may still begin there when a pause let its first bytes go.
type stream struct {
	s     *Scope
	x     *index
	match matcher
	face  face

	buf          []byte
	out, covered int
	masked       int64
	// floor is before which nothing is replaced: context that went out elsewhere. cut says that buf does not begin where
	// the stream does, quoted that the stream is what a JSON string holds.
	floor       int
	cut, quoted bool
	scanner     detect.Scanner

	// of the current run
	mode       mode
	spans      []span
	views      [maxLayers]view
	open, live int // where the first undecided window, and the first likely pattern, begins
}

func (s *Scope) newStream() *stream {
	t, ok := s.e.streams.Get().(*stream)
	if !ok {
		t = &stream{}
	}
	t.s = s
	t.reset()
	return t
}

func (t *stream) reset() {
	t.buf, t.out, t.covered, t.masked = t.buf[:0], 0, -1, 0
	t.floor, t.cut, t.quoted = 0, false, false
}

// free forgets all bytes and gives the stream back.
func (t *stream) free() {
	clear(t.buf[:cap(t.buf)])
	clear(t.match.keyed[:])
	clear(t.match.text[:cap(t.match.text)])
	for i := range t.views {
		clear(t.views[i].text[:cap(t.views[i].text)])
	}
	e := t.s.e
	t.s = nil
	t.reset()
	e.streams.Put(t)
}

// write takes p and appends to dst what is decided.
func (t *stream) write(dst, p []byte) []byte {
	for len(p) > 0 {
		n := min(len(p), block)
		t.buf = append(t.buf, p[:n]...)
		p = p[n:]
		dst = t.run(dst, going)
	}
	return dst
}

// run decides what can be decided.
func (t *stream) run(dst []byte, m mode) []byte {
	t.mode, t.x = m, t.s.e.index.Load()
	t.match.x = t.x
	t.spans = t.spans[:0]
	t.open, t.live = len(t.buf), len(t.buf)
	whole := view{text: t.buf, cut: m != ended}
	t.windows(&whole)
	t.search(&whole, 0)
	keep := len(t.buf)
	if t.s.detectors != nil {
		keep = t.detect()
	}
	limit := len(t.buf)
	switch m {
	case going:
		limit = min(t.open, t.live) - lookback
	case paused:
		limit = t.live
	}
	dst = t.emit(dst, limit)
	keep = min(keep, t.open, t.live) - lookback
	if t.s.detectors != nil {
		keep = min(keep, t.out-contextBytes)
		for i := range t.spans {
			if f := &t.spans[i]; f.from > 0 && f.end > t.out {
				keep = min(keep, f.from-1)
			}
		}
	}
	t.forget(keep)
	return dst
}

// emit lets go what stands before limit.
func (t *stream) emit(dst []byte, limit int) []byte {
	slices.SortFunc(t.spans, func(a, b span) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.end - a.end
	})
	for i := range t.spans {
		f := &t.spans[i]
		if f.start >= limit {
			break
		}
		if f.end <= t.out {
			continue
		}
		if f.start > t.covered || f.start == t.covered && !f.more {
			if f.start > t.out {
				dst = append(dst, t.buf[t.out:f.start]...)
			}
			dst = t.replace(dst, f)
			t.masked++
		}
		t.covered, t.out = f.end, f.end
	}
	if limit > t.out {
		dst = append(dst, t.buf[t.out:limit]...)
		t.out = limit
	}
	return dst
}

// replace appends the placeholder for f.
func (t *stream) replace(dst []byte, f *span) []byte {
	if !f.base64 {
		return append(dst, t.s.textOf(&t.face, f.sum)...)
	}
	if f.start < t.out { // part of the first quad has gone out: fill it up, so that what follows decodes
		n := 0
		for _, c := range t.buf[f.start:t.out] {
			if base64Value(c) != base64Bad {
				n++
			}
		}
		dst = append(dst, "AAA"[:(4-n%4)%4]...)
	}
	return base64.StdEncoding.AppendEncode(dst, t.s.textOf(&t.face, f.sum))
}

// forget drops what stands before n, has gone out, and is not needed to read what follows.
func (t *stream) forget(n int) {
	n = min(n, t.out)
	if n <= 0 {
		return
	}
	n = unitStart(t.buf, n)
	for i := 0; i < lookback && n >= 2 && t.buf[n-1] == '\\' && t.buf[n-2] == '\\'; i++ {
		n -= 2 // so that escapes of further layers are not entered in the middle either
	}
	rest := copy(t.buf, t.buf[n:])
	clear(t.buf[rest:])
	t.buf = t.buf[:rest]
	t.out -= n
	t.floor, t.cut = max(0, t.floor-n), true
	t.covered = max(-1, t.covered-n)
}

// unitStart gives where the JSON escape begins that position i is inside of; i itself where it is in none. b begins
// outside of one.
func unitStart(b []byte, i int) int {
	if bytes.IndexByte(b[max(0, i-11):i], '\\') < 0 {
		return i
	}
	start, _ := unitAt(b, i)
	return start
}

// unitEnd gives where the escape ends that position i is inside of.
func unitEnd(b []byte, i int) int {
	if bytes.IndexByte(b[max(0, i-11):i], '\\') < 0 {
		return i
	}
	start, end := unitAt(b, i)
	if start == i {
		return i
	}
	return end
}

// unitAt gives the byte or escape that position i is in.
func unitAt(b []byte, i int) (start, end int) {
	for at := 0; ; {
		next := indexByte(b, at, '\\')
		if next < 0 || next >= i {
			return i, i + 1
		}
		_, size := escapeAt(b[next:])
		at = next + max(size, 1)
		if at > i {
			return next, at
		}
	}
}
