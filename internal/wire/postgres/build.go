package postgres

import "encoding/binary"

// Builder writes messages, one after the other, into Bytes.
type Builder struct {
	Bytes []byte
	start int
}

// Begin starts a message; End must follow.
func (b *Builder) Begin(kind byte) *Builder {
	b.start = len(b.Bytes)
	b.Bytes = append(b.Bytes, kind, 0, 0, 0, 0)
	return b
}

// End writes the message's length.
func (b *Builder) End() {
	binary.BigEndian.PutUint32(b.Bytes[b.start+1:], uint32(len(b.Bytes)-b.start-1))
}

// Text writes a text and the zero that ends it.
func (b *Builder) Text(s string) *Builder { b.Bytes = append(append(b.Bytes, s...), 0); return b }

// Byte writes one byte.
func (b *Builder) Byte(c byte) *Builder { b.Bytes = append(b.Bytes, c); return b }

// Int16 writes two bytes.
func (b *Builder) Int16(n int) *Builder {
	b.Bytes = binary.BigEndian.AppendUint16(b.Bytes, uint16(n))
	return b
}

// Int32 writes four bytes.
func (b *Builder) Int32(n uint32) *Builder {
	b.Bytes = binary.BigEndian.AppendUint32(b.Bytes, n)
	return b
}

// Raw writes bytes as they are.
func (b *Builder) Raw(p []byte) *Builder { b.Bytes = append(b.Bytes, p...); return b }

// Value writes a length and the bytes; nil is NULL.
func (b *Builder) Value(v []byte) *Builder {
	if v == nil {
		return b.Int32(0xffffffff)
	}
	return b.Int32(uint32(len(v))).Raw(v)
}

// Report writes an ErrorResponse or NoticeResponse.
func (b *Builder) Report(kind byte, fields []Report) {
	b.Begin(kind)
	for _, f := range fields {
		if f.Text != "" {
			b.Byte(f.Code).Text(f.Text)
		}
	}
	b.Byte(0).End()
}

// Ready writes a ReadyForQuery of that transaction status: I idle, T in a transaction, E in a failed one.
func (b *Builder) Ready(status byte) { b.Begin(ReadyForQuery).Byte(status).End() }
