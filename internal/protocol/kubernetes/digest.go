package kubernetes

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

// digest binds an approval to a request: method, path and query as they were received, every header that is
// forwarded, and the body's bytes, each with its length. An exec, attach or port-forward has the same digest over
// WebSocket as over SPDY: there the method and the headers of the upgrade are left out, and none of them is forwarded
// from the client.
func (h *Handler) digest(r *http.Request, k *reading, b *body) (access.Digest, error) {
	d := sha256.New()
	if len(h.o.DigestKey) > 0 {
		d = hmac.New(sha256.New, h.o.DigestKey)
	}
	method, header := r.Method, upstreamHeader(r.Header)
	if k.isStream {
		method, header = "stream", streamHeader(r.Header)
	}
	for _, s := range []string{"gatebook kubernetes request 1", method, r.URL.EscapedPath(), r.URL.RawQuery} {
		digestString(d, s)
	}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, v := range header[name] {
			digestString(d, name)
			digestString(d, v)
		}
	}
	digestString(d, "") // no header has an empty name
	digestSize(d, b.size)
	if _, err := io.Copy(d, b.reader()); err != nil {
		return access.Digest{}, fmt.Errorf("reading the spooled body: %w", err)
	}
	return access.Digest(d.Sum(nil)), nil
}

func digestString(d hash.Hash, s string) {
	digestSize(d, int64(len(s)))
	io.WriteString(d, s) // a hash's Write never fails
}

func digestSize(d hash.Hash, n int64) {
	d.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
}
