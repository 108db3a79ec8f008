package export

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/recording"
	"gatebook/internal/recording/terminal"
)

// Asciicast writes one operation (an exec or attach, with a terminal or without) as asciicast v2: a header line, then a
// line for each output ("o"), input ("i") and resize ("r"). https://docs.asciinema.org/manual/asciicast/v2/
type Asciicast struct {
	out       io.Writer
	operation access.OperationID

	began      time.Time
	command    string
	cols, rows uint16
	header     bool
	stdout     terminal.Neutraliser
	stderr     terminal.Neutraliser
	stdin      terminal.Neutraliser
	buf        []byte
}

// NewAsciicast writes the operation to out.
func NewAsciicast(out io.Writer, operation access.OperationID) *Asciicast {
	return &Asciicast{out: out, operation: operation, cols: 80, rows: 24}
}

type castHeader struct {
	Version   int    `json:"version"`
	Width     uint16 `json:"width"`
	Height    uint16 `json:"height"`
	Timestamp int64  `json:"timestamp"`
	Title     string `json:"title,omitempty"`
}

// Event takes the session's next event; those of other operations are passed over.
func (a *Asciicast) Event(e recording.Event) error {
	if e.Operation != a.operation {
		return nil
	}
	switch e.Kind {
	case recording.KindBegin:
		var o recording.Opening
		if err := json.Unmarshal(e.Data, &o); err != nil {
			return fmt.Errorf("reading operation %s: %w", e.Operation, err)
		}
		a.began, a.command = e.At, o.Operation.Command
	case recording.KindResize:
		return a.resize(e)
	case recording.KindStream:
		return a.stream(e)
	}
	return nil
}

// Close writes the header if nothing did.
func (a *Asciicast) Close() error { return a.begin() }

func (a *Asciicast) begin() error {
	if a.header {
		return nil
	}
	a.header = true
	return a.line(castHeader{Version: 2, Width: a.cols, Height: a.rows, Timestamp: a.began.Unix(), Title: a.command})
}

func (a *Asciicast) resize(e recording.Event) error {
	if !a.header { // the size that the terminal has when the first output comes is the header's
		a.cols, a.rows = e.Cols, e.Rows
		return nil
	}
	return a.entry(e.At, "r", fmt.Sprintf("%dx%d", e.Cols, e.Rows))
}

func (a *Asciicast) stream(e recording.Event) error {
	var filter *terminal.Neutraliser
	code := "o"
	switch {
	case e.Stream == recording.Stdout && e.Direction == recording.ToClient:
		filter = &a.stdout
	case e.Stream == recording.Stderr && e.Direction == recording.ToClient:
		filter = &a.stderr
	case e.Stream == recording.Stdin && e.Direction == recording.FromClient:
		filter, code = &a.stdin, "i"
	default:
		return nil
	}
	a.buf = filter.Append(a.buf[:0], e.Data)
	if len(a.buf) == 0 {
		return nil
	}
	if err := a.begin(); err != nil {
		return err
	}
	return a.entry(e.At, code, string(a.buf))
}

func (a *Asciicast) entry(at time.Time, code, data string) error {
	return a.line([]any{at.Sub(a.began).Seconds(), code, data})
}

func (a *Asciicast) line(v any) error { return writeLine(a.out, v) }

func writeLine(out io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	if _, err := out.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	return nil
}
