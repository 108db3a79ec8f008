package sse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// DefaultMaxBytes is how long an event may be unless the scanner's maker says otherwise.
const DefaultMaxBytes = 1 << 20

const (
	firstBytes = 4 << 10 // of buffer
	// maxEmptyReads is after how many reads that bring nothing a reader is given up, as bufio does.
	maxEmptyReads = 100
)

// ErrTooLarge is the error of an event that is longer than the scanner takes. Nothing of it is given.
var ErrTooLarge = errors.New("server-sent event is too large")

// ending is how a line ended.
type ending uint8

const (
	none ending = iota
	lf
	crlf
	cr
)

// Scanner reads events. It is for one goroutine.
type Scanner struct {
	r   io.Reader
	max int
	err error // of r; what came before it is given first

	// buf:  | given | lines read |  still to read  | room |
	//       0     start         at               end
	buf            []byte
	start, at, end int
	lf, cr         mark
	offset         int64 // of buf[start] in the stream

	prev    ending // of the line before at
	halfway bool   // prev is a CR that ended a block, and whose LF, if one comes, begins the next
	begun   bool   // the first line, which may begin with a byte order mark, is read

	event Event
	data  []byte // of an event with several data lines
	id    []byte // the last event id, which lasts until another comes
}

// mark remembers where a byte is next found, so that no byte is searched twice.
type mark struct {
	pos   int // where it stands, or up to where it does not
	found bool
}

// move follows the buffer, of which the first n bytes go.
func (m *mark) move(n int) {
	if m.pos -= n; m.pos < 0 {
		*m = mark{}
	}
}

// NewScanner reads r. maxBytes bounds one event with its line ends, to 1 GiB at most; 0 is DefaultMaxBytes.
func NewScanner(r io.Reader, maxBytes int) *Scanner {
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	return &Scanner{r: r, max: min(maxBytes, 1<<30)}
}

// Next gives the next block. It is valid until the next call. What stands behind the last blank line is given too, with
// Ended false; then comes the reader's error: io.EOF as it is, others wrapped.
func (s *Scanner) Next() (*Event, error) {
	s.drop()
	for {
		line, blank, ok := s.line()
		switch {
		case ok && blank:
			return s.give(true), nil
		case ok:
			s.field(line.start, line.end)
		case s.err == nil:
			if err := s.fill(); err != nil {
				return nil, err
			}
		case s.start < s.end:
			s.at = s.end
			return s.give(false), nil
		default:
			return nil, s.failure()
		}
	}
}

func (s *Scanner) failure() error {
	if errors.Is(s.err, io.EOF) || errors.Is(s.err, ErrTooLarge) {
		return s.err
	}
	return fmt.Errorf("reading server-sent events: %w", s.err)
}

// drop forgets the block that was given last.
func (s *Scanner) drop() {
	s.offset += int64(s.at - s.start)
	s.start = s.at
	s.event = Event{Offset: s.offset, Fields: s.event.Fields[:0]}
}

func (s *Scanner) give(ended bool) *Event {
	e := &s.event
	e.Raw, e.Ended = s.buf[s.start:s.at:s.at], ended
	if !ended {
		e.Fields, e.Type = e.Fields[:0], nil
		return e
	}
	e.ID = s.id
	e.Data, e.Dispatched = s.join()
	if len(e.Type) == 0 {
		e.Type = message
	}
	return e
}

// span is a part of buf.
type span struct{ start, end int }

// line takes the next whole line, without its end.
func (s *Scanner) line() (l span, blank, ok bool) {
	if !s.passHalf() {
		return l, false, false
	}
	from := s.at
	if !s.begun {
		if bytes.HasPrefix(s.buf[from:s.end], byteOrderMark) {
			from += len(byteOrderMark)
		}
	}
	to, next, end := s.lineEnd(from)
	if end == none {
		return l, false, false
	}
	s.at, s.prev, s.begun = next, end, true
	return span{from, to}, from == to, true
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// passHalf passes over the LF of a CRLF whose CR ended the block before. It is false while that cannot be known.
func (s *Scanner) passHalf() bool {
	if !s.halfway {
		return true
	}
	if s.at == s.end {
		return false
	}
	if s.buf[s.at] == '\n' {
		s.at++
	}
	s.halfway = false
	return true
}

// lineEnd finds the end of the line that begins at from, and where the next begins; none while it cannot be known.
func (s *Scanner) lineEnd(from int) (to, next int, end ending) {
	atLF, okLF := s.find(&s.lf, '\n')
	atCR, okCR := s.find(&s.cr, '\r')
	switch {
	case okCR && (!okLF || atCR < atLF):
		return s.afterCR(from, atCR)
	case okLF:
		return atLF, atLF + 1, lf
	}
	return 0, 0, none
}

// afterCR decides whether a CR is all of a line's end. Where lines end in CR alone, a blank one is not made to wait for
// what follows, also if that has arrived: a block would otherwise end now here and now there.
func (s *Scanner) afterCR(from, at int) (to, next int, end ending) {
	switch {
	case at == from && s.prev == cr:
		s.halfway = true
		return at, at + 1, cr
	case at+1 < s.end && s.buf[at+1] == '\n':
		return at, at + 2, crlf
	case at+1 < s.end || s.err != nil:
		return at, at + 1, cr
	}
	return 0, 0, none
}

// find looks for c from s.at on.
func (s *Scanner) find(m *mark, c byte) (int, bool) {
	if m.found && m.pos >= s.at {
		return m.pos, true
	}
	from := max(s.at, m.pos)
	i := bytes.IndexByte(s.buf[from:s.end], c)
	if i < 0 {
		*m = mark{pos: s.end}
		return 0, false
	}
	*m = mark{pos: from + i, found: true}
	return m.pos, true
}

// fill reads more, behind what is there.
func (s *Scanner) fill() error {
	if s.end-s.start >= s.max {
		s.err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, s.max)
		s.start, s.at, s.lf, s.cr = s.end, s.end, mark{}, mark{}
		return s.err
	}
	s.room()
	for range maxEmptyReads {
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		s.err = err
		if n > 0 || err != nil {
			return nil
		}
	}
	s.err = io.ErrNoProgress
	return nil
}

// room moves what is there to the front, and makes the buffer larger where that is not enough.
func (s *Scanner) room() {
	if s.start > 0 {
		copy(s.buf, s.buf[s.start:s.end])
		s.at, s.end = s.at-s.start, s.end-s.start
		s.lf.move(s.start)
		s.cr.move(s.start)
		s.start = 0
	}
	if s.end < len(s.buf) {
		return
	}
	larger := make([]byte, min(s.max, max(firstBytes, 2*len(s.buf))))
	copy(larger, s.buf[:s.end])
	s.buf = larger
}
