package kubernetes

import (
	"encoding/json"
	"slices"

	"gatebook/internal/access"
)

// secretFields are those of a Secret that hold no secret, or that its shape masks.
var secretFields = []string{"apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData"}

// misplaced names the fields of what should be a Secret that it has beside those of one: a misspelt field.
func misplaced(object map[string]any) []string {
	var out []string
	for name := range object {
		if !slices.Contains(secretFields, name) {
			out = append(out, name)
		}
	}
	return out
}

// stringsIn appends the strings in v.
func stringsIn(out []string, v any) []string {
	switch v := v.(type) {
	case string:
		out = append(out, v)
	case map[string]any:
		for _, e := range v {
			out = stringsIn(out, e)
		}
	case []any:
		for _, e := range v {
			out = stringsIn(out, e)
		}
	}
	return out
}

// hideMisplaced hides what a request holds beside the places where a Secret has its values. The record must not hold it
// in clear because the agent was careless.
func (x *exchange) hideMisplaced(masked []byte) ([]byte, error) {
	if x.k.Resource != "secrets" || len(misplaced(x.doc.object())) == 0 {
		return masked, nil
	}
	o, err := decodeObject(masked)
	if err != nil {
		return nil, err
	}
	for _, name := range misplaced(o) {
		o[name] = "(masked)"
	}
	return json.Marshal(o)
}

// checkUndecoded refuses a body that should hold a secret and cannot be read with certainty: it could not be kept out of
// the record. The message does not say what is wrong in words of the body's own.
func (x *exchange) checkUndecoded() *access.Refusal {
	if x.shape == nil || x.k.Resource == "configmaps" || !slices.Contains([]string{"create", "update", "patch"}, x.k.Verb) {
		return nil
	}
	why := malformed("the body cannot be read with certainty, so that the secrets in it could not be kept out of the record")
	why.Advice = "Send one object, in JSON, YAML, Protobuf or CBOR, with its right Content-Type, and no key twice."
	return why
}
