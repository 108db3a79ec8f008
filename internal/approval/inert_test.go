package approval

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// I86: names with HTML, bidi, ANSI → inert, and shown whole.
func TestInert(t *testing.T) {
	for in, want := range map[string]string{
		"kubectl delete ns team-a":  "kubectl delete ns team-a",
		"größe 名前 🎉":                "größe 名前 🎉",
		"\x1b[2J\x1b]52;c;aGk=\x07": `\u{1b}[2J\u{1b}]52;c;aGk=\u{7}`,
		"\u009b31m":                 `\u{9b}31m`,
		"a\u202egnp.exe":            `a\u{202e}gnp.exe`,
		"\u2066x\u2069\u200f":       `\u{2066}x\u{2069}\u{200f}`,
		"a\nb\tc\rd\x7f\x00":        `a\u{a}b\u{9}c\u{d}d\u{7f}\u{0}`,
		"no\u200bgap\ufeff":         `no\u{200b}gap\u{feff}`,
		"a\u00a0b\u2028c\u3000":     `a\u{a0}b\u{2028}c\u{3000}`,
		"\ufe0f\U000e0100\u3164":    `\u{fe0f}\u{e0100}\u{3164}`,
		"\U000e0041tag":             `\u{e0041}tag`,
		"\u2800":                    `\u{2800}`,
		"bad \xff\xc0":              `bad \x{ff}\x{c0}`,
		"\ufffd":                    "\ufffd",
		`C:\dir \n \u{1b} \x{ff}`:   `C:\dir \n \u{5c}u{1b} \u{5c}x{ff}`,
		"<script>&amp;</script>":    "<script>&amp;</script>",
	} {
		if got := Inert(in); got != want {
			t.Errorf("Inert(%q) = %s, want %s", in, got, want)
		}
	}
	if got := InertLines("a:\n  b\tc\r\n"); got != "a:\n  b\\u{9}c\\u{d}\n" {
		t.Errorf("got %q", got)
	}
}

func FuzzInert(f *testing.F) {
	f.Add("\x1b[31m", `\u{1b}[31m`)
	f.Add("\\", `\u{5c}`)
	f.Add("\xff", `\x{ff}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		x := Inert(a)
		for i, r := range x {
			if _, n := utf8.DecodeRuneInString(x[i:]); !plain(r) || r == utf8.RuneError && n == 1 {
				t.Fatalf("%q lets %U through", a, r)
			}
		}
		if a != b && x == Inert(b) {
			t.Fatalf("%q and %q look the same: %s", a, b, x)
		}
		if back := revive(t, x); back != a {
			t.Fatalf("%q is not whole: %q", a, back)
		}
	})
}

// revive undoes Inert, by a way of its own.
func revive(t *testing.T, s string) string {
	var b strings.Builder
	for s != "" {
		kind, rest, ok := "", "", false
		if strings.HasPrefix(s, `\u{`) || strings.HasPrefix(s, `\x{`) {
			kind = s[1:2]
			var hex string
			if hex, rest, ok = strings.Cut(s[3:], "}"); ok {
				n := rune(0)
				for _, c := range hex {
					n = n<<4 | rune(strings.IndexRune("0123456789abcdef", c))
				}
				if kind == "u" {
					b.WriteRune(n)
				} else {
					b.WriteByte(byte(n))
				}
				s = rest
				continue
			}
			t.Fatalf("an open escape in %q", s)
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}
