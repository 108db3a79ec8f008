package credential

import (
	"bytes"
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
		a := &ahead{Conn: &pieces{rest: all, most: func() int { return 1 + r.IntN(most) }}}
		var out []byte
		for {
			b := make([]byte, 1+r.IntN(9000))
			before := a.pending()
			n, err := a.Read(b)
			out = append(out, b[:n]...)
			if err == io.EOF && n == 0 {
				break
			}
			if before > 0 && a.pending() != before-n {
				t.Fatalf("%d were pending, %d were read, %d are", before, n, a.pending())
			}
		}
		if !bytes.Equal(out, all) {
			t.Fatalf("%d of %d bytes", len(out), len(all))
		}
	}
}
