package mask

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// seen remembers which digests belong to strings that were masked lately, so that a value that is listed again and
// again is decoded, hashed and learned once. It knows a string by a keyed fingerprint of 128 bits. Forgetting, which
// happens where there is no room, costs time only.
type seen struct {
	keys *keys
	sets []seenSet
}

// seenSet is two cache lines, of which as a rule one is read. It is written without a lock: check says whether what is
// read was written together.
type seenSet [seenWays]struct {
	first, check atomic.Uint64 // half of the fingerprint, and the other half with a sum of all
	digest       [2]atomic.Uint64
}

const (
	seenSets = 1 << 15
	seenWays = 4
)

func newSeen(k *keys) *seen { return &seen{k, make([]seenSet, seenSets)} }

// fingerprint identifies the content of a string under an encoding.
type fingerprint [2]uint64

func (k *keys) fingerprint(b []byte, e Encoding) fingerprint {
	h, g := k.print[0]^uint64(len(b)), k.print[1]^uint64(e)
	for ; len(b) > 16; b = b[16:] {
		h, g = k.mix(binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), h, g)
	}
	var tail [16]byte
	copy(tail[:], b)
	h, g = k.mix(binary.LittleEndian.Uint64(tail[:]), binary.LittleEndian.Uint64(tail[8:]), h, g)
	h, g = k.mix(h, g, h, g)
	return fingerprint{h, g}
}

func (k *keys) mix(x, y, h, g uint64) (uint64, uint64) {
	hi1, lo1 := bits.Mul64(x^k.print[2], y^h)
	hi2, lo2 := bits.Mul64(y^k.print[3], x^g)
	return hi1 ^ lo1, hi2 ^ lo2
}

// check is the second half of f with a sum over a digest's halves.
func (s *seen) check(f fingerprint, a, b uint64) uint64 {
	x, y := s.keys.mix(f[0], f[1], a, b)
	return f[1] ^ x ^ y
}

// get gives the digest of the value that f's string holds.
func (s *seen) get(f fingerprint) (d digest, ok bool) {
	set := &s.sets[f[0]%seenSets]
	for i := range set {
		slot := &set[i]
		if slot.first.Load() != f[0] {
			continue
		}
		a, b := slot.digest[0].Load(), slot.digest[1].Load()
		if slot.check.Load() == s.check(f, a, b) {
			binary.LittleEndian.PutUint64(d[:], a)
			binary.LittleEndian.PutUint64(d[8:], b)
			return d, true
		}
	}
	return d, false
}

// put remembers f.
func (s *seen) put(f fingerprint, d digest) {
	set := &s.sets[f[0]%seenSets]
	slot := &set[f[1]%seenWays]
	for i := range set {
		if set[i].first.Load() == 0 {
			slot = &set[i]
			break
		}
	}
	a, b := binary.LittleEndian.Uint64(d[:]), binary.LittleEndian.Uint64(d[8:])
	slot.first.Store(f[0])
	slot.check.Store(s.check(f, a, b))
	slot.digest[0].Store(a)
	slot.digest[1].Store(b)
}
