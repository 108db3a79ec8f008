package postgres

import (
	"bytes"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	"gatebook/internal/protocol/postgres/grammar"
	wire "gatebook/internal/wire/postgres"
)

// hiding is what is masked in one statement's answer.
type hiding struct {
	// known: values that the gateway knows to be secret, or that detectors find, wherever they stand. scope knows them.
	known bool
	scope *mask.Scope
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
	any       bool // some of hidden
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
	h.fields, h.hidden, h.any = fields, nil, false
	if !h.columns {
		return nil
	}
	for i, f := range fields {
		hidden := h.exposure.Shows(i, len(fields), f.Name) || h.source.column(f.Table, f.Column)
		h.hidden, h.any = append(h.hidden, hidden), h.any || hidden
	}
	return nil
}

// scopeOf is what is hidden in the answer to o, or in what belongs to none.
func (s *session) scopeOf(o *operation) *mask.Scope {
	if o == nil || o.hide.scope == nil {
		return s.scope
	}
	return o.hide.scope
}

// concealMessages replaces known values, and what detectors find, in whole messages, of operation o or of none.
func (s *session) concealMessages(b []byte, o *operation) ([]byte, int64, error) {
	if s.scopeOf(o).Clean(b) {
		return b, 0, nil
	}
	// There may be one: lengths change, and where a cell ends counts, so it is done field by field.
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
	scope := s.scopeOf(o)
	text := func(t string) string {
		c, k := concealed(scope, []byte(t))
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
			if clean, k := concealed(scope, cell); cell != nil && k > 0 {
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
	case wire.FunctionCallResponse: // whoever called has room for what was to come, and no more
		v, rerr := wire.ReadFunctionCallResponse(m.Body)
		if _, k := concealed(scope, v); k > 0 {
			n, v = k, nil
		}
		out.Begin(m.Type).Value(v).End()
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
