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

// A run of frames of one session (of all: the name is empty), in the form that sealed segments have in clear and that
// live frames are sent in (docs/reference/recording-format.md): a head, then records. A record is a frame behind its
// number's distance from that of the record before, and its length. The first is a unit frame.
const segmentMagic = "gbr1"

func appendSegmentHead(b []byte, session access.SessionID) []byte {
	return appendText(append(b, segmentMagic...), string(session))
}

func appendRecordHead(b []byte, distance uint64, length int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, distance), uint64(length))
}

// ReadFrames reads a run of frames: what Recorder.Frames sent, or a sealed segment, decrypted. The event's bytes are
// valid until fn returns, and an error of fn ends the reading.
func ReadFrames(src io.Reader, fn func(Event) error) error {
	var names resolver
	_, err := readRun(src, func(number uint64, raw []byte) error {
		e, err := names.event(number, raw)
		if err != nil {
			return err
		}
		return fn(e)
	})
	return err
}

// readRun gives fn each frame as it is stored; raw is valid until fn returns.
func readRun(src io.Reader, fn func(number uint64, raw []byte) error) (access.SessionID, error) {
	r := bufio.NewReaderSize(src, 64<<10)
	session, err := readHead(r)
	if err != nil {
		return "", err
	}
	var number uint64
	var raw []byte
	for {
		distance, err := binary.ReadUvarint(r)
		if err == io.EOF { // not wrapped: ReadUvarint says so of an empty rest alone
			return session, nil
		}
		if err != nil {
			return session, fmt.Errorf("reading a frame's number: %w", err)
		}
		if raw, err = readRecord(r, raw); err != nil {
			return session, err
		}
		number += distance
		if err := fn(number, raw); err != nil {
			return session, err
		}
	}
}

func readHead(r *bufio.Reader) (access.SessionID, error) {
	magic := make([]byte, len(segmentMagic))
	if _, err := io.ReadFull(r, magic); err != nil {
		return "", fmt.Errorf("reading a recording: %w", notEOF(err))
	}
	if string(magic) != segmentMagic {
		return "", errors.New("reading a recording: it is none, or of a version that this program does not know")
	}
	n, err := binary.ReadUvarint(r)
	if err != nil || n > maxText {
		return "", errors.New("reading a recording: its head is damaged")
	}
	name := make([]byte, n)
	if _, err := io.ReadFull(r, name); err != nil {
		return "", fmt.Errorf("reading a recording: %w", notEOF(err))
	}
	return access.SessionID(name), nil
}

// readRecord reads a record behind its distance, into raw where that is large enough.
func readRecord(r *bufio.Reader, raw []byte) ([]byte, error) {
	length, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, fmt.Errorf("reading a frame's length: %w", notEOF(err))
	}
	if length > journal.MaxFrameBytes {
		return nil, fmt.Errorf("a frame of %d bytes: at most %d can be", length, journal.MaxFrameBytes)
	}
	if uint64(cap(raw)) < length {
		raw = make([]byte, length)
	}
	raw = raw[:length]
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, fmt.Errorf("reading a frame: %w", notEOF(err))
	}
	return raw, nil
}

// notEOF keeps a file that ends within a frame from looking whole.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
