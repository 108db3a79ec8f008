package postgres

import (
	"bytes"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	wire "gatebook/internal/wire/postgres"
)

// copyOutput is a COPY to the client: what it holds is masked as a stream, since a message may end anywhere.
type copyOutput struct {
	binary bool
	masked *mask.TextWriter
	ready  bytes.Buffer
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
		line := r.hiddenLine(o, m)
		if _, err := c.masked.Write(line[5:]); err != nil {
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
	o.out.Masked += c.masked.Masked()
	return r.addMasked(o, m.Raw)
}

// copied passes on what the masker has let go of.
func (r *relay) copied(o *operation) error {
	c := o.output
	if c.binary && c.masked.Masked() > 0 {
		return access.Refuse(access.CodeUnmaskable, nil, "a binary COPY holds a value that is masked; copy as text")
	}
	if c.ready.Len() == 0 {
		return nil
	}
	var b wire.Builder
	b.Begin(wire.CopyData).Raw(c.ready.Bytes()).End()
	c.ready.Reset()
	return r.addMasked(o, b.Bytes)
}
