package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// width is how wide a line for people is, in characters, and maxQuoted how many lines of somebody's text are shown.
const (
	width     = 100
	maxQuoted = 40
)

// fold writes a line of Gatebook's own, folded at blanks so that it fits; what comes below is indented as far as the head.
func fold(b *strings.Builder, head, line string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(head))
	for i, l := range folded(line, max(20, width-len(indent))) {
		if i > 0 {
			head = indent
		}
		b.WriteString(strings.TrimRight(head+l, " ") + "\n")
	}
}

// folded takes a line apart at blanks, or where there are none after so many characters.
func folded(line string, most int) []string {
	var out []string
	rest := []rune(line)
	for len(rest) > most {
		at := most
		for i := most; i > most/2; i-- {
			if rest[i] == ' ' {
				at = i
				break
			}
		}
		out = append(out, string(rest[:at]))
		rest = rest[at:]
		for len(rest) > 0 && rest[0] == ' ' {
			rest = rest[1:]
		}
	}
	return append(out, string(rest))
}

// quoted writes somebody's text, line by line, inert, below a head.
func quoted(b *strings.Builder, indent, text string) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, l := range lines {
		if i == maxQuoted {
			fold(b, indent, "… and so on; --json has all of it")
			return
		}
		fold(b, indent, inert(strings.ReplaceAll(l, "\t", "    ")))
	}
}

// span is a duration as people read it.
func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return fmt.Sprintf("%.3g s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d µs", d.Microseconds())
}
