package recording

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"gatebook/internal/access"
)

// encode is the inverse of Decode.
func encode(f *Frame) []byte {
	id := access.OperationID(f.ID)
	switch f.Kind {
	case KindUnit:
		return appendUnit(nil, f.ID, f.Time, f.NextOp, f.NextFrame)
	case KindResume:
		return appendResume(nil, f)
	case KindBegin:
		return appendBegin(nil, f.Op, f.Session, id, f.Time, f.Data)
	case KindPayload:
		return appendPayload(nil, f.Op, f.Delta, f.Data)
	case KindReady:
		return appendReady(nil, f.Op, f.Delta)
	case KindStream:
		return appendStream(nil, f.Op, f.Delta, f.Stream, f.Direction, f.Data)
	case KindResize:
		return appendResize(nil, f.Op, f.Delta, f.Cols, f.Rows)
	case KindEnd:
		return appendEnd(nil, f.Op, f.Delta, f.Data)
	case KindNote:
		return appendNote(nil, f.Session, f.Time, f.Name, f.Data)
	}
	return appendLeaf(nil, f.Session, f.Data)
}

func drawFrame(t *rapid.T) Frame {
	text := rapid.StringN(0, 60, 240)
	op, data := rapid.Uint64().Draw(t, "op"), rapid.SliceOf(rapid.Byte()).Draw(t, "data")
	at := time.Unix(0, rapid.Int64().Draw(t, "time")).UTC()
	delta := time.Duration(rapid.Int64Range(0, 1<<50).Draw(t, "delta")) * time.Microsecond
	session := access.SessionID(text.Draw(t, "session"))
	switch k := Kind(rapid.IntRange(1, 10).Draw(t, "kind")); k {
	case KindUnit:
		return Frame{Kind: k, ID: text.Draw(t, "id"), Time: at, NextOp: op, NextFrame: rapid.Uint64().Draw(t, "next")}
	case KindResume:
		return Frame{Kind: k, Op: op, Session: session, ID: text.Draw(t, "id"), Time: at, Delta: delta, Frames: op, FromClient: op / 2,
			ToClient: op / 3, State: []byte(text.Draw(t, "state")), Data: data}
	case KindBegin:
		return Frame{Kind: k, Op: op, Session: session, ID: text.Draw(t, "id"), Time: at, Data: data}
	case KindStream:
		return Frame{Kind: k, Op: op, Delta: delta, Stream: Stream(rapid.StringN(0, 16, 64).Draw(t, "stream")),
			Direction: Direction(rapid.IntRange(0, 1).Draw(t, "direction")), Data: data}
	case KindResize:
		return Frame{Kind: k, Op: op, Delta: delta, Cols: uint16(op), Rows: uint16(op >> 16)}
	case KindReady:
		return Frame{Kind: k, Op: op, Delta: delta}
	case KindNote:
		return Frame{Kind: k, Session: session, Time: at, Name: text.Draw(t, "name"), Data: data}
	case KindLeaf:
		return Frame{Kind: k, Session: session, Data: data}
	default:
		return Frame{Kind: k, Op: op, Delta: delta, Data: data}
	}
}

func TestFramesRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := drawFrame(rt)
		got, err := Decode(encode(&want))
		if err != nil {
			rt.Fatal(err)
		}
		for _, f := range []*Frame{&want, &got} {
			if len(f.Data) == 0 {
				f.Data = nil
			}
			if len(f.State) == 0 {
				f.State = nil
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// What Decode accepts has one form only.
func FuzzDecode(f *testing.F) {
	f.Add(appendUnit(nil, "u", time.Unix(1, 2), 3, 4))
	f.Add(appendStream(nil, 300, time.Second, Stdout, ToClient, []byte("x")))
	f.Add(appendBegin(nil, 1, "s", "o", time.Unix(1, 2), []byte("{}")))
	f.Add(appendResize(nil, 1, 0, 80, 24))
	f.Add(appendNote(nil, "s", time.Unix(1, 2), "login", nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		frame, err := Decode(in)
		if err != nil {
			return
		}
		if again := encode(&frame); !bytes.Equal(in, again) {
			t.Fatalf("%x is also %x", in, again)
		}
	})
}

func FuzzReadFrames(f *testing.F) {
	run := appendSegmentHead(nil, "s")
	for i, frame := range [][]byte{appendUnit(nil, "u", time.Unix(1, 0), 0, 0), appendNote(nil, "s", time.Unix(1, 0), "login", nil)} {
		run = append(appendRecordHead(run, uint64(i), len(frame)), frame...)
	}
	f.Add(run)
	f.Fuzz(func(t *testing.T, in []byte) {
		size := 0
		err := ReadFrames(bytes.NewReader(in), func(e Event) error { size += len(e.Data); return nil })
		if err == nil && size > len(in) {
			t.Fatalf("%d bytes out of %d", size, len(in))
		}
	})
}
