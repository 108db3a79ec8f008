package policy

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// text is a scalar as it stands in a file, so that a place in its value can be found in the file.
type text struct {
	file string
	src  []byte
	node *yaml.Node
}

// locate gives the file's line and column (both from 1) of the rune at offset of the scalar's value. YAML folds
// and indents, but never reorders: the visible characters of the value and of the source are walked side by side.
// Where an escape makes them differ, it stops at the last place that is certain.
func (t text) locate(offset int) (line, column int) {
	src, at := t.start()
	last := at
	count := 0
	for _, want := range t.node.Value {
		if unicode.IsSpace(want) {
			count++
			continue
		}
		for at < len(src) {
			c, n := utf8.DecodeRune(src[at:])
			if !unicode.IsSpace(c) {
				break
			}
			at += n
		}
		c, n := utf8.DecodeRune(src[at:])
		if at >= len(src) || c != want {
			break
		}
		last = at
		at += n
		if count >= offset {
			break
		}
		count++
	}
	before := src[:min(last, len(src))]
	line = 1 + bytes.Count(before, []byte("\n"))
	column = 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return line, column
}

// start is the source and the offset in it where the scalar's content begins.
func (t text) start() ([]byte, int) {
	at := 0
	for range t.node.Line - 1 {
		i := bytes.IndexByte(t.src[at:], '\n')
		if i < 0 {
			return t.src, at
		}
		at += i + 1
	}
	for range t.node.Column - 1 {
		if at < len(t.src) {
			_, n := utf8.DecodeRune(t.src[at:])
			at += n
		}
	}
	switch t.node.Style &^ yaml.TaggedStyle {
	case yaml.LiteralStyle, yaml.FoldedStyle: // the header's line, then the content
		if i := bytes.IndexByte(t.src[at:], '\n'); i >= 0 {
			at += i + 1
		}
	case yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle:
		at++
	}
	return t.src, min(at, len(t.src))
}

// fold makes one line of text that was wrapped in the file.
func fold(s string) string { return strings.Join(strings.Fields(s), " ") }
