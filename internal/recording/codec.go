package recording

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"gatebook/internal/access"
)

// formatVersion is in every unit frame and every sealed segment. A reader refuses a version that it does not know.
const formatVersion = 1

const (
	maxStreamName = 64
	maxText       = 256 // session ids, operation ids, note kinds
)

var errFrame = errors.New("malformed frame")

// The encoders append one frame to b. Integers are unsigned varints, texts and JSON are prefixed by their length, and
// the last field of a frame that carries bytes is the rest of it.

func appendUnit(b []byte, id string, at time.Time, nextOp, nextFrame uint64) []byte {
	b = append(b, byte(KindUnit), formatVersion)
	b = appendText(b, id)
	b = appendTime(b, at)
	b = binary.AppendUvarint(b, nextOp)
	return binary.AppendUvarint(b, nextFrame)
}

func appendBegin(b []byte, op uint64, session access.SessionID, id access.OperationID, at time.Time, json []byte) []byte {
	b = binary.AppendUvarint(append(b, byte(KindBegin)), op)
	b = appendText(b, string(session))
	b = appendText(b, string(id))
	return append(appendTime(b, at), json...)
}

func appendResume(b []byte, f *Frame) []byte {
	b = binary.AppendUvarint(append(b, byte(KindResume)), f.Op)
	b = appendText(b, string(f.Session))
	b = appendText(b, f.ID)
	b = appendTime(b, f.Time)
	b = appendDelta(b, f.Delta)
	b = binary.AppendUvarint(b, f.Frames)
	b = binary.AppendUvarint(b, f.FromClient)
	b = binary.AppendUvarint(b, f.ToClient)
	b = appendText(b, string(f.State))
	return append(b, f.Data...)
}

func appendPayload(b []byte, op uint64, delta time.Duration, data []byte) []byte {
	return append(appendHead(b, KindPayload, op, delta), data...)
}

func appendReady(b []byte, op uint64, delta time.Duration) []byte {
	return appendHead(b, KindReady, op, delta)
}

func appendStream(b []byte, op uint64, delta time.Duration, s Stream, d Direction, data []byte) []byte {
	b = append(appendHead(b, KindStream, op, delta), byte(d))
	return append(appendText(b, string(s)), data...)
}

func appendResize(b []byte, op uint64, delta time.Duration, cols, rows uint16) []byte {
	b = appendHead(b, KindResize, op, delta)
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(cols)), uint64(rows))
}

func appendEnd(b []byte, op uint64, delta time.Duration, json []byte) []byte {
	return append(appendHead(b, KindEnd, op, delta), json...)
}

func appendNote(b []byte, session access.SessionID, at time.Time, name string, json []byte) []byte {
	b = appendText(append(b, byte(KindNote)), string(session))
	return append(appendText(appendTime(b, at), name), json...)
}

func appendLeaf(b []byte, session access.SessionID, entry []byte) []byte {
	return append(appendText(append(b, byte(KindLeaf)), string(session)), entry...)
}

func appendHead(b []byte, k Kind, op uint64, delta time.Duration) []byte {
	return appendDelta(binary.AppendUvarint(append(b, byte(k)), op), delta)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixNano()))
}

func appendDelta(b []byte, d time.Duration) []byte {
	return binary.AppendUvarint(b, uint64(max(0, d.Microseconds())))
}

// Decode reads one frame. Data and State of the result share b's memory. What Decode accepts, the encoders give back
// byte for byte; anything else is an error.
func Decode(b []byte) (Frame, error) {
	if len(b) == 0 {
		return Frame{}, fmt.Errorf("%w: empty", errFrame)
	}
	f := Frame{Kind: Kind(b[0])}
	r := reader{rest: b[1:]}
	switch f.Kind {
	case KindUnit:
		if v := r.byte(); v != formatVersion && r.err == nil {
			return Frame{}, fmt.Errorf("%w: format version %d, this program reads %d", errFrame, v, formatVersion)
		}
		f.ID, f.Time, f.NextOp, f.NextFrame = r.text(maxText), r.time(), r.uvarint(), r.uvarint()
	case KindResume:
		f.Op, f.Session, f.ID, f.Time = r.uvarint(), access.SessionID(r.text(maxText)), r.text(maxText), r.time()
		f.Delta, f.Frames, f.FromClient, f.ToClient = r.delta(), r.uvarint(), r.uvarint(), r.uvarint()
		f.State, f.Data = r.bytes(maxText), r.all()
	case KindBegin:
		f.Op, f.Session, f.ID, f.Time = r.uvarint(), access.SessionID(r.text(maxText)), r.text(maxText), r.time()
		f.Data = r.all()
	case KindNote:
		f.Session, f.Time, f.Name, f.Data = access.SessionID(r.text(maxText)), r.time(), r.text(maxText), r.all()
	case KindLeaf:
		f.Session, f.Data = access.SessionID(r.text(maxText)), r.all()
	case KindPayload, KindReady, KindStream, KindResize, KindEnd:
		f.Op, f.Delta = r.uvarint(), r.delta()
		r.body(&f)
	default:
		return Frame{}, fmt.Errorf("%w: %s", errFrame, f.Kind)
	}
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("%w: %d bytes behind a %s frame", errFrame, len(r.rest), f.Kind)
	}
	if r.err != nil {
		return Frame{}, r.err
	}
	return f, nil
}

func (r *reader) body(f *Frame) {
	switch f.Kind {
	case KindPayload, KindEnd:
		f.Data = r.all()
	case KindStream:
		d := r.byte()
		if d > byte(ToClient) {
			r.fail("direction %d", d)
		}
		f.Direction = Direction(d)
		f.Stream = streamName(r.bytes(maxStreamName))
		f.Data = r.all()
	case KindResize:
		f.Cols, f.Rows = r.uint16(), r.uint16()
	}
}

// streamName does not allocate for the names that nearly all frames have.
func streamName(b []byte) Stream {
	switch string(b) {
	case string(Body):
		return Body
	case string(Stdin):
		return Stdin
	case string(Stdout):
		return Stdout
	case string(Stderr):
		return Stderr
	case string(Status):
		return Status
	}
	return Stream(b)
}

// reader takes fields off a frame. After the first error every field is zero.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errFrame, fmt.Sprintf(format, args...))
		r.rest = nil
	}
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail("too short")
		return 0
	}
	c := r.rest[0]
	r.rest = r.rest[1:]
	return c
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || n > 1 && r.rest[n-1] == 0 { // the second: not the shortest form
		r.fail("a bad integer")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) uint16() uint16 {
	v := r.uvarint()
	if v > math.MaxUint16 {
		r.fail("%d where 16 bits are", v)
		return 0
	}
	return uint16(v)
}

func (r *reader) bytes(limit uint64) []byte {
	n := r.uvarint()
	if n > limit || n > uint64(len(r.rest)) {
		r.fail("a text of %d bytes", n)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) text(limit uint64) string { return string(r.bytes(limit)) }

func (r *reader) time() time.Time {
	if len(r.rest) < 8 {
		r.fail("too short")
		return time.Time{}
	}
	n := binary.BigEndian.Uint64(r.rest)
	r.rest = r.rest[8:]
	return time.Unix(0, int64(n)).UTC()
}

func (r *reader) delta() time.Duration {
	n := r.uvarint()
	if n > math.MaxInt64/1000 {
		r.fail("a time of %d µs", n)
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

func (r *reader) all() []byte {
	b := r.rest
	r.rest = nil
	return b
}
