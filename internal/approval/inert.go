package approval

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Inert makes text of unknown origin safe to show on one line of a terminal, whole: whatever would not be seen as
// itself (control characters with line breaks and tabs, bidirectional and invisible ones, spaces other than the
// common one, bytes that are not UTF-8) is written as \u{1b}, with its code point in hexadecimal, or \x{ff}, with its
// byte. A backslash that could be taken for the start of one is written as \u{5c}, so that no two texts look the same.
// HTML needs escaping of its own.
func Inert(s string) string { return inert(s, "") }

// InertLines is Inert for text of several lines: line breaks stay.
func InertLines(s string) string { return inert(s, "\n") }

func inert(s, keep string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x{%02x}`, s[i])
		case strings.ContainsRune(keep, r), plain(r) && !escapes(s[i:]):
			b.WriteString(s[i : i+n])
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
		i += n
	}
	return b.String()
}

// plain reports whether r is seen, as itself.
func plain(r rune) bool {
	const brailleBlank = 0x2800
	return unicode.IsPrint(r) && r != brailleBlank && !unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// escapes reports whether s begins as an escape does.
func escapes(s string) bool { return strings.HasPrefix(s, `\u{`) || strings.HasPrefix(s, `\x{`) }
