package kubernetes

import (
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
)

// The API's schema in Protobuf is what the API server makes of the same in JSON, without what is known to be secret.
func TestSchemaInProtobuf(t *testing.T) {
	v2 := `{"swagger":"2.0","info":{"title":"Kubernetes","version":"v1"},"paths":{},"definitions":{"x":{"type":"object","description":"like ` + hiddenValue + ` here","x-kubernetes-group-version-kind":[{"kind":"X"}]}}}`
	v3 := `{"openapi":"3.0.0","info":{"title":"Kubernetes","version":"v1"},"paths":{},"components":{"schemas":{"x":{"type":"object","description":"like ` + hiddenValue + ` here"}}}}`
	for _, c := range []struct{ name, uri, accept, doc, contentType string }{
		{"v2", "/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", v2, typeSchemaV2},
		{"v2 by its new name", "/openapi/v2", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", v2, typeSchemaV2},
		{"v3", "/openapi/v3/apis/example.com/v1", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf", v3, typeSchemaV3},
		{"v2 in JSON too", "/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf, application/json;q=0.5", v2, typeJSON},
		{"v3 in JSON", "/openapi/v3/apis/example.com/v1", "application/json", v3, typeJSON},
		{"v3 in nothing that there is", "/openapi/v3", "application/vnd.kubernetes.protobuf", v3, typeJSON},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, reply(200, typeJSON, secretJSON("db", "password", hiddenValue)))
			w.do("GET", "/api/v1/namespaces/a/secrets/db", "")
			w.upstream = reply(200, typeJSON, c.doc)
			a := w.do("GET", c.uri, "", "Accept", c.accept)
			if l := leaks([]byte(a.body), hiddenValue); l != nil || a.code != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), c.contentType) {
				t.Fatalf("%d %s %v: %q", a.code, a.header, l, a.body)
			}
			if accept := w.last().Header.Get("Accept"); strings.Contains(accept, "protobuf") {
				t.Errorf("asked for %q", accept)
			}
			description := ""
			switch c.contentType {
			case typeSchemaV2:
				var d openapi_v2.Document
				if err := proto.Unmarshal([]byte(a.body), &d); err != nil {
					t.Fatal(err)
				}
				description = d.GetDefinitions().GetAdditionalProperties()[0].GetValue().GetDescription()
			case typeSchemaV3:
				var d openapi_v3.Document
				if err := proto.Unmarshal([]byte(a.body), &d); err != nil {
					t.Fatal(err)
				}
				description = d.GetComponents().GetSchemas().GetAdditionalProperties()[0].GetValue().GetSchema().GetDescription()
			default:
				description = a.body
			}
			if !strings.Contains(description, "like gbm-") {
				t.Errorf("%q", description)
			}
		})
	}
	w := newWorld(t, reply(200, typeSchemaV2, hiddenValue))
	if a := w.do("GET", "/openapi/v2", "", "Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"); a.code != 406 || strings.Contains(a.body, hiddenValue) {
		t.Errorf("a schema in Protobuf that was not asked for: %d %q", a.code, a.body)
	}
}
