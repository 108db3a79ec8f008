package api

import (
	"net/http"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
)

// forget lets a value be shown again that is hidden wherever it stands. Who says it knows it already. The record has its
// keyed digest, never the value.
func (a *API) forget(_ http.ResponseWriter, r call) (any, error) {
	var in client.Forget
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	in.Value = strings.TrimSpace(in.Value)
	if in.Value == "" || strings.TrimSpace(in.Reason) == "" {
		return nil, malformed("say what is forgotten by value, and why by reason")
	}
	out := client.Forgotten{Digest: a.o.Digest([]byte(in.Value)), Reason: in.Reason, By: r.by.Key(), Time: a.o.Now()}
	if err := a.o.Note("", "mask.forgotten", out); err != nil {
		return nil, access.Refuse(access.CodeNotRecorded, err, "that the value is forgotten could not be recorded, so it was not done")
	}
	var err error
	out.Patterns, err = a.o.Forget(r.Context(), []byte(in.Value))
	return out, err
}
