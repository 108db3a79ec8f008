package sse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// block is an Event that lasts.
type block struct {
	Raw            string
	Offset         int64
	Ended          bool
	Dispatched     bool
	Type, Data, ID string
	Values         []string
}

func readAll(t *testing.T, r io.Reader, maxBytes int) ([]block, error) {
	t.Helper()
	var out []block
	for s := NewScanner(r, maxBytes); ; {
		e, err := s.Next()
		if err != nil {
			return out, err
		}
		b := block{string(e.Raw), e.Offset, e.Ended, e.Dispatched, string(e.Type), string(e.Data), string(e.ID), nil}
		for _, f := range e.Fields {
			b.Values = append(b.Values, fmt.Sprintf("%d %s", f.Kind, e.Raw[f.Start:f.End]))
		}
		out = append(out, b)
	}
}

// dispatched is what a browser would see: section 9.2.6, word for word, on the whole stream.
type dispatched struct{ Type, Data, ID string }

func reference(stream string) []dispatched {
	stream = strings.TrimPrefix(stream, "\xef\xbb\xbf")
	stream = strings.ReplaceAll(strings.ReplaceAll(stream, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(stream, "\n")
	var out []dispatched
	var data, kind, id string
	for _, line := range lines[:len(lines)-1] {
		if line == "" {
			if data != "" {
				d := dispatched{"message", strings.TrimSuffix(data, "\n"), id}
				if kind != "" {
					d.Type = kind
				}
				out = append(out, d)
			}
			data, kind = "", ""
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			kind = value
		case "data":
			data += value + "\n"
		case "id":
			if !strings.Contains(value, "\x00") {
				id = value
			}
		}
	}
	return out
}

func events(blocks []block) []dispatched {
	var out []dispatched
	for _, b := range blocks {
		if b.Dispatched {
			out = append(out, dispatched{b.Type, b.Data, b.ID})
		}
	}
	return out
}

// check reads the stream whole, byte by byte, and cut at every offset: always the same blocks, which are the stream, and
// the events that the standard says.
func check(t *testing.T, stream string) {
	t.Helper()
	want, err := readAll(t, strings.NewReader(stream), 0)
	if err != io.EOF {
		t.Fatal(err)
	}
	var raw strings.Builder
	for i, b := range want {
		if b.Offset != int64(raw.Len()) || !b.Ended && i < len(want)-1 || b.Raw == "" {
			t.Errorf("block %d of %d: %+v", i, len(want), b)
		}
		raw.WriteString(b.Raw)
	}
	if raw.String() != stream {
		t.Fatalf("read %q, and gave %q", stream, raw.String())
	}
	if d := cmp.Diff(reference(stream), events(want)); d != "" {
		t.Fatalf("%q (-standard +scanner):\n%s", stream, d)
	}
	readers := map[string]io.Reader{"byte by byte": iotest.OneByteReader(strings.NewReader(stream)), "with its end": iotest.DataErrReader(strings.NewReader(stream))}
	for at := range len(stream) {
		readers[fmt.Sprint("cut at ", at)] = io.MultiReader(strings.NewReader(stream[:at]), strings.NewReader(stream[at:]))
	}
	for name, r := range readers {
		if got, err := readAll(t, r, 0); err != io.EOF || !cmp.Equal(want, got) {
			t.Fatalf("%q %s: %v\n%s", stream, name, err, cmp.Diff(want, got))
		}
	}
}

var seeds = []string{
	"data: a\n\ndata: b\r\n\r\ndata: c\r\rdata: d\n\n",
	"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n",
	"\xef\xbb\xbf\n\xef\xbb",
	"event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: ping\ndata: {}\n\n",
	": keep alive\n\n\n\ndata\n\ndata\ndata\n\ndata:test\n\n",
	"data: first\nid: 1\n\ndata:second\nid\n\ndata:  third\n\nid: 7\n\n",
	"id: a\x00b\ndata: x\nretry: 10\nretry: 1x\nevent: a\nevent:\nunknown: y\n:data: z\n data: w\n\n",
	"data: a\r\n\r\r\ndata: b\r\r\n\ndata: c\r\r\r\n\ndata: d\n\r\ndata: e\r\n\n",
	"data: broken off",
	"data: broken off\r",
	"\r\r\r\n\n\r", "\n", "\r", "\r\n",
}

func TestSeeds(t *testing.T) {
	for _, s := range seeds {
		check(t, s)
	}
}

func FuzzScanner(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		if len(stream) > 200 { // every cut is tried
			stream = stream[:200]
		}
		check(t, stream)
	})
}

// Where the values stand.
func TestFields(t *testing.T) {
	got, _ := readAll(t, strings.NewReader("id:7\ndata: one\n: no\nevent:e \ndata:  two\nretry: 5\nretry: x\n\n"), 0)
	want := []string{"3 7", "2 one", "1 e ", "2  two", "4 5"}
	if len(got) != 1 || !cmp.Equal(got[0].Values, want) || got[0].Data != "one\n two" || got[0].Type != "e " {
		t.Errorf("%+v", got)
	}
}

// stuck is a stream that has no more for now, and must not be asked for it.
type stuck struct {
	t    *testing.T
	rest string
}

func (s *stuck) Read(p []byte) (int, error) {
	if s.rest == "" {
		s.t.Error("an event that has arrived is waited for")
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// An event is given when its end has come, not with the next.
func TestEventsAreNotHeld(t *testing.T) {
	for _, line := range []string{"\n", "\r\n", "\r"} {
		s := NewScanner(&stuck{t, strings.ReplaceAll("data: one|data: two||: a comment||data: three||", "|", line)}, 0)
		for range 3 {
			if e, err := s.Next(); err != nil || !bytes.HasSuffix(e.Raw, []byte(line+line)) {
				t.Errorf("%q: %+v, %v", line, e, err)
			}
		}
	}
}

func TestTooLarge(t *testing.T) {
	const limit = 5000
	fits := "data: " + strings.Repeat("x", limit-len("data: \n\n")) + "\n\n"
	got, err := readAll(t, strings.NewReader(fits+fits+"y"+fits), limit)
	if len(got) != 2 || !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d events, %v", len(got), err)
	}
	s := NewScanner(strings.NewReader("y"+fits), limit)
	for range 2 { // and it stays so
		if e, err := s.Next(); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%+v, %v", e, err)
		}
	}
}

// What came before the connection broke is given, and then why it broke.
func TestBrokenStream(t *testing.T) {
	got, err := readAll(t, io.MultiReader(strings.NewReader("data: a\n\ndata: b\n"), iotest.ErrReader(io.ErrUnexpectedEOF)), 0)
	if len(got) != 2 || !got[0].Ended || got[1].Ended || got[1].Raw != "data: b\n" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := NewScanner(nothing{}, 0).Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that brings nothing: %v", err)
	}
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }

// endless gives the same events again and again.
type endless struct {
	events string
	at     int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m := copy(p[n:], e.events[e.at:])
		n, e.at = n+m, (e.at+m)%len(e.events)
	}
	return n, nil
}

var typical = &endless{events: "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"of the cluster\"}}\n\n" +
	"id: 7\ndata: one\ndata: two\n\n: keep alive\n\n"}

func TestNoAllocation(t *testing.T) {
	s := NewScanner(&endless{events: typical.events}, 0)
	next := func() {
		if _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		next()
	}
	if n := testing.AllocsPerRun(1000, next); n != 0 {
		t.Errorf("%v allocations per event", n)
	}
}

func BenchmarkScanner(b *testing.B) {
	for name, events := range map[string]string{"typical": typical.events, "64KiB": "data: " + strings.Repeat("x", 64<<10) + "\n\n", "cr": strings.Repeat("\r", 100)} {
		b.Run(name, func(b *testing.B) {
			s := NewScanner(&endless{events: events}, 0)
			b.ReportAllocs()
			var n int64
			for b.Loop() {
				e, err := s.Next()
				if err != nil {
					b.Fatal(err)
				}
				n += int64(len(e.Raw))
			}
			b.SetBytes(n / int64(b.N))
		})
	}
}
