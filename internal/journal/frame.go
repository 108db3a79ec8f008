package journal

import (
	"encoding/binary"
	"hash/crc32"
)

// MaxFrameBytes is the largest payload of one frame.
const MaxFrameBytes = 16 << 20

// A frame, little-endian, docs/design/journal.md «Frame»:
//
//	 0      4          7    8        12       16       20
//	┌──────┬──────────┬────┬────────┬────────┬────────┬─────────┐
//	│ hcrc │ F7 47 42 │last│ length │ synced │ pcrc   │ payload │
//	└──────┴──────────┴────┴────────┴────────┴────────┴─────────┘
//
// hcrc covers bytes 4 to 20 and starts from a value made of the segment's nonce and the frame's offset, so that a frame
// is valid only in the place where it was written. pcrc covers the payload. last is 1 on the last frame of a group.
// synced is how much of the segment was known to be on disk when the frame was written.
const (
	frameHeaderBytes = 20
	frameMarker      = "\xf7GB"
	lastInGroup      = 1
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// header is a frame's header, checked.
type header struct {
	length int64
	synced int64
	pcrc   uint32
	last   bool
}

// appendFrame adds a frame whose place is not known yet: stamp completes it.
func appendFrame(buf, payload []byte, last bool, table *crc32.Table) []byte {
	var h [frameHeaderBytes]byte
	copy(h[4:], frameMarker)
	if last {
		h[7] = lastInGroup
	}
	binary.LittleEndian.PutUint32(h[8:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(h[16:], crc32.Checksum(payload, table))
	return append(append(buf, h[:]...), payload...)
}

// stamp gives the frames in buf their place: buf is about to be written at offset at of the segment with this seed.
func stamp(buf []byte, seed uint32, at, synced int64, table *crc32.Table) {
	for len(buf) > 0 {
		binary.LittleEndian.PutUint32(buf[12:], uint32(synced))
		binary.LittleEndian.PutUint32(buf, crc32.Update(seed^uint32(at), table, buf[4:frameHeaderBytes]))
		n := frameHeaderBytes + int64(binary.LittleEndian.Uint32(buf[8:]))
		buf, at = buf[n:], at+n
	}
}

// parseHeader reads the frame header in b, which stands at offset at. The reason is empty when the header is valid.
func parseHeader(b []byte, seed uint32, at int64, table *crc32.Table) (h header, reason string) {
	if len(b) < frameHeaderBytes {
		return header{}, "frame header is cut short"
	}
	if string(b[4:7]) != frameMarker || b[7] > lastInGroup {
		return header{}, "no frame begins here"
	}
	if binary.LittleEndian.Uint32(b) != crc32.Update(seed^uint32(at), table, b[4:frameHeaderBytes]) {
		return header{}, "frame header checksum does not match"
	}
	h = header{
		length: int64(binary.LittleEndian.Uint32(b[8:])),
		synced: int64(binary.LittleEndian.Uint32(b[12:])),
		pcrc:   binary.LittleEndian.Uint32(b[16:]),
		last:   b[7] == lastInGroup,
	}
	if h.length > MaxFrameBytes {
		return header{}, "frame is longer than a frame can be"
	}
	return h, ""
}
