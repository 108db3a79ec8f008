package stream

import (
	"slices"
	"strings"
	"testing"
)

// Sizes are the same however their bytes arrive.
func FuzzSizes(f *testing.F) {
	f.Add(`{"Width":80,"Height":24}`)
	f.Add(`{"Width":80,"Height":24}` + "\n" + ` {"Width":132,"Height":43} {"Width":`)
	f.Add(`{"Width":65536}{"Width":1}`)
	f.Add(`{"Width":-1}`)
	f.Add(`[1]`)
	f.Add(`{"Width":1}x`)
	f.Add(`{"Width":1e2,"x":"` + strings.Repeat("y", maxResize) + `"}`)
	f.Add(`{` + strings.Repeat(" ", maxResize))
	f.Fuzz(func(t *testing.T, in string) {
		in = in[:min(len(in), 2*maxResize)]
		want, refused := new(sizes).next([]byte(in))
		for at := range len(in) + 1 {
			var s sizes
			got, err := s.next([]byte(in[:at]))
			if err == nil {
				var rest []size
				rest, err = s.next([]byte(in[at:]))
				got = append(got, rest...)
			}
			if !slices.Equal(got, want) || (err == nil) != (refused == nil) {
				t.Fatalf("%q cut at %d: %v, %v; whole %v, %v", in, at, got, err, want, refused)
			}
		}
		for _, s := range want {
			if again, err := new(sizes).next(s.encode()); err != nil || !slices.Equal(again, []size{s}) {
				t.Fatalf("%+v is written as %s: %v, %v", s, s.encode(), again, err)
			}
		}
	})
}
