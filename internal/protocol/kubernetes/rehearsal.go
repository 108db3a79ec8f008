package kubernetes

import (
	"bytes"
	"io"
	"net/http"
)

// rehearsalBytes is how far the learning runs ahead of what is delivered: more than the largest object that the API
// server stores, with its metadata.
const rehearsalBytes = 4 << 20

// rehearsal reads an answer twice: once to learn the values in it, and then to mask it. A Secret's metadata comes before
// its data, and may hold a copy of it: in an annotation of some tool, or because a JSON patch put it there.
type rehearsal struct {
	learn, show filter
	// watch says that each line is an event of its own, which is delivered when it is whole.
	watch bool
	ahead []byte
	// shown is how much of ahead is delivered; that is dropped rarely, since what stays has to be moved.
	shown int
}

func (r *rehearsal) Write(b []byte) (int, error) {
	if _, err := r.learn.Write(b); err != nil {
		return 0, err
	}
	r.ahead = append(r.ahead, b...)
	return len(b), r.deliver(len(r.ahead) - r.shown - rehearsalBytes)
}

// deliver passes the next n bytes on.
func (r *rehearsal) deliver(n int) error {
	if n <= 0 {
		return nil
	}
	if _, err := r.show.Write(r.ahead[r.shown : r.shown+n]); err != nil {
		return err
	}
	r.shown += n
	if r.shown == len(r.ahead) || r.shown >= rehearsalBytes {
		r.ahead, r.shown = append(r.ahead[:0], r.ahead[r.shown:]...), 0
	}
	return nil
}

// Flush delivers the events that are whole.
func (r *rehearsal) Flush() error {
	if !r.watch {
		return nil
	}
	if err := r.learn.Flush(); err != nil {
		return err
	}
	if err := r.deliver(bytes.LastIndexByte(r.ahead[r.shown:], '\n') + 1); err != nil {
		return err
	}
	return r.show.Flush()
}

func (r *rehearsal) Close() error {
	if err := r.learn.Close(); err != nil {
		return err
	}
	if err := r.deliver(len(r.ahead) - r.shown); err != nil {
		return err
	}
	return r.show.Close()
}

func (r *rehearsal) Masked() int64 { return r.show.Masked() }

// jsonFilter masks JSON; what holds secrets by structure, only after they are known.
func (x *exchange) jsonFilter(dst io.Writer, m masking) filter {
	show := x.scope.JSON(dst, m.shape, m.known)
	if m.shape == nil || !m.known || x.k.Resource != "secrets" && !m.custom {
		return show
	}
	return &rehearsal{learn: x.scope.JSON(io.Discard, m.shape, false), show: show, watch: x.k.Verb == "watch"}
}

// strikeWarnings takes out what an admission policy may have said of a Secret that is deleted: it is not in the answer,
// so that its values may not be known.
func (x *exchange) strikeWarnings(h http.Header, m masking) {
	if m.shape == nil || x.k.Verb != "delete" && x.k.Verb != "deletecollection" {
		return
	}
	for i := range h["Warning"] {
		h["Warning"][i] = `299 - "(masked)"`
	}
}
