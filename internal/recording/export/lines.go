package export

import (
	"encoding/json"
	"io"
	"time"
	"unicode/utf8"

	"gatebook/internal/access"
	"gatebook/internal/recording"
)

// Lines writes every frame as one line of JSON.
type Lines struct{ Out io.Writer }

// line is one frame. Bytes are in Text where they are UTF-8, else in Base64. Body is the JSON of begin, end, note and leaf.
type line struct {
	Frame     uint64               `json:"frame"`
	Time      time.Time            `json:"time"`
	Kind      string               `json:"kind"`
	Session   access.SessionID     `json:"session,omitempty"`
	Operation access.OperationID   `json:"operation,omitempty"`
	Name      string               `json:"name,omitempty"`
	Stream    recording.Stream     `json:"stream,omitempty"`
	Direction *recording.Direction `json:"direction,omitempty"`
	Cols      uint16               `json:"cols,omitempty"`
	Rows      uint16               `json:"rows,omitempty"`
	Text      *string              `json:"text,omitempty"`
	Base64    []byte               `json:"base64,omitempty"`
	Body      json.RawMessage      `json:"body,omitempty"`
}

// Event writes one frame. Unit and resume frames repeat what others hold, and are passed over.
func (l Lines) Event(e recording.Event) error {
	out := line{Frame: e.Number, Time: e.At, Kind: e.Kind.String(), Session: e.Session, Operation: e.Operation, Name: e.Name,
		Stream: e.Stream, Cols: e.Cols, Rows: e.Rows}
	switch e.Kind {
	case recording.KindUnit, recording.KindResume:
		return nil
	case recording.KindBegin, recording.KindEnd, recording.KindNote, recording.KindLeaf:
		out.Body = e.Data
	case recording.KindStream:
		out.Direction = &e.Direction
		out.bytes(e.Data)
	case recording.KindPayload:
		out.bytes(e.Data)
	}
	return writeLine(l.Out, out)
}

func (l *line) bytes(b []byte) {
	if utf8.Valid(b) {
		s := string(b)
		l.Text = &s
		return
	}
	l.Base64 = b
}
