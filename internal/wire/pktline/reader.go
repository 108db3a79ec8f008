package pktline

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	firstBytes = 4 << 10 // of buffer
	// maxEmptyReads is after how many reads that bring nothing a reader is given up, as bufio does.
	maxEmptyReads = 100
)

var (
	// ErrHeader is the error of a length that is not four hexadecimal digits.
	ErrHeader = errors.New("the length is not four hexadecimal digits")
	// ErrReserved is the error of the length 3, which means nothing.
	ErrReserved = errors.New("the length 0003 is reserved")
	// ErrTooLong is the error of a packet of more than MaxBytes.
	ErrTooLong = errors.New("the packet is longer than 65520 bytes")
)

// Error says where in a stream something is no pkt-line. It wraps one of the errors above, io.ErrUnexpectedEOF where the
// stream ends within a packet, or the reader's own error.
type Error struct {
	Offset int64 // of the packet
	Header []byte
	Have   int // bytes of the packet that have come
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("reading a pkt-line at offset %d, of which %d bytes came, beginning %q: %v", e.Offset, e.Have, e.Header, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Reader reads packets. It is for one goroutine.
type Reader struct {
	r   io.Reader
	err error // of r; what came before it is given first

	// buf:  | given | read ahead | room |
	//       0     start         end
	buf        []byte
	start, end int
	offset     int64 // of buf[start] in the stream
	bad        error // what the stream is not; it stays so
}

// NewReader reads r, in which the first packet begins.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next gives the next packet, which is valid until the next call. The error is io.EOF where the stream ends after a
// packet, and an *Error otherwise, for good.
func (r *Reader) Next() (Packet, error) {
	if r.bad != nil {
		return Packet{}, r.bad
	}
	p, err := r.next()
	if err != nil {
		r.bad = err
		return Packet{}, err
	}
	r.start += len(p.Raw)
	r.offset += int64(len(p.Raw))
	return p, nil
}

func (r *Reader) next() (Packet, error) {
	if err := r.need(headerBytes); err != nil {
		return Packet{}, err
	}
	n, kind, err := header(r.buf[r.start:])
	if err != nil {
		return Packet{}, r.fail(err)
	}
	if err := r.need(n); err != nil {
		return Packet{}, err
	}
	raw := r.buf[r.start : r.start+n : r.start+n]
	return Packet{Kind: kind, Raw: raw, Offset: r.offset, Payload: raw[headerBytes:]}, nil
}

// header reads a packet's length, with its own, and kind.
func header(b []byte) (int, Kind, error) {
	n := 0
	for _, c := range b[:headerBytes] {
		d, ok := digit(c)
		if !ok {
			return 0, 0, ErrHeader
		}
		n = n<<4 | d
	}
	switch {
	case n == 0:
		return headerBytes, Flush, nil
	case n == 1:
		return headerBytes, Delim, nil
	case n == 2:
		return headerBytes, ResponseEnd, nil
	case n == 3:
		return 0, 0, ErrReserved
	case n > MaxBytes:
		return 0, 0, ErrTooLong
	}
	return n, Data, nil
}

// digit reads one hexadecimal digit; git writes them small and reads both.
func digit(c byte) (int, bool) {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0'), true
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10, true
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10, true
	}
	return 0, false
}

// need waits until n bytes of the packet are there.
func (r *Reader) need(n int) error {
	for empty := 0; r.end-r.start < n; {
		switch {
		case errors.Is(r.err, io.EOF) && r.start == r.end:
			return io.EOF
		case errors.Is(r.err, io.EOF):
			return r.fail(io.ErrUnexpectedEOF)
		case r.err != nil:
			return r.fail(r.err)
		}
		r.room(n)
		var m int
		if m, r.err = r.r.Read(r.buf[r.end:]); m > 0 {
			r.end, empty = r.end+m, 0
		} else if empty++; empty == maxEmptyReads && r.err == nil {
			r.err = io.ErrNoProgress
		}
	}
	return nil
}

// room makes sure that n bytes of the packet fit into the buffer, and that some of them can still come.
func (r *Reader) room(n int) {
	if len(r.buf)-r.start >= n && r.end < len(r.buf) {
		return
	}
	to := r.buf
	if len(to) < n {
		to = make([]byte, max(firstBytes, min(2*n, 2*MaxBytes)))
	}
	r.end = copy(to, r.buf[r.start:r.end])
	r.buf, r.start = to, 0
}

func (r *Reader) fail(err error) error {
	have := r.buf[r.start:r.end]
	return &Error{Offset: r.offset, Header: bytes.Clone(have[:min(len(have), headerBytes)]), Have: len(have), Err: err}
}

// Rest gives what follows the last packet given, which need not be pkt-lines. Next must not be called afterwards.
func (r *Reader) Rest() io.Reader {
	r.bad = errors.New("reading a pkt-line: the rest of the stream was taken")
	ahead := bytes.NewReader(r.buf[r.start:r.end])
	if r.err != nil {
		return io.MultiReader(ahead, ended{r.err})
	}
	return io.MultiReader(ahead, r.r)
}

// ended is a stream that has said how it ended.
type ended struct{ err error }

func (e ended) Read([]byte) (int, error) { return 0, e.err }
