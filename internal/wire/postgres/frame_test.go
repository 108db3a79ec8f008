package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5/pgproto3"
)

// pieces gives its bytes in two reads, cut at one place.
type pieces struct {
	parts [][]byte
}

func (p *pieces) Read(b []byte) (int, error) {
	for len(p.parts) > 0 && len(p.parts[0]) == 0 {
		p.parts = p.parts[1:]
	}
	if len(p.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.parts[0])
	p.parts[0] = p.parts[0][n:]
	return n, nil
}

func readAll(src io.Reader, max int) (types string, bodies [][]byte, err error) {
	r := NewReader(src, max)
	for {
		m, err := r.Next()
		if err != nil {
			return types, bodies, err
		}
		types += string(m.Type)
		bodies = append(bodies, bytes.Clone(m.Raw))
	}
}

// samples are messages as another implementation writes them.
func samples(t testing.TB) []byte {
	var b []byte
	for _, m := range []pgproto3.FrontendMessage{
		&pgproto3.Query{String: "select 1"}, &pgproto3.Parse{Name: "a", Query: "select $1", ParameterOIDs: []uint32{23, 0}}, &pgproto3.Bind{DestinationPortal: "p", PreparedStatement: "a", ParameterFormatCodes: []int16{1, 0}, Parameters: [][]byte{{0, 0, 0, 1}, nil}, ResultFormatCodes: []int16{1}},
		&pgproto3.Describe{ObjectType: 'S', Name: "a"}, &pgproto3.Execute{Portal: "p", MaxRows: 7}, &pgproto3.Close{ObjectType: 'P', Name: "p"}, &pgproto3.Sync{}, &pgproto3.CopyData{Data: bytes.Repeat([]byte("x"), 9000)}, &pgproto3.CopyFail{Message: "no"}, &pgproto3.Terminate{},
	} {
		var err error
		if b, err = m.Encode(b); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// Messages are the same wherever the stream is cut, and byte by byte.
func TestEverySplit(t *testing.T) {
	b := samples(t)
	want, bodies, err := readAll(bytes.NewReader(b), 1<<20)
	if want != "QPBDECSdfX" || err != io.EOF {
		t.Fatal(want, err)
	}
	for i := range b {
		got, again, err := readAll(&pieces{[][]byte{bytes.Clone(b[:i]), bytes.Clone(b[i:])}}, 1<<20)
		if got != want || err != io.EOF || !bytes.Equal(bytes.Join(again, nil), bytes.Join(bodies, nil)) {
			t.Fatalf("cut at %d: %q, %v", i, got, err)
		}
		if _, _, err := readAll(bytes.NewReader(b[:i]), 1<<20); err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Fatalf("ended at %d: %v", i, err)
		}
	}
	if got, _, _ := readAll(iotest.OneByteReader(bytes.NewReader(b)), 1<<20); got != want {
		t.Fatal(got)
	}
}

// Fields are read as another implementation wrote them.
// A long message leaves nothing behind that the next could fall over.
func TestLongThenShort(t *testing.T) {
	for _, n := range []int{firstBytes, fullBytes, 3 * fullBytes, 200_134} {
		var b Builder
		b.Begin(Query).Text(strings.Repeat("x", n)).End()
		long := len(b.Bytes)
		b.Begin(Sync).End()
		r := NewReader(io.MultiReader(bytes.NewReader(b.Bytes[:long]), bytes.NewReader(b.Bytes[long:])), 1<<20) // the second in a read of its own
		for _, want := range []byte{Query, Sync} {
			if m, err := r.Next(); err != nil || m.Type != want {
				t.Errorf("%d bytes: %q, %v; want %q", n, m.Type, err, want)
			}
		}
	}
}

func TestFields(t *testing.T) {
	_, raw, _ := readAll(bytes.NewReader(samples(t)), 1<<20)
	p, err := ReadParse(raw[1][5:])
	if err != nil || p.Name != "a" || p.Text != "select $1" || len(p.Types) != 2 || p.Types[0] != 23 {
		t.Error(p, err)
	}
	b, err := ReadBind(raw[2][5:])
	if err != nil || b.Portal != "p" || b.Statement != "a" || b.Format(0) != 1 || b.Format(1) != 0 || b.Values[1] != nil || len(b.Values[0]) != 4 || len(b.Results) != 1 {
		t.Error(b, err)
	}
	if k, n, err := ReadNamed(raw[3][5:]); k != 'S' || n != "a" || err != nil {
		t.Error(k, n, err)
	}
	if portal, rows, err := ReadExecute(raw[4][5:]); portal != "p" || rows != 7 || err != nil {
		t.Error(portal, rows, err)
	}
}

// Answers that are built are read by another implementation.
func TestBuilt(t *testing.T) {
	var b Builder
	b.Report(ErrorResponse, []Report{{'S', "ERROR"}, {'C', "42501"}, {'M', "no"}, {'H', "yes"}})
	b.Begin(DataRow).Int16(2).Value([]byte("a")).Value(nil).End()
	b.Ready('T')
	f := pgproto3.NewFrontend(bytes.NewReader(b.Bytes), io.Discard)
	m, err := f.Receive()
	if e, ok := m.(*pgproto3.ErrorResponse); err != nil || !ok || e.Code != "42501" || e.Hint != "yes" {
		t.Error(m, err)
	}
	m, err = f.Receive()
	if d, ok := m.(*pgproto3.DataRow); err != nil || !ok || len(d.Values) != 2 || d.Values[1] != nil {
		t.Error(m, err)
	}
	m, err = f.Receive()
	if z, ok := m.(*pgproto3.ReadyForQuery); err != nil || !ok || z.TxStatus != 'T' {
		t.Error(m, err)
	}
}

// S59: lengths that cannot be are errors, and a length alone takes no room.
func TestLengths(t *testing.T) {
	for raw, want := range map[string]error{
		"Q\x00\x00\x00\x00": ErrLength, "Q\x00\x00\x00\x03": ErrLength, "Q\xff\xff\xff\xff": ErrLength, "Q\x80\x00\x00\x00": ErrLength, "Q\x40\x00\x00\x01": ErrLength,
		"Q\x40\x00\x00\x00": ErrLarge, "Q\x00\x00\x04\x00": ErrLarge, "Q\x00\x00\x03\xff": io.ErrUnexpectedEOF,
	} {
		if _, _, err := readAll(bytes.NewReader([]byte(raw)), 1024); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", raw, err, want)
		}
	}
	r := NewReader(bytes.NewReader([]byte("D\x3f\xff\xff\xff....")), 1<<30)
	if _, err := r.Next(); err != io.ErrUnexpectedEOF || len(r.buf) > 1<<20 {
		t.Errorf("%v, with %d bytes of room", err, len(r.buf))
	}
}

// Reading allocates nothing for a message.
func TestReadingAllocatesNothing(t *testing.T) {
	var b Builder
	for range 100 {
		b.Begin(DataRow).Int16(1).Value([]byte("some value")).End()
	}
	src := bytes.NewReader(b.Bytes)
	r := NewReader(src, 1<<20)
	if n := testing.AllocsPerRun(100, func() {
		src.Reset(b.Bytes)
		for range 100 {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations for 100 messages", n)
	}
}

// FuzzMessages: whatever comes, wherever it is cut, is the same messages or the same error, and every decoder ends.
func FuzzMessages(f *testing.F) {
	f.Add(samples(f), 7)
	f.Add([]byte("Q\x00\x00\x00\x05\x00T\x00\x00\x00\x06\x00\x00E\x00\x00\x00\x05\x00"), 3)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		cut = max(0, min(cut, len(b)))
		want, bodies, err := readAll(bytes.NewReader(b), 1<<16)
		got, again, err2 := readAll(&pieces{[][]byte{bytes.Clone(b[:cut]), bytes.Clone(b[cut:])}}, 1<<16)
		if got != want || (err == io.EOF) != (err2 == io.EOF) || !bytes.Equal(bytes.Join(bodies, nil), bytes.Join(again, nil)) {
			t.Fatalf("%q %v, cut at %d %q %v", want, err, cut, got, err2)
		}
		for _, raw := range bodies {
			body := raw[5:]
			_, _ = ReadText(body)
			_, _ = ReadParse(body)
			if x, err := ReadBind(body); err == nil {
				for i := range x.Values {
					x.Format(i)
				}
			}
			if _, x, err := ReadFunctionCall(body); err == nil {
				for i := range x.Values {
					x.Format(i)
				}
			}
			_, _ = ReadFunctionCallResponse(body)
			_, _, _ = ReadNamed(body)
			_, _, _ = ReadExecute(body)
			_, _ = ReadRowDescription(body)
			_, _ = ReadParameterTypes(body)
			_ = Cells(body, func(int, []byte) {})
			_, _, _ = ReadPair(body)
			_, _, _, _ = ReadNotification(body)
			_, _, _ = ReadCopy(body)
			if fields, err := ReadReport(body); err == nil {
				var out Builder
				out.Report(raw[0], fields)
			}
		}
	})
}

// FuzzFirst: what opens a connection is read whole, and not a byte more.
func FuzzFirst(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2fmore"))
	f.Add([]byte("\x00\x00\x00\x10\x04\xd2\x16\x2e12345678"))
	f.Add([]byte("\x00\x00\x00\x10\x00\x03\x00\x00user\x00a\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		first, err := ReadFirst(iotest.OneByteReader(r))
		if err != nil {
			return
		}
		n := int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
		if len(b)-r.Len() != n {
			t.Errorf("%d bytes read of %d", len(b)-r.Len(), n)
		}
		if first.Kind == Startup || first.Kind == Cancel {
			again, err := ReadFirst(bytes.NewReader(first.Bytes()))
			if err != nil || again.Kind != first.Kind || len(again.Params) != len(first.Params) || again.Process != first.Process {
				t.Errorf("%+v, written and read: %+v, %v", first, again, err)
			}
		}
	})
}

// Messages of one type that follow each other are given together, at every split, and nothing is lost or given twice.
func TestAlong(t *testing.T) {
	var in Builder
	for i := range 40 {
		kind := byte(DataRow)
		if i%7 == 3 {
			kind = CommandComplete
		}
		in.Begin(kind).Raw(bytes.Repeat([]byte{byte(i)}, i%5)).End()
	}
	for split := 1; split < len(in.Bytes); split++ {
		for _, max := range []int{1, 16, 1 << 20} {
			r := NewReader(io.MultiReader(bytes.NewReader(in.Bytes[:split]), bytes.NewReader(in.Bytes[split:])), 1<<10)
			var out []byte
			for {
				m, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				size := len(m.Raw)
				b := r.Along(m, max)
				if len(b) > size && len(b) > max {
					t.Fatalf("split at %d: %d bytes, at most %d were asked for", split, len(b), max)
				}
				for rest := b; len(rest) > 0; {
					if rest[0] != m.Type {
						t.Fatalf("split at %d: a message of type %q among those of type %q", split, rest[0], m.Type)
					}
					rest = rest[1+int(binary.BigEndian.Uint32(rest[1:])):]
				}
				out = append(out, b...)
			}
			if !bytes.Equal(out, in.Bytes) {
				t.Fatalf("split at %d: %d of %d bytes", split, len(out), len(in.Bytes))
			}
		}
	}
}
