package postgres

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Codes of the packets that open a connection (protocol.html, section 55.7).
const (
	versionCode = 3 << 16
	cancelCode  = 1234<<16 | 5678
	tlsCode     = 1234<<16 | 5679
	gssCode     = 1234<<16 | 5680
	// maxStartup is the server's bound on such a packet (MAX_STARTUP_PACKET_LENGTH).
	maxStartup = 10000
)

// Kind is what a connection opens with.
type Kind uint8

// The kinds of first packets.
const (
	Startup Kind = iota + 1
	Cancel
	TLSRequest
	GSSRequest
)

// First is a packet that opens a connection.
type First struct {
	Kind Kind
	// Minor is the protocol version's, of major version 3.
	Minor int
	// Params are a startup's parameters, each name once.
	Params map[string]string
	// Process and Key are those of a cancel request.
	Process uint32
	Key     []byte
}

// ReadFirst reads one packet, and not a byte more: what follows an answer to it may be TLS.
func ReadFirst(r io.Reader) (First, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return First{}, err
	}
	n, code := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	if n < 8 || n > maxStartup {
		return First{}, fmt.Errorf("%w: an opening packet of %d bytes", ErrLength, n)
	}
	body := make([]byte, n-8)
	if _, err := io.ReadFull(r, body); err != nil {
		return First{}, err
	}
	switch {
	case code == tlsCode && len(body) == 0:
		return First{Kind: TLSRequest}, nil
	case code == gssCode && len(body) == 0:
		return First{Kind: GSSRequest}, nil
	case code == cancelCode && len(body) >= 5 && len(body) <= 4+256:
		return First{Kind: Cancel, Process: binary.BigEndian.Uint32(body), Key: body[4:]}, nil
	case code>>16 == versionCode>>16:
		p, err := startupParams(body)
		return First{Kind: Startup, Minor: int(code & 0xffff), Params: p}, err
	}
	return First{}, fmt.Errorf("%w: an opening packet of code %d with %d bytes", ErrField, code, n)
}

// startupParams reads pairs of names and values, and the zero that ends them.
func startupParams(b []byte) (map[string]string, error) {
	out := map[string]string{}
	d := decoder{b: b}
	for {
		name := d.text()
		if name == "" {
			break
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("%w: the parameter %q is given twice", ErrField, name)
		}
		out[name] = d.text()
	}
	return out, d.end()
}

// Bytes writes a Startup or a Cancel as it opens a connection.
func (f First) Bytes() []byte {
	b := Builder{Bytes: make([]byte, 4, 64)}
	if f.Kind == Cancel {
		b.Int32(cancelCode).Int32(f.Process).Raw(f.Key)
	} else {
		b.Int32(uint32(versionCode + f.Minor))
		for name, v := range f.Params {
			b.Text(name).Text(v)
		}
		b.Byte(0)
	}
	binary.BigEndian.PutUint32(b.Bytes, uint32(len(b.Bytes)))
	return b.Bytes
}
