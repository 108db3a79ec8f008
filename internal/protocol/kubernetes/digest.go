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
	"sync"

	"gatebook/internal/access"
	"gatebook/internal/spool"
)

// digest binds an approval to a request: method, path and query as they were received, every header that is
// forwarded, and the body's bytes, each with its length. An exec, attach or port-forward has the same digest over
// WebSocket as over SPDY: there the method and the headers of the upgrade are left out, and none of them is forwarded
// from the client. header is what is forwarded.
func (h *Handler) digest(r *http.Request, k *reading, header http.Header, b *spool.Body) (access.Digest, error) {
	d := h.digesters.get(h.o.DigestKey)
	defer h.digesters.pool.Put(d)
	method := r.Method
	if k.isStream {
		method = "stream"
	}
	buf := d.buf[:0]
	for _, s := range []string{"gatebook kubernetes request 1", method, r.URL.EscapedPath(), r.URL.RawQuery} {
		buf = appendField(buf, s)
	}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, v := range header[name] {
			buf = appendField(appendField(buf, name), v)
		}
	}
	buf = appendField(buf, "") // no header has an empty name
	d.buf = binary.BigEndian.AppendUint64(buf, uint64(b.Size()))
	d.Write(d.buf)
	if _, err := io.Copy(d, b.Reader()); err != nil {
		return access.Digest{}, fmt.Errorf("reading the spooled body: %w", err)
	}
	return access.Digest(d.Sum(nil)), nil
}

// digester is a hash, keyed where there is a key, and the memory for what goes into it.
type digester struct {
	hash.Hash
	buf []byte
}

// digesters are used again and again: setting up a keyed hash costs as much as a short request's digest.
type digesters struct{ pool sync.Pool }

func (p *digesters) get(key []byte) *digester {
	if d, ok := p.pool.Get().(*digester); ok {
		d.Reset()
		return d
	}
	d := &digester{Hash: sha256.New(), buf: make([]byte, 0, 1024)}
	if len(key) > 0 {
		d.Hash = hmac.New(sha256.New, key)
	}
	return d
}

func appendField(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
}
