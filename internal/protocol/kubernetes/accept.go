package kubernetes

import (
	"mime"
	"strings"

	"gatebook/internal/access"
)

// negotiated is what is asked of the upstream, and what becomes of its answer.
type negotiated struct {
	// accept is the Accept header as it is sent on.
	accept string
	// answer is the media type that a JSON answer is written anew in; empty: it stays JSON.
	answer string
}

// negotiate makes sure that what comes back can be masked: where the client takes JSON, the API server is asked for
// JSON alone, with the client's own parameters (as, g, v: tables, partial objects, aggregated discovery); a client that
// takes only Protobuf or YAML gets JSON written anew; one that takes neither is refused.
func (x *exchange) negotiate(m masking) (negotiated, *access.Refusal) {
	accept := strings.Join(x.r.Header.Values("Accept"), ",")
	switch {
	case m.none() || x.k.isProxy:
		return negotiated{accept: accept}, nil
	case x.isOpenAPI():
		return negotiateSchema(accept), nil
	case accept == "":
		return negotiated{accept: typeJSON}, nil
	case !x.k.isResource && !isDiscovery(x.k.Path):
		return negotiated{accept: withoutBinary(accept)}, nil
	}
	return negotiateResource(accept, m.custom)
}

func isDiscovery(path string) bool {
	return path == "/api" || path == "/apis" || strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/apis/")
}

// negotiateResource reads an Accept header. With noTable the client gets whole objects where it asks for a table: a
// mask of the policy names places in objects, and a table's cells are taken from them unseen.
func negotiateResource(accept string, noTable bool) (negotiated, *access.Refusal) {
	var direct, binary []string
	answer := ""
	for clause := range strings.SplitSeq(accept, ",") {
		mediaType, params, err := mime.ParseMediaType(strings.TrimSpace(clause))
		if err != nil || noTable && params["as"] == "Table" {
			continue
		}
		switch {
		case mediaType == typeJSON, mediaType == "*/*", mediaType == "application/*":
			direct = append(direct, mime.FormatMediaType(typeJSON, params))
		case mediaType == typeProtobuf || mediaType == typeYAML:
			if answer == "" {
				answer = mediaType
			}
			if answer == mediaType {
				binary = append(binary, mime.FormatMediaType(typeJSON, params))
			}
		case strings.HasPrefix(mediaType, "text/"):
			direct = append(direct, mime.FormatMediaType(mediaType, params))
		}
	}
	switch {
	case len(direct) > 0:
		return negotiated{accept: strings.Join(direct, ",")}, nil
	case noTable && strings.Contains(accept, "as=Table"):
		return negotiated{accept: typeJSON}, nil
	case len(binary) > 0:
		return negotiated{accept: strings.Join(binary, ","), answer: answer}, nil
	}
	why := access.Refuse(access.CodeUnmaskable, nil, "the client takes only %q, which cannot be masked", accept)
	why.Advice = "Ask for " + typeJSON + "."
	return negotiated{}, why
}

// withoutBinary drops what is neither JSON nor text from an Accept header for a path that is no resource.
func withoutBinary(accept string) string {
	var out []string
	for clause := range strings.SplitSeq(accept, ",") {
		if !strings.Contains(clause, "protobuf") && !strings.Contains(clause, "cbor") {
			out = append(out, strings.TrimSpace(clause))
		}
	}
	if len(out) == 0 {
		return "*/*"
	}
	return strings.Join(out, ",")
}
