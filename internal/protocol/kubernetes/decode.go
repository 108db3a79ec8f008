package kubernetes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"sigs.k8s.io/yaml"
	goyaml "sigs.k8s.io/yaml/goyaml.v2"

	kjson "sigs.k8s.io/json"
)

// Media types of the Kubernetes API.
const (
	typeJSON      = "application/json"
	typeYAML      = "application/yaml"
	typeProtobuf  = "application/vnd.kubernetes.protobuf"
	typeCBOR      = "application/cbor"
	typeJSONPatch = "application/json-patch+json"
	typeMerge     = "application/merge-patch+json"
	typeStrategic = "application/strategic-merge-patch+json"
	typeApply     = "application/apply-patch+yaml"
	typeApplyCBOR = "application/apply-patch+cbor"
)

// patchType names a patch's media type as policy does.
func patchType(mediaType string) string {
	switch mediaType {
	case typeJSONPatch:
		return "json"
	case typeMerge:
		return "merge"
	case typeStrategic:
		return "strategic"
	case typeApply, typeApplyCBOR:
		return "apply"
	}
	return ""
}

// document is a request's body, decoded with certainty: there is one way to read it, and this is it.
type document struct {
	mediaType string
	// json is the body as JSON: its own bytes where it is JSON, else what the API server would read, written anew.
	json []byte
	// value is json, decoded: numbers are int64 or float64.
	value any
}

// object is the document where it is an object, else nil.
func (d *document) object() map[string]any {
	if d == nil {
		return nil
	}
	o, ok := d.value.(map[string]any)
	if !ok {
		return nil
	}
	return o
}

// decodeDocument reads a body as the API server would. An error says why its meaning is not certain.
func (h *Handler) decodeDocument(contentType string, data []byte) (*document, error) {
	mediaType := typeJSON // as the API server takes it (negotiation.NegotiateInputSerializer)
	if contentType != "" {
		var err error
		if mediaType, _, err = mime.ParseMediaType(contentType); err != nil {
			return nil, fmt.Errorf("reading its content type: %w", err)
		}
	}
	d := &document{mediaType: mediaType}
	var err error
	switch mediaType {
	case typeJSON, typeJSONPatch, typeMerge, typeStrategic:
		d.json = data
	case typeYAML, typeApply:
		d.json, err = yamlToJSON(data)
	case typeProtobuf:
		d.json, err = h.protobufToJSON(data)
	case typeCBOR, typeApplyCBOR:
		d.json, err = cborToJSON(data)
	default:
		err = fmt.Errorf("content type %q is not known", mediaType)
	}
	if err != nil {
		return nil, err
	}
	if d.value, err = decodeJSON(d.json); err != nil {
		return nil, err
	}
	return d, nil
}

// decodeJSON reads one JSON value. A key that is there twice is an error: readers differ in which one they take.
func decodeJSON(data []byte) (any, error) {
	var v any
	twice, err := kjson.UnmarshalStrict(data, &v)
	switch {
	case err != nil:
		return nil, fmt.Errorf("decoding JSON: %w", err)
	case len(twice) > 0:
		return nil, fmt.Errorf("decoding JSON: %w", twice[0])
	}
	return v, nil
}

func decodeObject(data []byte) (map[string]any, error) {
	v, err := decodeJSON(data)
	if err != nil {
		return nil, err
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("decoding JSON: not an object")
	}
	return o, nil
}

// yamlToJSON reads one YAML document. JSON is YAML, but is read as JSON, as kubectl sends it.
func yamlToJSON(data []byte) ([]byte, error) {
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(trimmed) {
		return trimmed, nil
	}
	dec := goyaml.NewDecoder(bytes.NewReader(data))
	var first, second any
	if err := dec.Decode(&first); err != nil {
		return nil, fmt.Errorf("decoding YAML: %w", err)
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("decoding YAML: more than one document")
	}
	out, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("decoding YAML: %w", err)
	}
	return out, nil
}

// protobufToJSON reads an object of a built-in kind. That nothing is left unread, such as a field that a newer API
// server knows, is seen by writing it again: the bytes must be the same.
func (h *Handler) protobufToJSON(data []byte) ([]byte, error) {
	s := protobuf.NewSerializer(h.scheme, h.scheme)
	obj, gvk, err := s.Decode(data, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("decoding Protobuf: %w", err)
	}
	obj.GetObjectKind().SetGroupVersionKind(*gvk)
	var again bytes.Buffer
	if err := s.Encode(obj, &again); err != nil {
		return nil, fmt.Errorf("decoding Protobuf: %w", err)
	}
	if !bytes.Equal(again.Bytes(), data) {
		return nil, errors.New("decoding Protobuf: it holds fields that this gateway does not know, or is not in canonical form")
	}
	return marshalObject(obj)
}

func marshalObject(obj runtime.Object) ([]byte, error) {
	out, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", obj, err)
	}
	return out, nil
}

func cborToJSON(data []byte) ([]byte, error) {
	var v any
	if err := direct.Unmarshal(data, &v); err != nil {
		return nil, fmt.Errorf("decoding CBOR: %w", err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("decoding CBOR: %w", err)
	}
	return out, nil
}
