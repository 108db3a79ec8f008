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

// seenSet is written without a lock: sum says whether what is read was written together.
type seenSet struct {
	first [seenWays]atomic.Uint64 // half of each fingerprint, in one cache line
	rest  [seenWays]struct {
		second, sum atomic.Uint64
		digest      [2]atomic.Uint64
	}
}

const (
	seenSets = 1 << 14
	seenWays = 8
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

func (s *seen) sum(f fingerprint, a, b uint64) uint64 {
	x, y := s.keys.mix(f[0], f[1], a, b)
	return x ^ y
}

// get gives the digest of the value that f's string holds.
func (s *seen) get(f fingerprint) (d digest, ok bool) {
	set := &s.sets[f[0]%seenSets]
	for i := range set.first {
		if set.first[i].Load() != f[0] {
			continue
		}
		slot := &set.rest[i]
		a, b := slot.digest[0].Load(), slot.digest[1].Load()
		if slot.second.Load() == f[1] && slot.sum.Load() == s.sum(f, a, b) {
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
	way := int(f[1] % seenWays)
	for i := range set.first {
		if set.first[i].Load() == 0 {
			way = i
			break
		}
	}
	slot := &set.rest[way]
	a, b := binary.LittleEndian.Uint64(d[:]), binary.LittleEndian.Uint64(d[8:])
	set.first[way].Store(f[0])
	slot.second.Store(f[1])
	slot.digest[0].Store(a)
	slot.digest[1].Store(b)
	slot.sum.Store(s.sum(f, a, b))
}
