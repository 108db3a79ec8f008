package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxResize bounds one message about the terminal's size, in bytes.
const maxResize = 1 << 10

// size is a terminal's size as it stands on the wire (k8s.io/client-go/tools/remotecommand, TerminalSize).
type size struct {
	Width  uint16 // columns
	Height uint16 // rows
}

// sizes reads a stream of sizes, in any split.
type sizes struct{ buf []byte }

// next takes more bytes and gives the sizes that are now whole.
func (s *sizes) next(p []byte) ([]size, error) {
	s.buf = append(s.buf, p...)
	var out []size
	for {
		s.buf = bytes.TrimLeft(s.buf, " \t\r\n")
		if len(s.buf) == 0 {
			return out, nil
		}
		if s.buf[0] != '{' {
			return out, errors.New("a terminal size is not a JSON object")
		}
		var one size
		d := json.NewDecoder(bytes.NewReader(s.buf))
		err := d.Decode(&one)
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF) && len(s.buf) <= maxResize:
			return out, nil
		case err != nil:
			return out, fmt.Errorf("reading a terminal size: %w", err)
		case d.InputOffset() > maxResize:
			return out, fmt.Errorf("a terminal size of more than %d bytes", maxResize)
		}
		s.buf = append(s.buf[:0], s.buf[d.InputOffset():]...)
		out = append(out, one)
	}
}

func (s size) encode() []byte {
	return fmt.Appendf(nil, `{"Width":%d,"Height":%d}`+"\n", s.Width, s.Height)
}
