package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"gatebook/internal/access"
	"gatebook/internal/protocol/postgres/grammar"
	wire "gatebook/internal/wire/postgres"
)

// hiding is what is masked in one statement's answer.
type hiding struct {
	// known: values that the gateway knows to be secret, wherever they stand.
	known bool
	// columns: a mask of the policy's, or of the gateway's own, hides columns that the statement reaches.
	columns bool
	// touches says that such a column is within the statement's reach, so that errors may repeat it.
	touches  bool
	exposure grammar.Exposure
	source   *maskSource
	// described: a Describe was sent for it. Of the goroutine that reads the client.
	described bool
	fields    []wire.Field
	hidden    []bool
}

// describe decides, for each column, whether it is hidden: by what the text says, and by where the server says that it comes from.
func (h *hiding) describe(body []byte) error {
	if !h.known && !h.columns {
		return nil
	}
	fields, err := wire.ReadRowDescription(body)
	if err != nil {
		return access.Refuse(access.CodeUpstream, err, "the database's answer cannot be read")
	}
	h.fields, h.hidden = fields, nil
	if !h.columns {
		return nil
	}
	for i, f := range fields {
		h.hidden = append(h.hidden, h.exposure.Shows(i, len(fields), f.Name) || h.source.column(f.Table, f.Column))
	}
	return nil
}

// any reports whether some column of the answer is hidden.
func (h *hiding) any() bool {
	for _, x := range h.hidden {
		if x {
			return true
		}
	}
	return false
}

// row passes on a row, with hidden cells replaced.
func (r *relay) row(o *operation, m wire.Message) error {
	if !o.hide.columns || o.hide.fields != nil && !o.hide.any() {
		return r.add(o, m.Raw)
	}
	var b wire.Builder
	b.Begin(wire.DataRow).Raw(m.Body[:min(2, len(m.Body))]) // the number of cells
	err := wire.Cells(m.Body, func(i int, cell []byte) {
		if cell != nil && (o.hide.fields == nil || i >= len(o.hide.hidden) || o.hide.hidden[i]) {
			f := wire.Field{Format: 1} // what is not described becomes NULL
			if i < len(o.hide.fields) {
				f = o.hide.fields[i]
			}
			cell = r.s.placeholder(f, cell)
			o.out.Masked++
		}
		b.Value(cell)
	})
	if err != nil {
		return access.Refuse(access.CodeUpstream, err, "a row of the database's answer cannot be read")
	}
	b.End()
	return r.add(o, b.Bytes)
}

// placeholder is what stands for a cell: valid for its type and format, or NULL.
func (s *session) placeholder(f wire.Field, cell []byte) []byte {
	text := s.scope.Placeholder(cell)
	switch {
	case f.Type == typeJSON, f.Type == typeJSONB && f.Format == 0:
		return strconv.AppendQuote(nil, text)
	case f.Type == typeJSONB:
		return append([]byte{1}, strconv.Quote(text)...)
	case f.Type == typeByte && f.Format == 1, isText(f.Type) && f.Type != typeChar:
		return []byte(text)
	case f.Type == typeByte:
		return []byte(`\x` + hex.EncodeToString([]byte(text)))
	case (f.Type == typeTextArray || f.Type == typeCharArray) && f.Format == 0:
		return []byte("{" + text + "}")
	case (f.Type == typeInt8 || f.Type == typeNumeric || f.Type == typeFloat8) && f.Format == 0:
		return []byte(s.scope.Number(cell))
	case f.Type == typeInt8:
		n, err := strconv.ParseUint(s.scope.Number(cell), 10, 63)
		if err != nil {
			return nil
		}
		return binary.BigEndian.AppendUint64(nil, n)
	case f.Type >= firstOwnType && f.Format == 0: // enumerations, citext and the like: text to the client
		return []byte(text)
	}
	return nil
}

// firstOwnType is the first number of a type that a database itself defines (FirstNormalObjectId).
const firstOwnType = 16384

// concealMessages replaces known values in whole messages, of operation o or of none.
func (s *session) concealMessages(b []byte, o *operation) ([]byte, int64, error) {
	clean, n := s.concealBytes(b)
	if n == 0 && len(clean) == len(b) {
		return b, 0, nil
	}
	// There is one: lengths change, so it is done field by field.
	var out wire.Builder
	in := wire.NewReader(bytes.NewReader(b), len(b)+1)
	total := int64(0)
	for {
		m, err := in.Next()
		if err != nil {
			break // the end: these are whole messages
		}
		n, err := s.concealMessage(&out, m, o)
		if err != nil {
			return nil, 0, access.Refuse(access.CodeUnmaskable, err, "the database's answer holds a value that is masked, and cannot be read")
		}
		total += n
	}
	return out.Bytes, total, nil
}

func (s *session) concealMessage(out *wire.Builder, m wire.Message, o *operation) (n int64, err error) {
	text := func(t string) string {
		c, k := s.concealBytes([]byte(t))
		n += k
		if k == 0 {
			return t
		}
		return string(c)
	}
	switch m.Type {
	case wire.DataRow:
		var cells [][]byte
		err = wire.Cells(m.Body, func(i int, cell []byte) {
			if clean, k := s.concealBytes(cell); cell != nil && k > 0 {
				n += k
				cell = s.replaced(o, i, cell, clean)
			}
			cells = append(cells, cell)
		})
		out.Begin(m.Type).Int16(len(cells))
		for _, c := range cells {
			out.Value(c)
		}
		out.End()
	case wire.ErrorResponse, wire.NoticeResponse:
		var fields []wire.Report
		if fields, err = wire.ReadReport(m.Body); err != nil {
			return 0, err
		}
		for i := range fields {
			fields[i].Text = text(fields[i].Text)
		}
		out.Report(m.Type, fields)
	case wire.NotificationResponse:
		process, channel, payload, rerr := wire.ReadNotification(m.Body)
		out.Begin(m.Type).Int32(process).Text(text(channel)).Text(text(payload)).End()
		err = rerr
	case wire.ParameterStatus:
		name, v, rerr := wire.ReadPair(m.Body)
		out.Begin(m.Type).Text(name).Text(text(v)).End()
		err = rerr
	case wire.RowDescription:
		err = s.concealColumns(out, m, text)
	default:
		out.Raw(m.Raw) // holds no text of anybody's
	}
	return n, err
}

func (s *session) concealColumns(out *wire.Builder, m wire.Message, text func(string) string) error {
	fields, err := wire.ReadRowDescription(m.Body)
	if err != nil {
		return err
	}
	out.Begin(m.Type).Int16(len(fields))
	rest := m.Body[2:]
	for _, f := range fields {
		rest = rest[len(f.Name)+1:]
		out.Text(text(f.Name)).Raw(rest[:18])
		rest = rest[18:]
	}
	out.End()
	return nil
}

// replaced is a cell in which known values were found, as it can stand there.
func (s *session) replaced(o *operation, i int, cell, clean []byte) []byte {
	f := wire.Field{Format: 1}
	if o != nil && i < len(o.hide.fields) {
		f = o.hide.fields[i]
	} else if o != nil && o.hide.fields == nil {
		f = wire.Field{Type: typeText} // not described: text is the default
		if !bytesAreText(cell) {
			return nil
		}
	}
	switch {
	case isText(f.Type), f.Type >= firstOwnType && f.Format == 0, f.Type == typeJSONB, f.Type == typeTextArray && f.Format == 0, f.Type == typeCharArray && f.Format == 0,
		f.Type == typeByte && f.Format == 1:
		return clean
	}
	return s.placeholder(f, cell)
}

func bytesAreText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// hiddenLine is a row of a COPY with hidden columns replaced. That can be done in the plain text format alone; anything else with hidden
// columns was refused before.
func (r *relay) hiddenLine(o *operation, m wire.Message) []byte {
	if !o.hide.columns || m.Type != wire.CopyData {
		return m.Raw
	}
	line, end := bytes.CutSuffix(m.Body, []byte("\n"))
	cells := bytes.Split(line, []byte("\t"))
	for i, c := range cells {
		if !bytes.Equal(c, []byte(`\N`)) && o.hide.exposure.Shows(i, len(cells), "") {
			cells[i] = []byte(r.s.scope.Placeholder(c))
			o.out.Masked++
		}
	}
	var b wire.Builder
	b.Begin(wire.CopyData).Raw(bytes.Join(cells, []byte("\t")))
	if end {
		b.Byte('\n')
	}
	b.End()
	return b.Bytes
}
