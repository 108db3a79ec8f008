package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// MaxEntryBytes is the longest entry: a bundle gives its length in two bytes (tlog-tiles «Log entries»).
const MaxEntryBytes = 1<<16 - 1

// maxBundleBytes is the longest bundle file.
const maxBundleBytes = tileWidth * (2 + MaxEntryBytes)

// ErrEntryTooLarge refuses an entry of more than MaxEntryBytes.
var ErrEntryTooLarge = errors.New("ledger entry is too large")

func appendEntry(bundle, entry []byte) []byte {
	return append(binary.BigEndian.AppendUint16(bundle, uint16(len(entry))), entry...)
}

// cutEntry returns the first entry of a bundle and what follows it.
func cutEntry(bundle []byte) (entry, rest []byte, err error) {
	if len(bundle) < 2 {
		return nil, nil, fmt.Errorf("bundle ends where an entry should begin")
	}
	n := int(binary.BigEndian.Uint16(bundle))
	if len(bundle) < 2+n {
		return nil, nil, fmt.Errorf("bundle ends inside an entry")
	}
	return bundle[2 : 2+n], bundle[2+n:], nil
}

// leafHasher computes RFC 6962 leaf hashes without allocating for each.
type leafHasher struct{ buf []byte }

func (h *leafHasher) sum(entry []byte) tlog.Hash {
	h.buf = append(append(h.buf[:0], 0x00), entry...)
	return sha256.Sum256(h.buf)
}
