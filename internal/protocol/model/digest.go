package model

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"net/http"
	"slices"

	"gatebook/internal/access"
)

// digest binds an approval to a request: method, path and query as they were received, every header that is forwarded
// but for those that count attempts, and the body's bytes, each with its length.
func (h *Handler) digest(r *http.Request, forwarded http.Header, body []byte) access.Digest {
	d := sha256.New()
	if len(h.o.DigestKey) > 0 {
		d = hmac.New(sha256.New, h.o.DigestKey)
	}
	var buf []byte
	for _, s := range []string{"gatebook model request 1", r.Method, r.URL.EscapedPath(), r.URL.RawQuery} {
		buf = appendField(buf, s)
	}
	for _, name := range slices.Sorted(maps.Keys(forwarded)) {
		for _, v := range forwarded[name] {
			if !isAttempt(name, v) {
				buf = appendField(appendField(buf, name), v)
			}
		}
	}
	buf = appendField(buf, "") // no header has an empty name
	d.Write(binary.BigEndian.AppendUint64(buf, uint64(len(body))))
	d.Write(body)
	return access.Digest(d.Sum(nil))
}

func appendField(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
}
