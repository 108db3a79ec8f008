package credential

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// pieces is a connection that gives what there is in pieces of its own.
type pieces struct {
	net.Conn
	rest []byte
	most func() int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.most())], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func TestAheadLosesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	all := make([]byte, 400_000)
	for i := range all {
		all[i] = byte(r.Uint32())
	}
	for range 50 {
		most := 1 + r.IntN(100_000)
		from := &pieces{rest: all, most: func() int { return 1 + r.IntN(most) }}
		var out []byte
		waits := 0
		a := &ahead{Conn: from, before: func() error {
			waits++
			if len(out) != len(all)-len(from.rest) {
				return errors.New("not all that has come was given")
			}
			return nil
		}}
		for {
			b := make([]byte, 1+r.IntN(9000))
			n, err := a.Read(b)
			out = append(out, b[:n]...)
			if err == io.EOF && n == 0 {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(out, all) || waits == 0 {
			t.Fatalf("%d of %d bytes, in %d reads", len(out), len(all), waits)
		}
	}
	failed := errors.New("failed")
	a := &ahead{Conn: &pieces{rest: all, most: func() int { return 1 }}, before: func() error { return failed }}
	if n, err := a.Read(make([]byte, 1)); n != 0 || err != failed {
		t.Errorf("%d, %v", n, err)
	}
}
