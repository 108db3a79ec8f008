package api

import (
	"errors"
	"io"
	"net/http"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/attribution"
)

// why tells how an effect came about, from the effect's side.
func (a *API) why(_ http.ResponseWriter, r call) (any, error) {
	q := &query{v: r.URL.Query()}
	text := q.take("q")
	if err := q.done(); err != nil {
		return nil, err
	}
	if text == "" {
		return nil, malformed("q is missing: a commit, an object, words of a statement, an operation or an approval")
	}
	chains, more, err := attribution.Why(r.Context(), a.o.Index, text)
	if err != nil {
		return nil, err
	}
	noted := map[access.SessionID]bool{}
	for i := range chains {
		s := chains[i].Record.Operation.Session
		if !noted[s] {
			if err := a.read(r, s, "what is behind "+text); err != nil {
				return nil, err
			}
		}
		noted[s] = true
	}
	return client.Why{Chains: list(chains), More: more}, nil
}

// timeline tells what happened in a session, from its prompts' side.
func (a *API) timeline(_ http.ResponseWriter, r call) (any, error) {
	id := access.SessionID(r.PathValue("id"))
	moments, more, err := attribution.Timeline(r.Context(), a.o.Index, id)
	if err != nil {
		return nil, err
	}
	if len(moments) == 0 {
		return nil, notFound("session", string(id))
	}
	return client.Timeline{Moments: moments, More: more}, a.read(r, id, "timeline")
}

// spans takes the telemetry of the caller's own session. It is the caller's word, and can only say more of what the gateway
// has seen itself.
func (a *API) spans(_ http.ResponseWriter, r call) (any, error) {
	body, err := io.ReadAll(r.Body)
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nil, &client.Error{Status: http.StatusRequestEntityTooLarge, Code: access.CodeTooLarge, Message: "an export of spans may have 1 MiB"}
	case err != nil:
		return nil, malformed("reading spans: %v", err)
	}
	spans, err := attribution.ParseSpans(r.Header.Get("Content-Type"), body)
	if err != nil {
		return nil, malformed("%v", err)
	}
	if a.o.Span != nil {
		for _, s := range spans {
			a.o.Span(r.by, a.o.Session(r.by), s)
		}
	}
	return struct{}{}, nil // ExportTraceServiceResponse without a partial success
}

// ignored answers telemetry that says nothing about causes, so that its sender does not try again.
func (a *API) ignored(_ http.ResponseWriter, r call) (any, error) {
	_, err := io.Copy(io.Discard, r.Body)
	return struct{}{}, err
}
