package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"slices"

	"gatebook/internal/access"
)

// digest binds an approval to a request as it is forwarded: where to, method, path and query as they were received, every
// header and trailer, and the body, decompressed, each with its length. Of a message of JSON-RPC the body is without what tells
// this call from the same call made again.
func (x *exchange) digest() (access.Digest, error) {
	var d hash.Hash = sha256.New()
	if k := x.h.o.DigestKey; len(k) > 0 {
		d = hmac.New(sha256.New, k)
	}
	var buf []byte
	upgrade := ""
	if x.socket {
		upgrade = "websocket"
	}
	for _, s := range []string{"gatebook web request 1", x.origin.Scheme, x.origin.Host, x.r.Method, x.r.URL.EscapedPath(), x.r.URL.RawQuery, upgrade} {
		buf = appendField(buf, s)
	}
	buf = appendHeader(buf, x.header)
	for _, p := range x.protocols {
		buf = appendField(buf, p)
	}
	buf = appendField(buf, "")
	buf = appendHeader(buf, x.trailer)
	d.Write(buf)
	for _, r := range x.meant() {
		d.Write(binary.BigEndian.AppendUint64(nil, uint64(r.Size())))
		if _, err := io.Copy(d, r); err != nil {
			return access.Digest{}, fmt.Errorf("reading the spooled body: %w", err)
		}
	}
	return access.Digest(d.Sum(nil)), nil
}

// meant are the parts of the body that an approval is for.
func (x *exchange) meant() (out []*io.SectionReader) {
	at, body := int64(0), x.body.Reader()
	if x.rpc != nil {
		for _, n := range x.rpc.noise {
			out = append(out, io.NewSectionReader(body, at, n[0]-at))
			at = n[1]
		}
	}
	return append(out, io.NewSectionReader(body, at, x.body.Size()-at))
}

func appendHeader(buf []byte, h http.Header) []byte {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			buf = appendField(appendField(buf, name), v)
		}
	}
	return appendField(buf, "") // no header has an empty name
}

func appendField(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
}
