package spool

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"gatebook/internal/access"
)

// Around each bound a body is what was sent, in memory up to the first and in a nameless file beyond it, and an error beyond
// the second; however the sender cuts it.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	text := []byte("0123456789abcdefghij")
	for n := range len(text) + 1 {
		for memory := range int64(12) {
			for cut, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "by byte": iotest.OneByteReader, "end with data": iotest.DataErrReader} {
				b, err := Read(wrap(bytes.NewReader(text[:n])), Options{Memory: memory, Most: 15, Dir: dir})
				if n > 15 {
					if !errors.Is(err, ErrTooLong) || b.Size() != 0 {
						t.Fatalf("%d bytes, %s: %v", n, cut, err)
					}
					continue
				}
				if err != nil || b.Size() != int64(n) || (b.file != nil) != (int64(n) > memory) {
					t.Fatalf("%d bytes, %d in memory, %s: %d, %v", n, memory, cut, b.Size(), err)
				}
				for range 2 {
					got, err := b.Bytes()
					if rest, err2 := io.ReadAll(b.From(int64(n / 2))); err != nil || err2 != nil || !bytes.Equal(got, text[:n]) || !bytes.Equal(rest, text[n/2:n]) {
						t.Fatalf("%q %q %v %v", got, rest, err, err2)
					}
				}
				b.Close()
				b.Close()
			}
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q %v", left, err)
	}
}

// Whose failure it was is told: the sender's, its slowness, or the gateway's disk.
func TestRefusal(t *testing.T) {
	long := bytes.NewReader(make([]byte, 100))
	for name, c := range map[string]struct {
		src  io.Reader
		dir  string
		code access.Code
	}{
		"no folder":     {long, filepath.Join(t.TempDir(), "none"), access.CodeInternal},
		"ends early":    {io.MultiReader(bytes.NewReader(make([]byte, 20)), iotest.ErrReader(io.ErrUnexpectedEOF)), "", access.CodeMalformed},
		"early in head": {iotest.ErrReader(io.ErrUnexpectedEOF), "", access.CodeMalformed},
		"slow":          {iotest.ErrReader(os.ErrDeadlineExceeded), "", access.CodeTooSlow},
		"long":          {bytes.NewReader(make([]byte, 200)), "", access.CodeTooLarge},
	} {
		b, err := Read(c.src, Options{Memory: 10, Most: 150, Dir: c.dir})
		if err == nil || b.Size() != 0 {
			t.Fatalf("%s: %v", name, err)
		}
		if why := Refusal(err, "limits.x", 150); why.Code != c.code {
			t.Errorf("%s: %s, want %s", name, why.Code, c.code)
		}
	}
	d := disk{os.NewFile(^uintptr(0), "closed")}
	var failed *DiskError
	if _, err := d.Write([]byte("x")); !errors.As(err, &failed) {
		t.Errorf("a write that fails: %v", err)
	}
}
