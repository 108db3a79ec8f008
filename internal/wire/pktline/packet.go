package pktline

import (
	"bytes"
	"errors"
)

const (
	// MaxBytes bounds a packet with its length, and MaxPayload without it.
	MaxBytes   = 65520
	MaxPayload = MaxBytes - headerBytes
	// MaxBand bounds what one packet carries in a band.
	MaxBand = MaxPayload - 1

	headerBytes = 4
)

// Kind is what a packet is. The zero value is none.
type Kind uint8

const (
	Data        Kind = iota + 1 // it has a payload, which may be empty
	Flush                       // 0000
	Delim                       // 0001
	ResponseEnd                 // 0002
)

// Packet is one pkt-line. Its slices are the reader's.
type Packet struct {
	Kind Kind
	// Raw are its bytes as they were read, and Offset is where they begin in the stream.
	Raw    []byte
	Offset int64
	// Payload is Raw without the length.
	Payload []byte
}

// Text is the payload without the LF that lines of text may end in (gitprotocol-common: a receiver must not care).
func (p Packet) Text() []byte { return bytes.TrimSuffix(p.Payload, []byte("\n")) }

var errPrefix = []byte("ERR ")

// Failure gives why the server gives up, where that is what the packet says.
func (p Packet) Failure() (why []byte, ok bool) {
	return bytes.CutPrefix(p.Text(), errPrefix)
}

// Band is a channel of side-band-64k.
type Band byte

const (
	PackData Band = 1
	Progress Band = 2 // text for a person
	Fatal    Band = 3 // text for a person; nothing follows
)

var (
	// ErrNoBand is the error of a packet without a payload where bands were agreed.
	ErrNoBand = errors.New("pkt-line names no side band")
	// ErrBand is the error of a band that is none of the three.
	ErrBand = errors.New("pkt-line names a side band that is not 1, 2 or 3")
)

// Band reads a packet where side-band-64k was agreed. Empty data keeps a connection alive.
func (p Packet) Band() (Band, []byte, error) {
	if p.Kind != Data || len(p.Payload) == 0 {
		return 0, nil, ErrNoBand
	}
	b := Band(p.Payload[0])
	if b < PackData || b > Fatal {
		return 0, nil, ErrBand
	}
	return b, p.Payload[1:], nil
}
