package recording

import (
	"encoding/json"
	"fmt"

	"gatebook/internal/access"
)

// What is recorded of every operation is written straight into its frame, byte for byte as encoding/json would: see
// access.Operation.AppendJSON.

func (o *Opening) append(b []byte) ([]byte, error) {
	b, err := o.Operation.AppendJSON(append(b, `{"operation":`...))
	if err != nil {
		return nil, fmt.Errorf("encoding it: %w", err)
	}
	if b, err = o.Decision.AppendJSON(append(b, `,"decision":`...)); err != nil {
		return nil, fmt.Errorf("encoding it: %w", err)
	}
	if b, err = o.appendRare(b); err != nil {
		return nil, fmt.Errorf("encoding it: %w", err)
	}
	return b, nil
}

// appendRare appends what most openings do not have, and the end.
func (o *Opening) appendRare(b []byte) ([]byte, error) {
	if o.Approval != nil {
		data, err := json.Marshal(o.Approval)
		if err != nil {
			return nil, err
		}
		b = append(append(b, `,"approval":`...), data...)
	}
	if o.Change {
		b = append(b, `,"change":true`...)
	}
	if o.Refused != nil {
		data, err := json.Marshal(o.Refused)
		if err != nil {
			return nil, err
		}
		b = append(append(b, `,"refused":`...), data...)
	}
	return append(b, '}'), nil
}

func (c *Closing) append(b []byte) ([]byte, error) {
	b, err := c.Outcome.AppendJSON(append(b, `{"outcome":`...))
	return append(b, '}'), err
}

func (l *Leaf) append(b []byte) []byte {
	w := access.BeginJSON(b)
	w.Text("type", l.Type)
	w.Text("session", string(l.Session))
	w.Some("operation", string(l.Operation))
	w.Some("principal", l.Principal)
	w.Some("target", l.Target)
	w.Some("verb", l.Verb)
	w.Digest("command", l.Command)
	w.Digest("request", l.Request)
	w.Some("effect", l.Effect)
	w.Digest("policy", l.Policy)
	w.Some("approval", string(l.Approval))
	w.Some("refused", string(l.Refused))
	if l.Code != 0 {
		w.Int("code", int64(l.Code))
	}
	w.Some("truncated", l.Truncated)
	w.Count("fromClient", l.FromClient)
	w.Count("toClient", l.ToClient)
	w.Time("start", l.Start)
	w.Time("end", l.End)
	w.Some("kind", l.Kind)
	w.Time("time", l.Time)
	w.Some("name", l.Name)
	if l.Size != 0 {
		w.Int("size", l.Size)
	}
	w.Digest("sha256", l.SHA256)
	w.Some("recipient", l.Recipient)
	w.Count("first", l.First)
	w.Count("last", l.Last)
	w.Count("frames", l.Frames)
	w.Digest("digest", l.Digest)
	return w.End()
}
