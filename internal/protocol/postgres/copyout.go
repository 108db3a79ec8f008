package postgres

import (
	"bytes"
	"encoding/binary"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	wire "gatebook/internal/wire/postgres"
)

// copyOutput is a COPY to the client: what it holds is masked as a stream, since what is secret may go on in the next row. Its rows stay
// messages of their own, as the server sends them: libpq and others give them on one by one.
type copyOutput struct {
	binary bool
	masked *mask.TextWriter
	ready  bytes.Buffer
	// rows are the lengths of those that the masker has taken and that have not been passed on. Once something was replaced, they
	// are no longer known: then a row is a line, which it is in the text format, and in CSV but for what has lines within quotes.
	rows   []int
	framed []byte
}

func (r *relay) copyOut(o *operation, m wire.Message) error {
	c := o.output
	if c == nil {
		return unexpected(m)
	}
	if !o.hide.known {
		return r.add(o, r.hiddenLine(o, m))
	}
	if m.Type == wire.CopyData {
		row := r.hiddenLine(o, m)[5:]
		c.rows = append(c.rows, len(row))
		if _, err := c.masked.Write(row); err != nil {
			return err
		}
		return r.copied(o)
	}
	if err := c.masked.Close(); err != nil {
		return err
	}
	if err := r.copied(o); err != nil {
		return err
	}
	if c.ready.Len() > 0 { // what it holds has no end of a line
		if err := r.addMasked(o, appendCopyData(c.framed[:0], c.ready.Bytes())); err != nil {
			return err
		}
	}
	o.out.Masked += c.masked.Masked()
	return r.addMasked(o, m.Raw)
}

// copied passes on the rows that the masker has let go of.
func (r *relay) copied(o *operation) error {
	c := o.output
	if c.binary && c.masked.Masked() > 0 {
		return access.Refuse(access.CodeUnmaskable, nil, "a binary COPY holds a value that is masked; copy as text")
	}
	c.framed = c.framed[:0]
	for n := c.row(); n > 0; n = c.row() {
		c.framed = appendCopyData(c.framed, c.ready.Next(n))
	}
	if len(c.framed) == 0 {
		return nil
	}
	return r.addMasked(o, c.framed)
}

// row is the length of the next row that is there as a whole; 0: none is.
func (c *copyOutput) row() int {
	if c.masked.Masked() > 0 {
		return bytes.IndexByte(c.ready.Bytes(), '\n') + 1
	}
	if len(c.rows) == 0 || c.rows[0] > c.ready.Len() {
		return 0
	}
	n := c.rows[0]
	if c.rows = c.rows[1:]; n == 0 {
		return c.row()
	}
	return n
}

func appendCopyData(b, row []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, wire.CopyData), uint32(4+len(row)))
	return append(b, row...)
}
