package terminal

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/recording"
)

// harmless says again, as a pattern, what may come out.
var harmless = regexp.MustCompile(`^(?:[\x20-\x7e\x08\t\n\r]|[^\x00-\x{9f}\x{61c}\x{200e}\x{200f}\x{2028}-\x{202e}\x{2066}-\x{2069}]|` +
	`\x1b[78DEM]|\x1b\[[0-9]*[ABCDEFGdea` + "`" + `XP@LMSTb]|\x1b\[[0-9]*;?[0-9]*[Hfr]|\x1b\[\??[0-9]*[JK]|\x1b\[[su]|\x1b\[[0-9;:]*m|` +
	`\x1b\[4[hl]|\x1b\[\?(?:6|7|25|47|1047|1048|1049)[hl])*$`)

func neutralise(in []byte) string {
	var n Neutraliser
	return string(n.Flush(n.Append(nil, in)))
}

// B97.
func TestAttacks(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"OSC 52 sets the clipboard":       {"a\x1b]52;c;cm0gLXJm\x07b", "ab"},
		"OSC 52, ended by ST":             {"a\x1b]52;c;cm0gLXJm\x1b\\b", "ab"},
		"OSC 8 links":                     {"\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\", "text"},
		"OSC 0 sets the title":            {"\x1b]0;title\x07x", "x"},
		"DCS":                             {"a\x1bP$q\"p\x1b\\b", "ab"},
		"APC, PM and SOS":                 {"a\x1b_x\x1b\\b\x1b^x\x1b\\c\x1bXx\x1b\\d", "abcd"},
		"CSI 21t reports the title":       {"a\x1b[21tb", "ab"},
		"CSI c and DA2":                   {"a\x1b[c\x1b[>c\x1b[=cb", "ab"},
		"DSR":                             {"a\x1b[6n\x1b[5n\x1b[?6nb", "ab"},
		"DECRQM":                          {"a\x1b[?2026$pb", "ab"},
		"media copy":                      {"a\x1b[5i\x1b[4ib", "ab"},
		"keypad, mouse, paste":            {"\x1b=\x1b>\x1b[?1000h\x1b[?2004h\x1b[>4;2m\x1b[>1ux", "x"},
		"mouse highlighting is not SD":    {"\x1b[1;1;1;1;1Tx", "x"},
		"reset":                           {"\x1bc\x1b[!px", "x"},
		"charsets":                        {"\x1b(0lqk\x1b(B\x0e\x0f", "lqk"},
		"answerback and bell":             {"a\x05\x07b", "ab"},
		"C1 OSC, one byte":                {"a\x9d52;c;x\x9cb", "a\uFFFD52;c;x\uFFFDb"},
		"C1 CSI, one byte":                {"a\x9b21tb", "a\uFFFD21tb"},
		"C1 as UTF-8":                     {"a\u009b21t\u009d0;x\u009cb", "a\uFFFD21t\uFFFD0;x\uFFFDb"},
		"CSI within CSI":                  {"\x1b[2\x1b[21tx", "x"},
		"a control character within CSI":  {"\x1b[3\n1mx", "\n\x1b[31mx"},
		"cancelled":                       {"\x1b[31\x18mx", "mx"},
		"an escape ends a string":         {"\x1b]0;x\x1b[31my", "\x1b[31my"},
		"direction of text":               {"a\u202eb\u2066c", "a\uFFFDb\uFFFDc"},
		"not UTF-8":                       {"a\xff\xc0\x80\xed\xa0\x80b", "a\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDb"},
		"a character cut short":           {"a\xe2\x82", "a\uFFFD"},
		"a character cut short by an ESC": {"\xe2\x1b[1mx", "\uFFFD\x1b[1mx"},
		"repeat without end":              {"x\x1b[99999999999999999999b\x1b[1001b\x1b[3b", "x\x1b[3b"},
		"what draws is kept": {"\x1b[1;38:2:1:2:3mä€😀\x1b[0m\x1b[2J\x1b[H\x1b[?25l\x1b[?1049h\x1b[2;5r\x1b7\x1b8\x1bM\r\n\t\b",
			"\x1b[1;38:2:1:2:3mä€😀\x1b[0m\x1b[2J\x1b[H\x1b[?25l\x1b[?1049h\x1b[2;5r\x1b7\x1b8\x1bM\r\n\t\b"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, neutralise([]byte(c.in))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestStringWithoutEndHidesLittle(t *testing.T) {
	out := neutralise([]byte("\x1b]0;" + strings.Repeat("x", maxText) + "rm -rf /"))
	if !strings.HasSuffix(out, "rm -rf /") {
		t.Error("what follows is hidden")
	}
}

func TestRestoreUndoesWhatIsLeft(t *testing.T) {
	var n Neutraliser
	n.Append(nil, []byte("\x1b[31m\x1b[?25l\x1b[?1049h\x1b[2;5r\x1b[?7l"))
	out := string(n.Restore(nil))
	for _, want := range []string{"\x1b[0m", "\x1b[?25h", "\x1b[?1049l", "\x1b[r", "\x1b[?7h"} {
		if !strings.Contains(out, want) {
			t.Errorf("Restore lacks %q", want)
		}
	}
	if out := n.Restore(nil); len(out) > 0 {
		t.Errorf("the second gives %q", out)
	}
}

func FuzzNeutraliser(f *testing.F) {
	for _, s := range []string{"a\x1b]52;c;x\x07b", "\x1b[31mä\x1b[0m", "\u009d0;x\x9c", "\x1bP\x1b\\", "\x1b[3\n1m", "\xe2\x82\xac\xe2\x82"} {
		f.Add([]byte(s), uint16(1), uint16(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, i, j uint16) {
		whole := neutralise(in)
		if !utf8.ValidString(whole) || !harmless.MatchString(whole) {
			t.Fatalf("%q gives %q", in, whole)
		}
		a, b := min(int(i), len(in)), min(int(j), len(in))
		a, b = min(a, b), max(a, b)
		var n Neutraliser
		var out []byte
		for _, part := range [][]byte{in[:a], in[a:b], in[b:]} {
			out = n.Append(out, part)
			if !utf8.Valid(out) || !harmless.Match(out) {
				t.Fatalf("%q, split, gives %q", in, out)
			}
		}
		if out = n.Flush(out); string(out) != whole {
			t.Fatalf("%q: whole %q, split at %d and %d %q", in, whole, a, b, out)
		}
		again := neutralise([]byte(whole))
		if again != whole {
			t.Fatalf("%q is not stable: %q", whole, again)
		}
	})
}

func event(at time.Duration, s recording.Stream, d recording.Direction, data string) recording.Event {
	return recording.Event{Frame: recording.Frame{Kind: recording.KindStream, Stream: s, Direction: d, Data: []byte(data)},
		Operation: "o1", At: time.Unix(1000, 0).Add(at)}
}

func TestPlayerPausesSkipsAndNeutralises(t *testing.T) {
	var out bytes.Buffer
	var waited []time.Duration
	p := &Player{Out: &out, Speed: 2, MaxIdle: 3 * time.Second, Operation: "o1", Wait: func(_ context.Context, d time.Duration) error {
		waited = append(waited, d)
		return nil
	}}
	other := event(2*time.Second, recording.Stdout, recording.ToClient, "another operation")
	other.Operation = "o2"
	for _, e := range []recording.Event{
		event(0, recording.Stdout, recording.ToClient, "a\x1b]52;c;"),
		event(time.Second, recording.Stdout, recording.ToClient, "x\x07b"),
		event(time.Second, recording.Stdin, recording.FromClient, "typed"),
		other,
		event(time.Hour, recording.Stderr, recording.ToClient, "c\x1b[31m"),
	} {
		if err := p.Play(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "abc\x1b[31m\x1b[0m"; got != want {
		t.Errorf("shown %q, want %q", got, want)
	}
	if diff := cmp.Diff([]time.Duration{time.Second / 2, 3 * time.Second / 2}, waited); diff != "" {
		t.Error(diff)
	}
}
