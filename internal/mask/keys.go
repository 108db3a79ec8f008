package mask

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

const keyBytes = 32

// digest identifies a value under the engine's key: the first 128 bits of SHA-256(key ‖ value). Cut to half, SHA-256
// behind a secret prefix of fixed length has no length extension; unlike HMAC it costs one block for a short value,
// and masking is mostly short values.
type digest [16]byte

// keys are derived from the engine's key, one for each use.
type keys struct {
	value  [keyBytes]byte
	seal   [keyBytes]byte
	window uint64 // odd
	short  uint64 // odd
	tag    [2]uint64
	print  [4]uint64
}

func derive(key []byte, label string) (out [keyBytes]byte) {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(label))
	h.Sum(out[:0])
	return out
}

func newKeys(key []byte) *keys {
	n, p := derive(key, "windows"), derive(key, "fingerprint")
	return &keys{
		value:  derive(key, "value"),
		seal:   derive(key, "seal"),
		window: binary.LittleEndian.Uint64(n[0:]) | 1,
		short:  binary.LittleEndian.Uint64(n[8:]) | 1,
		tag:    [2]uint64{binary.LittleEndian.Uint64(n[16:]), binary.LittleEndian.Uint64(n[24:]) | 1},
		print:  [4]uint64{binary.LittleEndian.Uint64(p[0:]), binary.LittleEndian.Uint64(p[8:]), binary.LittleEndian.Uint64(p[16:]), binary.LittleEndian.Uint64(p[24:])},
	}
}

// keyed is a buffer whose first keyBytes bytes are room for the key, so that a digest is one call without a copy.
// digestOf takes the value from keyed[keyBytes:].
func (k *keys) digestOf(keyed []byte) (d digest) {
	copy(keyed, k.value[:])
	sum := sha256.Sum256(keyed)
	copy(d[:], sum[:])
	return d
}

// probeHash is the hash of probeBytes bytes, w's upper ones, that the filter is made of. Its low half is thrown away,
// so that it does not determine the bytes.
func (k *keys) probeHash(w uint64) uint32 { return uint32(w * k.window >> 32) }

// shortHash is the same for four bytes.
func (k *keys) shortHash(w uint32) uint32 { return uint32((uint64(w) ^ k.tag[0]>>32) * k.short >> 32) }

// tag8 identifies the first eight bytes of a value.
func (k *keys) tag8(w uint64) uint32 {
	w = (w ^ k.tag[0]) * k.tag[1]
	w ^= w >> 29
	w *= k.window
	return uint32(w >> 32)
}
