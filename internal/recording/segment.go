package recording

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"gatebook/internal/access"
	"gatebook/internal/journal"
)

// A sealed segment, in clear (docs/reference/recording-format.md): a head, then each frame of the session in the unit
// behind its number's distance from the one before, and its length.
const segmentMagic = "gbr1"

func appendSegmentHead(b []byte, session access.SessionID, unit string) []byte {
	return appendText(appendText(append(b, segmentMagic...), string(session)), unit)
}

func appendRecordHead(b []byte, distance uint64, length int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, distance), uint64(length))
}

// readSegment gives fn each frame of a sealed segment. raw is valid until fn returns.
func readSegment(src io.Reader, session access.SessionID, unit string, fn func(number uint64, raw []byte) error) error {
	r := bufio.NewReaderSize(src, 64<<10)
	want := appendSegmentHead(nil, session, unit)
	head := make([]byte, len(want))
	if _, err := io.ReadFull(r, head); err != nil {
		return fmt.Errorf("reading the segment's head: %w", err)
	}
	if string(head) != string(want) {
		return errors.New("the segment says that it is another one, or is of an unknown version")
	}
	var number uint64
	var raw []byte
	for {
		distance, err := binary.ReadUvarint(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a frame's number: %w", err)
		}
		length, err := binary.ReadUvarint(r)
		if err != nil {
			return fmt.Errorf("reading a frame's length: %w", notEOF(err))
		}
		if length > journal.MaxFrameBytes {
			return fmt.Errorf("a frame of %d bytes: at most %d can be", length, journal.MaxFrameBytes)
		}
		if uint64(cap(raw)) < length {
			raw = make([]byte, length)
		}
		raw = raw[:length]
		if _, err := io.ReadFull(r, raw); err != nil {
			return fmt.Errorf("reading a frame: %w", notEOF(err))
		}
		number += distance
		if err := fn(number, raw); err != nil {
			return err
		}
	}
}

// notEOF keeps a file that ends within a frame from looking whole.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
