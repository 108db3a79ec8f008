package kubernetes

import (
	"io"
	"net/http"
)

// jsonFilter masks JSON. A Secret's metadata comes before its data, and may hold a copy of it: in an annotation of some
// tool, or because a JSON patch put it there. So of what holds secrets by structure nothing of an object goes out before
// all of it was read. An event of a watch is an object of its own, and so is each element of a list or row of a table.
func (x *exchange) jsonFilter(dst io.Writer, m masking) filter {
	if m.shape == nil || !m.known || x.k.Resource != "secrets" && !m.custom {
		return x.scope.JSON(dst, m.shape, m.known)
	}
	if x.k.Verb == "list" || x.k.Verb == "deletecollection" {
		return x.scope.Objects(dst, m.shape, "items", "rows")
	}
	return x.scope.Objects(dst, m.shape)
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
