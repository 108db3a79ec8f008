package pktline

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	gogit "github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/google/go-cmp/cmp"
)

// packet is a Packet that lasts.
type packet struct {
	Kind    Kind
	Raw     string
	Offset  int64
	Payload string
}

func readAll(r io.Reader) ([]packet, error) {
	var out []packet
	for x := NewReader(r); ; {
		p, err := x.Next()
		if err != nil {
			return out, err
		}
		out = append(out, packet{p.Kind, string(p.Raw), p.Offset, string(p.Payload)})
	}
}

// peer is what go-git reads: payloads up to the first that it does not take. A flush is an empty payload to it.
func peer(stream string) (payloads []string, failed error) {
	s := gogit.NewScanner(strings.NewReader(stream))
	for s.Scan() {
		payloads = append(payloads, string(s.Bytes()))
	}
	return payloads, s.Err()
}

// check reads the stream whole, byte by byte, and cut at every offset: always the same packets, which are the stream up
// to where it is none, and those that go-git reads.
func check(t *testing.T, stream string) {
	t.Helper()
	want, end := readAll(strings.NewReader(stream))
	var raw strings.Builder
	for _, p := range want {
		if p.Offset != int64(raw.Len()) || p.Payload != p.Raw[headerBytes:] {
			t.Errorf("%q: %+v at %d", stream, p, raw.Len())
		}
		raw.WriteString(p.Raw)
	}
	var at *Error
	switch {
	case !strings.HasPrefix(stream, raw.String()), end == io.EOF && raw.Len() != len(stream):
		t.Fatalf("read %q, and gave %q, %v", stream, raw.String(), end)
	case end != io.EOF && (!errors.As(end, &at) || at.Offset != int64(raw.Len())):
		t.Fatalf("%q: after %q: %v", stream, raw.String(), end)
	}
	readers := map[string]io.Reader{"byte by byte": iotest.OneByteReader(strings.NewReader(stream)), "with its end": iotest.DataErrReader(strings.NewReader(stream))}
	for at := range len(stream) {
		readers[fmt.Sprint("cut at ", at)] = io.MultiReader(strings.NewReader(stream[:at]), strings.NewReader(stream[at:]))
	}
	for name, r := range readers {
		got, err := readAll(r)
		if !cmp.Equal(want, got) || !same(err, end) {
			t.Fatalf("%q %s: %v, not %v\n%s", stream, name, err, end, cmp.Diff(want, got))
		}
	}
	compare(t, stream, want, end)
}

// same tells errors by what was wrong and where; how much had come by then differs.
func same(a, b error) bool {
	var x, y *Error
	if errors.As(a, &x) && errors.As(b, &y) {
		return x.Offset == y.Offset && x.Err == y.Err
	}
	return a == b
}

// compare holds what was read against go-git, which takes neither marks but flush nor empty payloads, ends at ERR, and
// takes packets of four bytes more than there may be.
func compare(t *testing.T, stream string, got []packet, end error) {
	t.Helper()
	theirs, failed := peer(stream)
	for i, p := range got {
		if p.Kind == Delim || p.Kind == ResponseEnd || p.Raw == "0004" || strings.HasPrefix(p.Payload, "ERR ") {
			var line *gogit.ErrorLine
			if i != len(theirs) || errors.Is(failed, gogit.ErrInvalidPktLen) == errors.As(failed, &line) {
				t.Fatalf("%q: go-git read %d packets to %v", stream, len(theirs), failed)
			}
			return
		}
		if i >= len(theirs) || theirs[i] != p.Payload {
			t.Fatalf("%q: packet %d is %q; go-git read %q, %v", stream, i, p.Payload, theirs, failed)
		}
	}
	if errors.Is(end, ErrTooLong) {
		return
	}
	// go-git takes a stream that ends after a length for one that has ended well.
	lengthOnly := errors.Is(end, io.ErrUnexpectedEOF) && failed == nil
	if len(theirs) != len(got) || (failed == nil) != (end == io.EOF) && !lengthOnly {
		t.Fatalf("%q: %d packets to %v; go-git read %d to %v", stream, len(got), end, len(theirs), failed)
	}
}

var seeds = []string{
	"001e# service=git-upload-pack\n0000000eversion 2\n0011ls-refs=unborn\n0000",
	"0014command=ls-refs\n0016agent=git/2.47.0\n00010009peel\n0000",
	"0032want 3b18e512dba79e4c8300dd08aeb37f8e728b8dad\n00000009done\n",
	"000dpackfile\n000a\x01PACK\x000005\x01000e\x02Counting\n0009\x03dead0000",
	"0008NAK\n0002", "0011ERR upload-pack: not our ref", "0011ERR not found0006a\n",
	"0004000500040000", "0003", "000", "0", "", "000g", "+00a", "0x0a", " 00a", "FFF0", "fff1", "ffff", "000A123456", "000a12345",
	"\x00\x00\x00\x00", "0006a\n0007bc", "0001", "00020000",
}

func TestSeeds(t *testing.T) {
	for _, s := range seeds {
		check(t, s)
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		if len(stream) > 300 { // every cut is tried
			stream = stream[:300]
		}
		check(t, stream)
	})
}

// Written packets are read again, by this package and by go-git, and passed on as they came.
func FuzzWriter(f *testing.F) {
	f.Add([]byte("hello\n"), byte(1))
	f.Add([]byte{}, byte(3))
	f.Add(bytes.Repeat([]byte("x"), 2*MaxBand), byte(2))
	f.Fuzz(func(t *testing.T, payload []byte, band byte) {
		var out, again bytes.Buffer
		w := NewWriter(&out)
		err := errors.Join(w.Data(payload[:min(len(payload), MaxPayload)]), w.End(Flush), w.End(Delim), w.End(ResponseEnd))
		if banded := w.Band(Band(band), payload); err != nil || (banded == nil) != (band >= 1 && band <= 3) {
			t.Fatal(err, banded)
		}
		stream := out.String()
		pass := NewWriter(&again)
		var kinds []Kind
		var carried []byte
		for r := NewReader(&out); ; {
			p, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := pass.Pass(p); err != nil {
				t.Fatal(err)
			}
			if kinds = append(kinds, p.Kind); len(kinds) > 4 {
				b, data, err := p.Band()
				if err != nil || b != Band(band) || len(p.Raw) > MaxBytes {
					t.Fatalf("band %d, %v, in %d bytes", b, err, len(p.Raw))
				}
				carried = append(carried, data...)
			}
		}
		if again.String() != stream || !cmp.Equal(kinds[:4], []Kind{Data, Flush, Delim, ResponseEnd}) {
			t.Errorf("%d bytes became %d, kinds %v", len(stream), again.Len(), kinds)
		}
		if band >= 1 && band <= 3 && !bytes.Equal(carried, payload) {
			t.Errorf("band %d carried %d bytes of %d", band, len(carried), len(payload))
		}
	})
}

// What is written in bands, go-git's own demultiplexer reads.
func TestBandsAreReadByGoGit(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	pack := bytes.Repeat([]byte("pack"), 50_000)
	if err := errors.Join(w.Band(Progress, []byte("counting")), w.Band(PackData, pack), w.End(Flush)); err != nil {
		t.Fatal(err)
	}
	d := sideband.NewDemuxer(sideband.Sideband64k, &out)
	var progress bytes.Buffer
	d.Progress = &progress
	if got, err := io.ReadAll(d); err != nil || !bytes.Equal(got, pack) || progress.String() != "counting" {
		t.Errorf("%d bytes of %d, progress %q, %v", len(got), len(pack), progress.String(), err)
	}
}

func TestErrorsSayWhat(t *testing.T) {
	for stream, want := range map[string]error{
		"000g": ErrHeader, "00 4": ErrHeader, "-001": ErrHeader, "0003": ErrReserved, "fff1" + strings.Repeat("x", 1<<16): ErrTooLong,
		"00": io.ErrUnexpectedEOF, "0005": io.ErrUnexpectedEOF, "0008abc": io.ErrUnexpectedEOF, "": io.EOF,
	} {
		got, err := readAll(strings.NewReader("0006a\n" + stream))
		var at *Error
		if len(got) != 1 || !errors.Is(err, want) || errors.As(err, &at) != (want != io.EOF) || at != nil && (at.Offset != 6 || string(at.Header) != stream[:min(4, len(stream))]) {
			t.Errorf("%.8q: %v", stream, err)
		}
	}
	longest := fmt.Sprintf("%04x", MaxBytes) + strings.Repeat("x", MaxPayload)
	if got, err := readAll(strings.NewReader(longest + longest)); len(got) != 2 || err != io.EOF || got[1].Raw != longest {
		t.Errorf("%d of the longest packets, %v", len(got), err)
	}
	broken := errors.New("reset by peer")
	if _, err := NewReader(iotest.ErrReader(broken)).Next(); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := NewReader(nothing{}).Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
	if err := NewWriter(io.Discard).Data(make([]byte, MaxPayload+1)); !errors.Is(err, ErrPayload) {
		t.Error(err)
	}
	if err := NewWriter(io.Discard).End(Data); err == nil {
		t.Error("data was written as a mark")
	}
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }

func TestFailureAndBand(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	if err := errors.Join(w.Failure("not yours"), w.Failure(strings.Repeat("x", MaxBytes)), w.Data([]byte("ERR"))); err != nil {
		t.Fatal(err)
	}
	r := NewReader(&out)
	for _, want := range []string{"not yours", strings.Repeat("x", MaxPayload-4), ""} {
		p, err := r.Next()
		if why, ok := p.Failure(); err != nil || string(why) != want && ok || ok != (want != "") {
			t.Errorf("%.20q, %v, %v", why, ok, err)
		}
	}
	for payload, want := range map[string]error{"": ErrNoBand, "\x00x": ErrBand, "\x04x": ErrBand, "1": ErrBand, "\x01": nil} {
		if _, _, err := (Packet{Kind: Data, Payload: []byte(payload)}).Band(); !errors.Is(err, want) {
			t.Errorf("%q: %v", payload, err)
		}
	}
	if _, _, err := (Packet{Kind: Flush}).Band(); !errors.Is(err, ErrNoBand) {
		t.Errorf("flush: %v", err)
	}
}

// stuck is a stream that has no more for now, and must not be asked for it.
type stuck struct {
	t    *testing.T
	rest string
}

func (s *stuck) Read(p []byte) (int, error) {
	if s.rest == "" {
		s.t.Error("a packet that has arrived is waited for")
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func TestPacketsAreNotHeld(t *testing.T) {
	r := NewReader(&stuck{t, "0006a\n000100000002"})
	for range 4 {
		if _, err := r.Next(); err != nil {
			t.Error(err)
		}
	}
}

// After a push's commands comes its pack, whatever was read ahead of it.
func TestRest(t *testing.T) {
	const commands, pack = "0009push\n0000", "PACK\x00\x00\x00\x02 and so on"
	for at := range len(commands + pack) {
		all := commands + pack
		r := NewReader(io.MultiReader(strings.NewReader(all[:at]), strings.NewReader(all[at:])))
		for range 2 {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
		}
		if b, err := io.ReadAll(r.Rest()); err != nil || string(b) != pack {
			t.Errorf("cut at %d: %q, %v", at, b, err)
		}
		if _, err := r.Next(); err == nil {
			t.Error("a packet was read of what is none")
		}
	}
	r := NewReader(iotest.DataErrReader(io.MultiReader(strings.NewReader(commands+pack), iotest.ErrReader(io.ErrClosedPipe))))
	r.Next()
	r.Next()
	if b, err := io.ReadAll(r.Rest()); string(b) != pack || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%q, %v", b, err)
	}
}

// endless gives the same packets again and again.
type endless struct {
	packets string
	at      int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m := copy(p[n:], e.packets[e.at:])
		n, e.at = n+m, (e.at+m)%len(e.packets)
	}
	return n, nil
}

var workloads = map[string]string{
	"refs": "003d3b18e512dba79e4c8300dd08aeb37f8e728b8dad refs/heads/main\n",
	"pack": fmt.Sprintf("%04x\x01", MaxBytes) + strings.Repeat("x", MaxBand),
}

func TestNoAllocation(t *testing.T) {
	for name, packets := range workloads {
		r, w := NewReader(&endless{packets: packets}), NewWriter(io.Discard)
		step := func() {
			p, err := r.Next()
			if err == nil {
				err = errors.Join(w.Pass(p), w.Data(p.Payload), w.Band(PackData, p.Payload), w.End(Flush))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for range 100 {
			step()
		}
		if n := testing.AllocsPerRun(1000, step); n != 0 {
			t.Errorf("%s: %v allocations per packet", name, n)
		}
	}
}

func BenchmarkReader(b *testing.B) {
	for name, packets := range workloads {
		b.Run(name, func(b *testing.B) {
			r := NewReader(&endless{packets: packets})
			b.SetBytes(int64(len(packets)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/go-git", func(b *testing.B) {
			s := gogit.NewScanner(&endless{packets: packets})
			b.SetBytes(int64(len(packets)))
			b.ReportAllocs()
			for b.Loop() {
				if !s.Scan() {
					b.Fatal(s.Err())
				}
			}
		})
	}
}
