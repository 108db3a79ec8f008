package archive

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"filippo.io/age"
	"github.com/klauspost/compress/s2"
)

// blockBytes bounds the memory of a Sealer: s2 holds two blocks, age 64 KiB.
const blockBytes = 256 << 10

// Sealer compresses (s2) and encrypts (age) what is written to it, and digests what comes out. It is for one goroutine.
type Sealer struct {
	compress *s2.Writer
	encrypt  io.WriteCloser
	out      *meter
}

// NewSealer writes to dst, encrypted to one session's key.
func NewSealer(dst io.Writer, to age.Recipient) (*Sealer, error) {
	out := &meter{dst: dst, sum: sha256.New()}
	encrypt, err := age.Encrypt(out, to)
	if err != nil {
		return nil, fmt.Errorf("encrypting a segment: %w", err)
	}
	compress := s2.NewWriter(encrypt, s2.WriterConcurrency(1), s2.WriterBlockSize(blockBytes))
	return &Sealer{compress: compress, encrypt: encrypt, out: out}, nil
}

// Write takes plain bytes; b is not retained.
func (s *Sealer) Write(b []byte) (int, error) { return s.compress.Write(b) }

// Close finishes the file. dst is not closed.
func (s *Sealer) Close() error {
	if err := errors.Join(s.compress.Close(), s.encrypt.Close()); err != nil {
		return fmt.Errorf("sealing a segment: %w", err)
	}
	return nil
}

// Sum is the size in bytes and the SHA-256 of the file, once it is closed.
func (s *Sealer) Sum() (size int64, digest [sha256.Size]byte) {
	return s.out.size, [sha256.Size]byte(s.out.sum.Sum(nil))
}

// Unseal reads what a Sealer wrote. age authenticates each 64 KiB before it is given out, and a missing end is an error.
func Unseal(src io.Reader, ids ...age.Identity) (io.Reader, error) {
	r, err := age.Decrypt(src, ids...)
	if err != nil {
		return nil, fmt.Errorf("decrypting a segment: %w", err)
	}
	return s2.NewReader(r, s2.ReaderMaxBlockSize(blockBytes)), nil
}

// meter counts and digests what passes to dst.
type meter struct {
	dst  io.Writer
	sum  hash.Hash
	size int64
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.dst.Write(b)
	m.size += int64(n)
	m.sum.Write(b[:n])
	return n, err
}
