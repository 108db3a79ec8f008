package kubernetes

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"gatebook/internal/access"
)

// digest binds an approval to a request: method, path and query as they were received, every header that is
// forwarded, and the body's bytes, each with its length. An exec, attach or port-forward has the same digest over
// WebSocket as over SPDY: there the method and the headers of the upgrade are left out, and none of them is forwarded
// from the client. header is what is forwarded.
func (h *Handler) digest(r *http.Request, k *reading, header http.Header, b *body) (access.Digest, error) {
	d := sha256.New()
	if len(h.o.DigestKey) > 0 {
		d = hmac.New(sha256.New, h.o.DigestKey)
	}
	method := r.Method
	if k.isStream {
		method = "stream"
	}
	buf := make([]byte, 0, 1024)
	for _, s := range []string{"gatebook kubernetes request 1", method, r.URL.EscapedPath(), r.URL.RawQuery} {
		buf = appendField(buf, s)
	}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, v := range header[name] {
			buf = appendField(appendField(buf, name), v)
		}
	}
	buf = appendField(buf, "") // no header has an empty name
	d.Write(binary.BigEndian.AppendUint64(buf, uint64(b.size)))
	if _, err := io.Copy(d, b.reader()); err != nil {
		return access.Digest{}, fmt.Errorf("reading the spooled body: %w", err)
	}
	return access.Digest(d.Sum(nil)), nil
}

func appendField(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
}
