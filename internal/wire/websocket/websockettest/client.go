// Package websockettest is a client of a WebSocket for tests, which writes its frames byte for byte as it is told
// (RFC 6455, section 5.2), so that a message can arrive in any pieces.
package websockettest

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
)

const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	final          = 0x80
	masked         = 0x80
)

// Handshake is a request for the subprotocol, which may be empty, and a ResponseWriter that gives the connection whose
// other end is client. What the server writes is read and forgotten.
func Handshake(subprotocol string) (w http.ResponseWriter, r *http.Request, client net.Conn) {
	r = httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}}
	if subprotocol != "" {
		r.Header.Set("Sec-Websocket-Protocol", subprotocol)
	}
	client, server := net.Pipe()
	go io.Copy(io.Discard, client) // ends with the connection
	return &hijacked{httptest.NewRecorder(), server}, r, client
}

type hijacked struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// Message is one message in binary, or in text, as fragments that end at the cuts, which are offsets into p in order.
func Message(text bool, p []byte, cuts ...int) []byte {
	op := byte(opBinary)
	if text {
		op = opText
	}
	var out []byte
	from := 0
	for _, to := range cuts {
		out = frame(out, op, p[from:to])
		from, op = to, opContinuation
	}
	return frame(out, final|op, p[from:])
}

// Goodbye is the message that ends a connection well.
func Goodbye() []byte { return frame(nil, final|opClose, []byte{0x03, 0xe8}) }

// frame appends one frame, with a mask that changes nothing.
func frame(out []byte, first byte, p []byte) []byte {
	switch {
	case len(p) < 126:
		out = append(out, first, masked|byte(len(p)))
	case len(p) <= 0xffff:
		out = binary.BigEndian.AppendUint16(append(out, first, masked|126), uint16(len(p)))
	default:
		out = binary.BigEndian.AppendUint64(append(out, first, masked|127), uint64(len(p)))
	}
	return append(append(out, 0, 0, 0, 0), p...)
}
