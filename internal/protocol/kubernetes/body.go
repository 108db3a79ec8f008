package kubernetes

import (
	"net/http"

	"gatebook/internal/access"
	"gatebook/internal/spool"
)

// bodyLimit is how the bound of a request's body is named.
const bodyLimit = "limits.requestBodyBytes"

// readBody reads a request's body to its end.
func (h *Handler) readBody(r *http.Request) (*spool.Body, *access.Refusal) {
	if r.Body == nil || r.Body == http.NoBody {
		return &spool.Body{}, nil
	}
	limit := h.o.Limits.RequestBodyBytes
	if r.ContentLength > limit {
		return &spool.Body{}, spool.TooLong(bodyLimit, limit)
	}
	b, err := spool.Read(r.Body, spool.Options{Memory: h.o.Limits.RequestMemoryBytes, Most: limit, Dir: h.o.SpoolDir})
	if err != nil {
		return b, spool.Refusal(err, bodyLimit, limit)
	}
	return b, nil
}
