package mask

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Clean says what a TextWriter does: whatever stands in the text, it is clean just where it would go out as it came.
func TestCleanIsWhatTextPassesOn(t *testing.T) {
	s := newScope(t)
	secrets := []string{"s3cr3t/Pa$$ w\"rd+ü", "hunter2hunter2", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"}
	for _, v := range secrets {
		s.e.Learn([]byte(v))
	}
	pieces := []string{"a row of text ", `\"`, `\\`, `%41`, `\u0073`, "\n", "\x00\x00\x00\x0d", "s3cr3t", "hunter2hunter", b64("some text"), strings.Repeat("x", 300)}
	for _, v := range secrets {
		pieces = append(pieces, v, b64(v), b64("x"+v), strings.ReplaceAll(v, "t", `\u0074`), v[:len(v)/2], v[len(v)/2:])
	}
	both := map[bool]int{}
	tb := t
	rapid.Check(t, func(t *rapid.T) {
		in := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 6).Draw(t, "pieces"), "")
		clean := s.Clean([]byte(in))
		if got := maskText(tb, s, in); clean != (got == in) {
			t.Fatalf("%q is clean: %v; it goes out as %q", in, clean, got)
		}
		both[clean]++
	})
	if both[true] == 0 || both[false] == 0 {
		t.Errorf("clean and not: %v", both)
	}
}

func TestPlaceholdersAreTheScopes(t *testing.T) {
	s := newScope(t)
	p := s.Placeholders()
	for _, v := range []string{"", "a", "4711", strings.Repeat("long ", 100), "b"} {
		if got, want := string(p.Text([]byte(v))), s.Placeholder([]byte(v)); got != want {
			t.Errorf("%q: %s, want %s", v, got, want)
		}
		if got, want := string(p.Number([]byte(v))), s.Number([]byte(v)); got != want {
			t.Errorf("%q: %s, want %s", v, got, want)
		}
	}
}

func BenchmarkClean(b *testing.B) {
	s := newScope(b)
	s.e.Learn([]byte("hunter2hunter2"))
	for name, n := range map[string]int{"100 B": 1, "64 KiB": 640} {
		text := []byte(strings.Repeat("1234567 Customer number 1234567 somewhere in the north of the town, second floor, ring twice 100000\n", n))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if !s.Clean(text) {
					b.Fatal("it is not")
				}
			}
		})
		b.Run(name+" by a writer", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				var out strings.Builder
				w := s.Text(&out)
				w.Write(text)
				w.Close()
			}
		})
	}
}
