package kubernetes

import (
	"fmt"
	"strings"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
)

// The API's schema in Protobuf, as kubectl asks for it (k8s.io/kube-openapi/pkg/handler and handler3) and as the API server names it.
const (
	schemaV2, typeSchemaV2 = "proto-openapi.spec.v2", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	schemaV3, typeSchemaV3 = "proto-openapi.spec.v3", "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

// isOpenAPI reports whether the answer is the API's schema. It is public, but for what somebody wrote into the
// description of a custom resource.
func (x *exchange) isOpenAPI() bool {
	return !x.k.isResource && (strings.HasPrefix(x.k.Path, "/openapi/v2") || strings.HasPrefix(x.k.Path, "/openapi/v3"))
}

// negotiateSchema asks for JSON. A client that takes only Protobuf gets what the API server itself would make of it.
// Names of media types with an @ are none to package mime.
func negotiateSchema(accept string) negotiated {
	answer := ""
	for clause := range strings.SplitSeq(accept, ",") {
		mediaType, _, _ := strings.Cut(clause, ";")
		switch mediaType = strings.ToLower(strings.TrimSpace(mediaType)); {
		case mediaType == "", mediaType == typeJSON, mediaType == "*/*", mediaType == "application/*":
			return negotiated{accept: typeJSON}
		case strings.Contains(mediaType, schemaV2):
			answer = typeSchemaV2
		case strings.Contains(mediaType, schemaV3):
			answer = typeSchemaV3
		}
	}
	if answer == "" {
		return negotiated{accept: withoutBinary(accept)}
	}
	return negotiated{accept: typeJSON, answer: answer}
}

// encodeSchema writes a schema anew.
func encodeSchema(answer string, doc []byte) ([]byte, error) {
	var m proto.Message
	var err error
	if answer == typeSchemaV2 {
		m, err = openapi_v2.ParseDocument(doc)
	} else {
		m, err = openapi_v3.ParseDocument(doc)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the API's schema as Protobuf: %w", err)
	}
	return proto.Marshal(m)
}
