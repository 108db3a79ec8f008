package model

import (
	"errors"
	"io"
	"net/http"

	"gatebook/internal/access"
)

// readBody reads a request's body to its end, into memory: all of it is looked at, several times.
func (h *Handler) readBody(r *http.Request) ([]byte, *access.Refusal) {
	limit := h.o.Limits.RequestBodyBytes
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	var why *access.Refusal
	switch {
	case errors.As(err, &why):
		return nil, why
	case err != nil:
		return nil, access.Refuse(access.CodeMalformed, err, "the request's body ended early, or is not framed correctly")
	case int64(len(b)) > limit:
		return nil, tooLarge(limit)
	}
	return b, nil
}

func tooLarge(limit int64) *access.Refusal {
	return access.Refuse(access.CodeTooLarge, nil, "the request's body is longer than limits.requestBodyBytes, %d bytes", limit)
}

func malformed(format string, args ...any) *access.Refusal {
	return access.Refuse(access.CodeMalformed, nil, format, args...)
}
