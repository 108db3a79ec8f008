package main

import (
	"io"
	"strings"
	"unicode/utf8"

	"gatebook/internal/approval"
)

// quoteMark is before every line of recorded bytes, so that none of them can pass for a line of Gatebook's own.
const quoteMark = "  | "

// quote shows recorded bytes among Gatebook's own words: whole, inert, each line marked. Unlike replay it draws
// nothing, since what draws could paint over what stands around it.
type quote struct {
	pending []byte // an unfinished character
	midline bool
}

// write shows b. A character may be split between one b and the next.
func (q *quote) write(w io.Writer, b []byte) error {
	b = append(q.pending, b...)
	whole := len(b)
	for i := max(0, whole-utf8.UTFMax+1); i < whole; i++ {
		if utf8.RuneStart(b[i]) && !utf8.FullRune(b[i:]) {
			whole = i
			break
		}
	}
	text := string(b[:whole])
	q.pending = append([]byte(nil), b[whole:]...)
	return q.lines(w, text)
}

// end shows what is left of a character that was never finished.
func (q *quote) end(w io.Writer) error {
	text := string(q.pending)
	q.pending = nil
	err := q.lines(w, text)
	if q.midline && err == nil {
		q.midline = false
		_, err = io.WriteString(w, "\n")
	}
	return err
}

func (q *quote) lines(w io.Writer, text string) error {
	var out strings.Builder
	for l := range strings.Lines(text) {
		if !q.midline {
			out.WriteString(quoteMark)
		}
		for i, cell := range strings.Split(l, "\t") {
			if i > 0 {
				out.WriteByte('\t')
			}
			out.WriteString(approval.InertLines(cell))
		}
		q.midline = !strings.HasSuffix(l, "\n")
	}
	_, err := io.WriteString(w, out.String())
	return err
}
