package http1

import (
	"bytes"
	"strconv"
)

// part is what the next byte belongs to.
type part uint8

const (
	start   part = iota // the request line, or a blank line before it
	head                // a header, or the blank line behind the last
	body                // a body of known length
	size                // a chunk's size
	data                // a chunk
	dataEnd             // the line end behind a chunk
	trailer             // a header behind the last chunk, or the blank line at the end
	other               // no HTTP/1.1
)

// inBody reports whether whoever reads the next byte reads a body, not a head.
func (p part) inBody() bool { return p >= body && p <= trailer }

// framing follows a client's bytes.
type framing struct {
	part part
	left uint64 // of a body or a chunk
	line []byte // the beginning of a line that is not whole

	old, connect, upgrade bool // HTTP/1.0; CONNECT; an Upgrade header
	length, chunked       bool // what the head says of the body
}

// maxKept is how much room for a broken line a connection keeps.
const maxKept = 4 << 10

// follow reads on through b, and gives how much of it is good; less than all where what comes then is not, or is other.
func (f *framing) follow(b []byte) (good int) {
	for at := 0; at < len(b); {
		switch f.part {
		case other:
			return at
		case body, data:
			n := min(f.left, uint64(len(b)-at))
			at += int(n)
			if f.left -= n; f.left == 0 {
				f.bodyEnd()
			}
		default:
			i := bytes.IndexByte(b[at:], '\n')
			if i < 0 {
				f.line = append(f.line, b[at:]...)
				return len(b)
			}
			line := b[at : at+i+1]
			if len(f.line) > 0 {
				f.line = append(f.line, line...)
				line = f.line
			}
			ok := f.whole(line)
			if f.line = f.line[:0]; cap(f.line) > maxKept {
				f.line = nil
			}
			if !ok {
				return at
			}
			at += i + 1
		}
	}
	return len(b)
}

func (f *framing) bodyEnd() {
	if f.part == data {
		f.part = dataEnd
		return
	}
	f.end()
}

// end is that of a request.
func (f *framing) end() {
	next := start
	if f.upgrade || f.connect {
		next = other
	}
	*f = framing{part: next, line: f.line}
}

// whole reads a line with its end, and reports whether there is one way to read it.
func (f *framing) whole(line []byte) bool {
	line, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || hasControl(line) {
		return false
	}
	switch f.part {
	case start:
		if len(line) > 0 {
			f.connect = bytes.HasPrefix(line, []byte("CONNECT "))
			f.old = !bytes.HasSuffix(line, []byte(" HTTP/1.1"))
			f.part = head
		}
		return true
	case head:
		if len(line) == 0 {
			f.headEnd()
			return true
		}
		return f.header(line)
	case size:
		return f.chunk(line)
	case dataEnd:
		f.part = size
		return len(line) == 0
	}
	if len(line) == 0 { // behind the trailers
		f.end()
		return true
	}
	name, _, ok := cutHeader(line)
	return ok && !isFraming(name)
}

func (f *framing) headEnd() {
	switch {
	case f.chunked:
		f.part = size
	case f.left > 0:
		f.part = body
	default:
		f.end()
	}
}

// hasControl reports whether a line holds a control character other than a tab.
func hasControl(line []byte) bool {
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// cutHeader parts a header's name from its value. A line that goes on with the one before it has no name (RFC 9112,
// section 5.2), nor has one with white space before its colon (section 5.1).
func cutHeader(line []byte) (name, value []byte, ok bool) {
	name, value, ok = bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return nil, nil, false
	}
	for _, c := range name {
		if !token[c] {
			return nil, nil, false
		}
	}
	return name, bytes.Trim(value, " \t"), true
}

// token are the characters of a name (RFC 9110, section 5.6.2).
var token = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
		t[c] = true
	}
	return t
}()

var (
	contentLength    = []byte("Content-Length")
	transferEncoding = []byte("Transfer-Encoding")
	upgrade          = []byte("Upgrade")
	chunked          = []byte("chunked")
)

func isFraming(name []byte) bool {
	return bytes.EqualFold(name, contentLength) || bytes.EqualFold(name, transferEncoding)
}

func (f *framing) header(line []byte) bool {
	name, value, ok := cutHeader(line)
	switch {
	case !ok:
		return false
	case bytes.EqualFold(name, contentLength):
		if f.length || f.chunked || f.connect {
			return false
		}
		f.length = true
		f.left, ok = number(value, 10)
		return ok
	case bytes.EqualFold(name, transferEncoding):
		if f.length || f.chunked || f.connect || f.old {
			return false
		}
		f.chunked = bytes.EqualFold(value, chunked)
		return f.chunked
	case bytes.EqualFold(name, upgrade):
		f.upgrade = true
	}
	return true
}

// chunk reads a chunk's size. Its extensions mean nothing to anybody, and are let through as they are.
func (f *framing) chunk(line []byte) bool {
	digits, _, _ := bytes.Cut(line, []byte(";"))
	n, ok := number(digits, 16)
	if f.left, f.part = n, data; n == 0 {
		f.part = trailer
	}
	return ok
}

// number reads digits, and nothing else. It is less than 2^63.
func number(b []byte, base int) (uint64, bool) {
	for _, c := range b {
		if !('0' <= c && c <= '9' || base == 16 && ('a' <= c && c <= 'f' || 'A' <= c && c <= 'F')) {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(string(b), base, 63)
	return n, err == nil
}
