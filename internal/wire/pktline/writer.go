package pktline

import (
	"errors"
	"fmt"
	"io"
)

// ErrPayload is the error of a payload that does not fit into a packet.
var ErrPayload = errors.New("the payload is longer than 65516 bytes")

// Writer writes packets, each in one write, and buffers nothing. It is for one goroutine. After an error it must not be
// used: a part of a packet may have gone out.
type Writer struct {
	w   io.Writer
	buf []byte
}

// NewWriter writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Pass writes a packet as it was read.
func (w *Writer) Pass(p Packet) error { return w.send(p.Raw) }

// Data writes a payload of at most MaxPayload bytes, which is not retained.
func (w *Writer) Data(payload []byte) error {
	b, err := AppendData(w.buf[:0], payload)
	if err != nil {
		return err
	}
	w.buf = b
	return w.send(b)
}

// End writes a packet that is only a mark: Flush, Delim or ResponseEnd.
func (w *Writer) End(k Kind) error {
	b, err := AppendEnd(w.buf[:0], k)
	if err != nil {
		return err
	}
	w.buf = b
	return w.send(b)
}

// Failure writes that the server gives up, and why; of a text too long for a packet, its beginning.
func (w *Writer) Failure(why string) error {
	return w.Data(append(append(make([]byte, 0, MaxPayload), errPrefix...), why[:min(len(why), MaxPayload-len(errPrefix))]...))
}

// Band writes p in one band, in as many packets as it needs, at least one.
func (w *Writer) Band(band Band, p []byte) error {
	if band < PackData || band > Fatal {
		return fmt.Errorf("writing a pkt-line: %w", ErrBand)
	}
	for {
		n := min(len(p), MaxBand)
		w.buf = append(append(appendLength(w.buf[:0], 1+n), byte(band)), p[:n]...)
		if err := w.send(w.buf); err != nil {
			return err
		}
		if p = p[n:]; len(p) == 0 {
			return nil
		}
	}
}

func (w *Writer) send(b []byte) error {
	if _, err := w.w.Write(b); err != nil {
		return fmt.Errorf("writing a pkt-line: %w", err)
	}
	return nil
}

// AppendData appends a packet with a payload.
func AppendData(dst, payload []byte) ([]byte, error) {
	if len(payload) > MaxPayload {
		return dst, fmt.Errorf("writing a pkt-line of %d bytes: %w", len(payload), ErrPayload)
	}
	return append(appendLength(dst, len(payload)), payload...), nil
}

// AppendEnd appends a packet that is only a mark.
func AppendEnd(dst []byte, k Kind) ([]byte, error) {
	if k < Flush || k > ResponseEnd {
		return dst, fmt.Errorf("writing a pkt-line: kind %d has a payload", k)
	}
	return append(dst, '0', '0', '0', '0'+byte(k-Flush)), nil
}

const digits = "0123456789abcdef"

// appendLength appends the length of a packet with n bytes of payload.
func appendLength(dst []byte, n int) []byte {
	n += headerBytes
	return append(dst, digits[n>>12&15], digits[n>>8&15], digits[n>>4&15], digits[n&15])
}
