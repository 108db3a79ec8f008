package mask

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

// A log with times puts one before each line, also before those into which base64 and hexadecimal are wrapped: wherever
// the value begins and wherever a piece of the stream ends, it is not seen.
func TestWrapsWithTimes(t *testing.T) {
	e, err := New(Options{Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	const value = "correct9 2026 horse-battery staple"
	e.Learn([]byte(value))
	times := []string{"2026-11-22T13:39:07.506072971Z ", "2026-11-22T13:39:07Z ", "2026-11-22T13:39:07.5+01:30 "}
	for before := range 80 {
		plain := strings.Repeat("x", before) + value
		for n, code := range []string{base64.StdEncoding.EncodeToString([]byte(plain)), hex.EncodeToString([]byte(plain))} {
			var in strings.Builder
			for i, line := range strings.Split(wrap(code, []int{76, 60}[n]), "\n") {
				in.WriteString(times[(before+i)%3] + line + "\n")
			}
			for _, cut := range []int{0, in.Len() / 2, in.Len() - before%40, in.Len() - 31} {
				var out strings.Builder
				w := e.Scope("s").Text(&out)
				for _, piece := range []string{in.String()[:cut], in.String()[cut:]} {
					if _, err := w.Write([]byte(piece)); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				if w.Masked() == 0 {
					t.Fatalf("after %d bytes, cut at %d: not seen in\n%s", before, cut, in.String())
				}
			}
		}
	}
}

func TestStamps(t *testing.T) {
	for in, want := range map[string]int{"2026-11-22T13:39:07.506072971Z x": 31, "2026-11-22T13:39:07Z x": 21, "2026-11-22T13:39:07-01:30 x": 26, "2026-11-22T13:39:07.1Zx": 0, "2026-11-22 13:39:07Z x": 0, "20261122": 0, "": 0} {
		if got, _ := stampAt([]byte(in)); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
		for i := range want {
			if n, cut := stampAt([]byte(in[:i])); n != 0 || !cut {
				t.Errorf("%q: %d, cut %v", in[:i], n, cut)
			}
		}
	}
}

func wrap(s string, width int) string {
	var out strings.Builder
	for len(s) > width {
		out.WriteString(s[:width] + "\n")
		s = s[width:]
	}
	return out.String() + s
}

// A value that ends with the stream, in digits after a wrap, is no less a value because a time could have begun so.
func TestEndsWithoutTime(t *testing.T) {
	const secret = "secret-000000120"
	s := newScope(t)
	s.e.Learn([]byte(secret))
	enc := hex.EncodeToString([]byte("before it stands something " + secret))
	for cut := len(enc) - 20; cut < len(enc); cut++ {
		for _, end := range []string{"\n", "\\n", "\n  ", "\r\n"} {
			text := enc[:cut] + end + enc[cut:]
			for split := range text {
				if out := maskText(t, s, text, split); !strings.Contains(out, "gbm-") {
					t.Fatalf("%q split at %d: %q", text, split, out)
				}
			}
		}
	}
}
