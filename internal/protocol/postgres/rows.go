package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	wire "gatebook/internal/wire/postgres"
)

// row passes on a row, with hidden cells replaced; where none is, all rows that follow and have been read.
func (r *relay) row(o *operation, m wire.Message) error {
	if !o.hide.columns || o.hide.fields != nil && !o.hide.any {
		return r.add(o, r.s.from.Along(m, chunkBytes))
	}
	if err := r.turn(o, false); err != nil {
		return err
	}
	run, masked, err := o.hide.row(r.run, r.placeholders, m.Raw)
	if err != nil {
		return access.Refuse(access.CodeUpstream, err, "a row of the database's answer cannot be read")
	}
	r.run = run
	o.out.Masked += masked
	return nil
}

// row appends a DataRow with hidden cells replaced. What stands between them is copied as it is, and no cell is made a value of its own.
func (h *hiding) row(out []byte, p *mask.Placeholders, raw []byte) (_ []byte, masked int64, err error) {
	const head = 1 + 4 + 2 // type, length, number of cells
	if len(raw) < head {
		return out, 0, wire.ErrField
	}
	start, copied, at := len(out), 0, head
	for i := range int(binary.BigEndian.Uint16(raw[head-2:])) {
		if len(raw)-at < 4 {
			return out, 0, wire.ErrField
		}
		n := int(int32(binary.BigEndian.Uint32(raw[at:])))
		if n == -1 {
			at += 4
			continue
		}
		if n < 0 || n > len(raw)-at-4 {
			return out, 0, wire.ErrField
		}
		if h.fields == nil || i >= len(h.hidden) || h.hidden[i] {
			f := wire.Field{Format: 1} // what is not described becomes NULL
			if i < len(h.fields) {
				f = h.fields[i]
			}
			out = appendPlaceholder(append(out, raw[copied:at]...), p, f, raw[at+4:at+4+n])
			copied = at + 4 + n
			masked++
		}
		at += 4 + n
	}
	if at != len(raw) {
		return out, 0, wire.ErrField
	}
	out = append(out, raw[copied:]...)
	binary.BigEndian.PutUint32(out[start+1:], uint32(len(out)-start-1))
	return out, masked, nil
}

// appendPlaceholder appends what stands for a cell, behind its length: valid for its type and format, or NULL.
func appendPlaceholder(out []byte, p *mask.Placeholders, f wire.Field, cell []byte) []byte {
	at := len(out)
	out = append(out, 0, 0, 0, 0)
	switch {
	case f.Type == typeJSON, f.Type == typeJSONB && f.Format == 0:
		out = append(append(append(out, '"'), p.Text(cell)...), '"')
	case f.Type == typeJSONB:
		out = append(append(append(out, 1, '"'), p.Text(cell)...), '"')
	case f.Type == typeByte && f.Format == 1, isText(f.Type) && f.Type != typeChar:
		out = append(out, p.Text(cell)...)
	case f.Type == typeByte:
		out = hex.AppendEncode(append(out, `\x`...), p.Text(cell))
	case (f.Type == typeTextArray || f.Type == typeCharArray) && f.Format == 0:
		out = append(append(append(out, '{'), p.Text(cell)...), '}')
	case (f.Type == typeInt8 || f.Type == typeNumeric || f.Type == typeFloat8) && f.Format == 0:
		out = append(out, p.Number(cell)...)
	case f.Type == typeInt8:
		n, err := strconv.ParseUint(string(p.Number(cell)), 10, 63)
		if err != nil { // it is digits
			return append(out[:at], 0xff, 0xff, 0xff, 0xff)
		}
		out = binary.BigEndian.AppendUint64(out, n)
	case f.Type >= firstOwnType && f.Format == 0: // enumerations, citext and the like: text to the client
		out = append(out, p.Text(cell)...)
	default:
		return append(out[:at], 0xff, 0xff, 0xff, 0xff)
	}
	binary.BigEndian.PutUint32(out[at:], uint32(len(out)-at-4))
	return out
}

// placeholder is what stands for one cell; nil for NULL.
func (s *session) placeholder(f wire.Field, cell []byte) []byte {
	out := appendPlaceholder(nil, s.scope.Placeholders(), f, cell)
	if len(out) == 4 {
		return nil
	}
	return out[4:]
}

// firstOwnType is the first number of a type that a database itself defines (FirstNormalObjectId).
const firstOwnType = 16384
