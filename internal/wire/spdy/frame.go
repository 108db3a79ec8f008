package spdy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// MaxFrame bounds the payload of one frame, in octets. Kubernetes' own clients and servers write at most 32 KiB.
	MaxFrame = 256 << 10

	bufferBytes = 32 << 10
	headerBytes = 8
)

// boundary follows the frames of one direction without decoding them (SPDY/3.1, section 2.2): each has a header of
// eight octets, of which the last three are the length of what follows, for data and control frames alike.
type boundary struct {
	header [headerBytes]byte
	have   int // octets of the header seen
	rest   int // octets of the payload still to come
}

// feed takes the next octets and reports whether they end exactly at the end of a frame.
func (b *boundary) feed(p []byte) (whole bool, err error) {
	for len(p) > 0 {
		if b.have < headerBytes {
			n := copy(b.header[b.have:], p)
			b.have, p = b.have+n, p[n:]
			if b.have < headerBytes {
				return false, nil
			}
			b.rest = int(b.header[5])<<16 | int(b.header[6])<<8 | int(b.header[7])
			if b.rest > MaxFrame {
				return false, fmt.Errorf("spdy frame of %d octets: the limit is %d", b.rest, MaxFrame)
			}
		}
		n := min(b.rest, len(p))
		b.rest, p = b.rest-n, p[n:]
		if b.rest == 0 {
			b.have = 0
		}
	}
	return b.have == 0, nil
}

// framed is the connection as spdystream sees it: reads are buffered and stop at a frame that is too large; writes
// are gathered to whole frames, since spdystream writes a header in several pieces.
type framed struct {
	rwc   io.ReadWriteCloser
	br    *bufio.Reader
	bw    *bufio.Writer
	in    boundary
	out   boundary
	close func() error
}

func newFramed(rwc io.ReadWriteCloser) *framed {
	return &framed{
		rwc: rwc, br: bufio.NewReaderSize(rwc, bufferBytes), bw: bufio.NewWriterSize(rwc, bufferBytes+headerBytes),
		close: sync.OnceValue(rwc.Close),
	}
}

func (f *framed) Read(p []byte) (int, error) {
	n, err := f.br.Read(p)
	if _, tooLarge := f.in.feed(p[:n]); tooLarge != nil {
		return 0, tooLarge
	}
	return n, err
}

func (f *framed) Write(p []byte) (int, error) {
	n, err := f.bw.Write(p)
	if err != nil {
		return n, err
	}
	whole, err := f.out.feed(p)
	if err != nil {
		return 0, err
	}
	if whole {
		return n, f.bw.Flush()
	}
	return n, nil
}

// Close never fails: a connection that cannot be closed was closed by its peer, and spdystream would wait for somebody
// to take the error.
func (f *framed) Close() error {
	f.drop()
	return nil
}

func (f *framed) drop() {
	if err := f.close(); err != nil {
		return
	}
}

type address struct{}

func (address) Network() string { return "spdy" }
func (address) String() string  { return "spdy" }

var errNoDeadline = errors.New("a spdy connection has no deadlines: close it")

func (f *framed) LocalAddr() net.Addr              { return address{} }
func (f *framed) RemoteAddr() net.Addr             { return address{} }
func (f *framed) SetDeadline(time.Time) error      { return errNoDeadline }
func (f *framed) SetReadDeadline(time.Time) error  { return errNoDeadline }
func (f *framed) SetWriteDeadline(time.Time) error { return errNoDeadline }
