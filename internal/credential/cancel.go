package credential

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// Codes of SSLRequest and CancelRequest (PostgreSQL's protocol.html, section 55.7).
const (
	sslRequest    = 1234<<16 | 5679
	cancelRequest = 1234<<16 | 5678
)

// cancel sends the backend's key, which whoever has it could use: over TLS alone.
func (d *Database) cancel(ctx context.Context, raw net.Conn, c *DatabaseConn) error {
	var ask [8]byte
	binary.BigEndian.PutUint32(ask[:], 8)
	binary.BigEndian.PutUint32(ask[4:], sslRequest)
	if _, err := raw.Write(ask[:]); err != nil {
		return err
	}
	var answer [1]byte // and not a byte more: what follows is TLS
	if _, err := io.ReadFull(raw, answer[:]); err != nil {
		return err
	}
	if answer[0] != 'S' {
		return errors.New("the server does not offer TLS")
	}
	t := tls.Client(raw, d.tls())
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(12+len(c.key)) /* length, code, process, key */)
	b = binary.BigEndian.AppendUint32(b, cancelRequest)
	b = append(binary.BigEndian.AppendUint32(b, c.process), c.key...)
	if _, err := t.Write(b); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, io.LimitReader(t, 1)) // the server closes once it has acted
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}
