package kubernetes

import (
	"bytes"
	"slices"

	"gatebook/internal/access"
)

// sniffer refuses compressed content, in which no value can be recognised, whatever it is called.
type sniffer struct {
	filter
	head []byte
	done bool
}

var compressed = [][]byte{{0x1f, 0x8b}, {'P', 'K', 3, 4}, {0x28, 0xb5, 0x2f, 0xfd}, {'B', 'Z', 'h'}, {0xfd, '7', 'z', 'X', 'Z', 0}}

func (s *sniffer) Write(b []byte) (int, error) {
	if s.done {
		return s.filter.Write(b)
	}
	s.head = append(s.head, b...)
	if len(s.head) < 6 {
		return len(b), nil
	}
	if err := s.release(); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (s *sniffer) release() error {
	if s.done {
		return nil
	}
	s.done = true
	for _, magic := range compressed {
		if bytes.HasPrefix(s.head, magic) {
			return access.Refuse(access.CodeUnmaskable, nil, "the answer is compressed, so that nothing in it can be masked")
		}
	}
	_, err := s.filter.Write(s.head)
	s.head = nil
	return err
}

// Flush lets go of what cannot be the beginning of compressed content any more: a server may send its first byte alone.
func (s *sniffer) Flush() error {
	if !s.done && slices.ContainsFunc(compressed, func(magic []byte) bool { return bytes.HasPrefix(magic, s.head) }) {
		return nil
	}
	if err := s.release(); err != nil {
		return err
	}
	return s.filter.Flush()
}

func (s *sniffer) Close() error {
	if err := s.release(); err != nil {
		return err
	}
	return s.filter.Close()
}
