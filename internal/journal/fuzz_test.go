package journal

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzReader: whatever the bytes, the reader ends, holds no more than the segment has, and returns only frames that are in it.
func FuzzReader(f *testing.F) {
	table := castagnoli()
	head := appendSegmentHeader(nil, 7, 99, table)
	frames := appendFrame(appendFrame(appendFrame(nil, []byte("one"), true, table), nil, false, table), bytes.Repeat([]byte("x"), 300), true, table)
	stamp(frames, frameSeed(head, table), segmentHeaderBytes, segmentHeaderBytes, table)
	whole := append(head, frames...)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(whole[:segmentHeaderBytes])
	f.Add([]byte{})
	f.Add(append(bytes.Clone(whole), whole[segmentHeaderBytes:]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newReader(bytes.NewReader(data), 7, int64(len(data)), table)
		var c *CorruptError
		if err := r.start(0); err != nil {
			if !errors.As(err, &c) && len(data) >= segmentHeaderBytes {
				t.Fatal(err)
			}
			return
		}
		for r.at < r.limit {
			at := r.at
			frame, h, err := r.frame()
			if err != nil {
				if !errors.As(err, &c) || c.Offset != at {
					t.Fatal(err)
				}
				return
			}
			again := appendFrame(nil, frame, h.last, table)
			stamp(again, r.seed, at, h.synced, table)
			if d := cmp.Diff(data[at:r.at], again); d != "" {
				t.Fatal(d)
			}
		}
	})
}

// FuzzRecovery: a segment cut or damaged anywhere is either recovered to a prefix of its groups or refused, and never panics.
func FuzzRecovery(f *testing.F) {
	f.Add(uint16(40), byte(1), uint16(90))
	f.Add(uint16(0), byte(255), uint16(1000))
	f.Fuzz(func(t *testing.T, at uint16, xor byte, size uint16) {
		table := castagnoli()
		head := appendSegmentHeader(nil, 1, 5, table)
		var groups []byte
		for range 5 {
			groups = appendFrame(appendFrame(groups, []byte("begin"), false, table), []byte(frameMarker+"end"), true, table)
		}
		const group = 2*frameHeaderBytes + 11
		stamp(groups, frameSeed(head, table), segmentHeaderBytes, segmentHeaderBytes+group, table)
		data := append(head, groups...)
		data = data[:min(int(size), len(data))]
		if int(at) < len(data) {
			data[at] ^= xor
		}
		r := newReader(bytes.NewReader(data), 1, int64(len(data)), table)
		if r.start(0) != nil {
			return
		}
		end, why, err := lastGroup(r)
		if err != nil {
			t.Fatal(err)
		}
		if (end-segmentHeaderBytes)%group != 0 || (why == nil) != (end == int64(len(data))) {
			t.Fatalf("recovered up to %d of %d: %v", end, len(data), why)
		}
		if xor != 0 && int64(at) >= segmentHeaderBytes && int64(at) < end {
			t.Fatalf("recovered up to %d, but %d is damaged", end, at)
		}
		claimed := why != nil && r.claimsSynced(end)
		if claimed && end >= segmentHeaderBytes+group {
			t.Fatalf("the first group was synced, no more; %d is no damage", end)
		}
	})
}
