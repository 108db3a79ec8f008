package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"gatebook/internal/mask"
	wire "gatebook/internal/wire/postgres"
)

func testScope(t testing.TB) *mask.Scope {
	t.Helper()
	e, err := mask.New(mask.Options{Key: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	return e.Scope("session")
}

// dataRow writes a row as the server does.
func dataRow(cells [][]byte) []byte {
	var b wire.Builder
	b.Begin(wire.DataRow).Int16(len(cells))
	for _, c := range cells {
		b.Value(c)
	}
	b.End()
	return b.Bytes
}

// A row with hidden cells is the row with what stands for them, and nothing else of it changes; of one that is cut or has too much
// nothing is passed on.
func TestRowsHideCells(t *testing.T) {
	s := testScope(t)
	types := []uint32{typeText, typeVarchar, typeChar, typeInt4, typeInt8, typeNumeric, typeByte, typeJSON, typeJSONB, typeTextArray, typeBool, firstOwnType, 0}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 6).Draw(t, "cells")
		h := hiding{known: true, columns: true, fields: []wire.Field{}}
		var cells [][]byte
		for range n {
			h.fields = append(h.fields, wire.Field{Type: rapid.SampledFrom(types).Draw(t, "type"), Format: rapid.IntRange(0, 1).Draw(t, "format")})
			h.hidden = append(h.hidden, rapid.Bool().Draw(t, "hidden"))
			cell := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "cell")
			if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
				cell = nil
			}
			cells = append(cells, cell)
		}
		described := rapid.IntRange(0, 3).Draw(t, "described") > 0
		if !described {
			h.fields, h.hidden = nil, nil
		}
		raw := dataRow(cells)
		before := []byte("before")
		out, masked, err := h.row(bytes.Clone(before), s.Placeholders(), raw)
		if err != nil {
			t.Fatal(err)
		}
		want, count := make([][]byte, n), int64(0)
		for i, c := range cells {
			want[i] = c
			if c == nil || described && !h.hidden[i] {
				continue
			}
			count++
			f := wire.Field{Format: 1}
			if described {
				f = h.fields[i]
			}
			want[i] = standsFor(s, f, c)
		}
		if got := append(before, dataRow(want)...); !bytes.Equal(out, got) || masked != count {
			t.Fatalf("%d masked\n got %q\nwant %q", masked, out, got)
		}
		cut := rapid.IntRange(0, len(raw)-1).Draw(t, "cut")
		for _, bad := range [][]byte{raw[:cut], append(bytes.Clone(raw), 0)} {
			if out, _, err := h.row(nil, s.Placeholders(), bad); !errors.Is(err, wire.ErrField) {
				t.Fatalf("%q was taken: %q, %v", bad, out, err)
			}
		}
	})
}

// standsFor is what docs/protocols/postgres.md says of each type; nil: NULL.
func standsFor(s *mask.Scope, f wire.Field, cell []byte) []byte {
	text, number := s.Placeholder(cell), s.Number(cell)
	key := fmt.Sprintf("%d/%d", f.Type, f.Format)
	n, _ := strconv.ParseUint(number, 10, 64)
	array := []byte("{" + text + "}")
	return map[string][]byte{"25/0": []byte(text), "25/1": []byte(text), "1043/0": []byte(text), "1043/1": []byte(text), "20/0": []byte(number), "1700/0": []byte(number),
		"20/1": binary.BigEndian.AppendUint64(nil, n), "17/1": []byte(text), "17/0": fmt.Appendf(nil, `\x%x`, text), "114/0": []byte(`"` + text + `"`), "114/1": []byte(`"` + text + `"`),
		"3802/0": []byte(`"` + text + `"`), "3802/1": []byte("\x01\"" + text + `"`), "1009/0": array, "16384/0": []byte(text)}[key]
}

func BenchmarkRows(b *testing.B) {
	s := testScope(b)
	raw := dataRow([][]byte{[]byte("123456"), []byte("Customer number 123456"), []byte("e10adc3949ba59abbe56e057f20f883e@example.com"),
		[]byte("somewhere in the north of the town, second floor, ring twice")})
	text := wire.Field{Type: typeText}
	h := hiding{known: true, columns: true, any: true, fields: []wire.Field{{Type: typeInt4}, text, text, text}, hidden: []bool{false, false, true, false}}
	p := s.Placeholders()
	var out []byte
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if out, _, err = h.row(out[:0], p, raw); err != nil {
			b.Fatal(err)
		}
	}
}
