package web

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	"gatebook/internal/wire/sse"
)

// events masks server-sent events: by structure where an event's data is JSON, and in all of it what is known.
type events struct {
	scope *mask.Scope
	m     masking
	dst   io.Writer
	count int64
	// said is the data of the last event, masked by structure.
	said []byte
}

// maxEvent bounds one event, in bytes; a longer one cannot be masked.
const maxEvent = 4 << 20

// pumpEvents delivers events as they come, each whole.
func (x *exchange) pumpEvents(s *sink, body io.Reader, m masking, out *access.Outcome) error {
	if err := s.flush(); err != nil { // a client waits for the answer to begin
		return err
	}
	e := &events{scope: x.scope, m: m, dst: s}
	in := sse.NewScanner(body, maxEvent)
	for {
		ev, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return s.begin()
		case errors.Is(err, sse.ErrTooLarge):
			return unmaskable(err)
		case err != nil:
			return access.Refuse(access.CodeUpstream, err, "target %q broke off its answer", x.op.Target.Name)
		}
		if err := e.event(ev); err != nil {
			return unmaskable(err)
		}
		out.Masked = e.count
		x.result(e.said, out)
		out.Message = x.hidden(out.Message)
		if err := s.flush(); err != nil {
			return err
		}
	}
}

var errNotJSON = errors.New("an event's data is not JSON, in which alone the policy's masks find their place")

// event passes on one event. Where its data is JSON it is written anew, the data in one line.
func (e *events) event(ev *sse.Event) error {
	e.said = ev.Data
	raw, err := e.shaped(ev)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if e.m.known {
		t := e.scope.Text(&out)
		if err := maskWhole(t, raw); err != nil {
			return err
		}
		e.count += t.Masked()
		raw = out.Bytes()
	}
	_, err = e.dst.Write(raw)
	return err
}

// shaped is an event as it is passed on, but for what is known to be secret.
func (e *events) shaped(ev *sse.Event) ([]byte, error) {
	switch {
	case e.m.shape == nil:
		return ev.Raw, nil
	case !ev.Ended: // no event to a browser, and one all the same to many a client
		whole, err := sse.NewScanner(bytes.NewReader(slices.Concat(ev.Raw, []byte("\n\n"))), 2*maxEvent).Next()
		if err != nil {
			return nil, err
		}
		raw, err := e.shaped(whole)
		return bytes.TrimRight(raw, "\r\n"), err
	case !ev.Dispatched && e.m.strict:
		return rewritten(ev, nil), nil
	case !ev.Dispatched:
		return ev.Raw, nil
	}
	data, ok := e.masked(ev.Data)
	switch {
	case ok:
		e.said = data
		return rewritten(ev, data), nil
	case e.m.strict:
		return nil, errNotJSON
	}
	return ev.Raw, nil
}

// masked is an event's data, masked by structure; ok is false where it is not JSON.
func (e *events) masked(data []byte) ([]byte, bool) {
	var out bytes.Buffer
	j := e.scope.JSON(&out, e.m.shape, e.m.known)
	err := maskWhole(j, data)
	e.count += j.Masked()
	return out.Bytes(), err == nil
}

// rewritten is the event with other data, and without comments; JSON has no line end that is not white space.
func rewritten(ev *sse.Event, data []byte) []byte {
	var out bytes.Buffer
	said := false
	for _, f := range ev.Fields {
		value := ev.Raw[f.Start:f.End]
		switch f.Kind {
		case sse.EventField:
			out.WriteString("event: ")
		case sse.IDField:
			out.WriteString("id: ")
		case sse.RetryField:
			out.WriteString("retry: ")
		default:
			if said {
				continue
			}
			said = true
			out.WriteString("data: ")
			value = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\n"), []byte(" ")), []byte("\r"), []byte(" "))
		}
		out.Write(value)
		out.WriteByte('\n')
	}
	if out.Len() == 0 {
		out.WriteString(":\n") // a comment, which keeps the connection alive
	}
	out.WriteByte('\n')
	return out.Bytes()
}
