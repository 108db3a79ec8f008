package api

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
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
	chains, more, err := attribution.Why(r.Context(), a.index(r), text)
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
	moments, more, err := attribution.Timeline(r.Context(), a.index(r), id)
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
func (a *API) spans(w http.ResponseWriter, r call) (any, error) {
	body, err := telemetry(r)
	if err != nil {
		return nil, err
	}
	spans, err := attribution.ParseSpans(r.Header.Get("Content-Type"), body)
	if err != nil {
		return nil, malformed("%v", err)
	}
	if len(spans) > maxSpans {
		return nil, &client.Error{Status: http.StatusRequestEntityTooLarge, Code: access.CodeTooLarge, Message: fmt.Sprintf("an export of spans may name %d tool calls, and this one has %d; export more often", maxSpans, len(spans))}
	}
	if a.o.Span != nil {
		for _, s := range spans {
			a.o.Span(r.by, a.o.Session(r.by), s)
		}
	}
	return accepted(w, r), nil
}

// maxSpans is how many spans of one export may name a tool call: each is held against what ran.
const maxSpans = 5000

// maxTelemetry is how large an export of spans may be, once it is unpacked.
const maxTelemetry = 4 << 20

// telemetry reads an export, which exporters may compress (OTLP 1.x, section OTLP/HTTP).
func telemetry(r call) ([]byte, error) {
	var in io.Reader = r.Body
	switch e := r.Header.Get("Content-Encoding"); e {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, malformed("reading spans: %v", err)
		}
		in = z
	default:
		return nil, &client.Error{Status: http.StatusUnsupportedMediaType, Code: access.CodeMalformed, Message: "Content-Encoding must be gzip, or not be there"}
	}
	body, err := io.ReadAll(io.LimitReader(in, maxTelemetry+1))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long) || len(body) > maxTelemetry:
		return nil, &client.Error{Status: http.StatusRequestEntityTooLarge, Code: access.CodeTooLarge, Message: "an export of spans may have 1 MiB, and 4 MiB once it is unpacked"}
	case err != nil:
		return nil, malformed("reading spans: %v", err)
	}
	return body, nil
}

// accepted is an answer without a partial success, in the form of the request: of Protobuf, nothing at all.
func accepted(w http.ResponseWriter, r call) any {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && kind == "application/x-protobuf" {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return struct{}{}
}

// ignored answers telemetry that says nothing about causes, so that its sender does not try again.
func (a *API) ignored(w http.ResponseWriter, r call) (any, error) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	return accepted(w, r), nil
}
