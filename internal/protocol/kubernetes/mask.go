package kubernetes

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/mask"
)

// lastApplied is where kubectl apply keeps a copy of the object as it was applied.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// secretRules are what is secret by structure in the objects of a resource.
func secretRules(k *reading) []mask.Rule {
	switch {
	case !k.isResource || k.isProxy:
		return nil
	case k.Resource == "secrets": // in any group: an aggregated API that serves "secrets" serves secrets
		return withLastApplied(
			append(publicRules(),
				mask.Rule{Path: "data", Encoding: mask.Base64},
				mask.Rule{Path: "stringData", Encoding: mask.Text})...)
	case k.Resource == "configmaps":
		// Helm's older driver keeps a release, values and all, compressed in a ConfigMap.
		return withLastApplied(mask.Rule{Path: "data.release", Encoding: mask.Text, Public: true})
	case k.Resource == "serviceaccounts" && k.Subresource == "token":
		return []mask.Rule{{Path: "status.token", Encoding: mask.Text}}
	case k.Resource == "tokenreviews":
		return []mask.Rule{{Path: "spec.token", Encoding: mask.Text, Public: true}}
	}
	return nil
}

// publicKeys are those of the built-in types of Secret that name what is public elsewhere: to know their values would be to
// hide a namespace's name, a CA or a user's name from everybody.
var publicKeys = []string{"namespace", "ca.crt", "tls.crt", "username"}

func publicRules() []mask.Rule {
	var out []mask.Rule
	for _, k := range publicKeys {
		out = append(out, mask.Rule{Path: "data." + mask.Key(k), Encoding: mask.Base64, Public: true},
			mask.Rule{Path: "stringData." + mask.Key(k), Encoding: mask.Text, Public: true})
	}
	return out
}

// shapes are secretRules, compiled once for each resource that has any; and, without a resource's name, where in objects of
// any kind a copy of the object stands.
type shapes map[string]*mask.Shape

func compileShapes() (shapes, error) {
	s := shapes{}
	for _, k := range []*reading{
		{isResource: true, Kubernetes: access.Kubernetes{Resource: "secrets"}},
		{isResource: true, Kubernetes: access.Kubernetes{Resource: "configmaps"}},
		{isResource: true, Kubernetes: access.Kubernetes{Resource: "serviceaccounts", Subresource: "token"}},
		{isResource: true, Kubernetes: access.Kubernetes{Resource: "tokenreviews"}},
	} {
		shape, err := mask.Compile(anywhere(secretRules(k)))
		if err != nil {
			return nil, fmt.Errorf("compiling the shapes of the Kubernetes API: %w", err)
		}
		s[k.Resource] = shape
	}
	applied, err := mask.Compile(withLastApplied())
	if err != nil {
		return nil, fmt.Errorf("compiling the shape of what kubectl apply keeps: %w", err)
	}
	s[""] = applied
	return s, nil
}

func withLastApplied(rules ...mask.Rule) []mask.Rule {
	return append(rules, mask.Rule{Path: "metadata.annotations." + mask.Key(lastApplied), Encoding: mask.JSON, Nested: slices.Clone(rules)})
}

// anywhere puts rules for one object at each place where an answer of the API server may hold objects: alone, in a
// list, in an event of a watch, in the rows of a table, and in a table in an event.
func anywhere(rules []mask.Rule) []mask.Rule {
	out := slices.Clone(rules)
	for _, root := range []string{"items.*", "object", "rows.*.object", "object.rows.*.object", "object.items.*"} {
		out = append(out, mask.Under(root, rules)...)
	}
	return out
}

// object is the shape of a resource's objects; nil where none of it is secret by structure.
func (s shapes) object(k *reading) *mask.Shape {
	if secretRules(k) == nil {
		return nil
	}
	return s[k.Resource]
}

// masking is what a decision says is to be hidden in an answer.
type masking struct {
	shape *mask.Shape
	known bool
	// custom says that the policy names places of its own.
	custom bool
}

func (m masking) none() bool { return m.shape == nil && !m.known }

// maskingOf reads the masks of a decision for this request.
func (x *exchange) maskingOf(masks []access.Mask) (masking, error) {
	m := masking{known: access.HidesKnown(masks)}
	var err error
	if x.scope, err = x.scope.Detecting(access.Detectors(masks)); err != nil {
		return m, err
	}
	var custom []mask.Rule
	structure := false
	for _, k := range masks {
		switch {
		case k.Name == access.MaskSecrets:
			structure = true
		}
		for _, p := range k.Paths {
			custom = append(custom, mask.Rule{Path: p, Encoding: mask.Text})
		}
	}
	if structure {
		m.shape = x.shape
	}
	if len(custom) == 0 {
		return m, nil
	}
	m.custom = true
	if structure {
		custom = append(secretRules(x.k), custom...)
	}
	if m.shape, err = mask.Compile(anywhere(custom)); err != nil {
		return m, fmt.Errorf("compiling the masks of the policy: %w", err)
	}
	return m, nil
}

// maskBytes masks a JSON document for the record, for policy and for people: always by structure, by known values, those
// included that the document itself makes known, and by what detectors the scope has.
func maskBytes(scope *mask.Scope, data []byte, shape *mask.Shape) ([]byte, error) {
	var out bytes.Buffer
	w := scope.Objects(&out, shape)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (x *exchange) maskedObject(scope *mask.Scope, data []byte) (map[string]any, error) {
	masked, err := maskBytes(scope, data, x.shape)
	if err != nil {
		return nil, fmt.Errorf("masking what is stored: %w", err)
	}
	return decodeObject(masked)
}

// maskDocument masks the request's body. The placeholders in it stay as they are, so that people see what was left
// unchanged.
func (x *exchange) maskDocument() ([]byte, error) {
	masked, err := x.maskValues(x.scope.Claimed())
	if err == nil {
		masked, err = x.hideRepeated(masked)
	}
	if err != nil || !x.placeholders {
		return masked, err
	}
	hidden, err := decodeJSON(masked)
	if err != nil {
		return nil, err
	}
	return json.Marshal(keepPlaceholders(x.doc.value, hidden))
}

func (x *exchange) maskValues(scope *mask.Scope) ([]byte, error) {
	if x.doc.mediaType != typeJSONPatch {
		return maskBytes(scope, x.doc.json, x.shape)
	}
	// Of a JSON patch each value is masked as it would be in its place, then all of it by known values.
	out, err := eachPatchValue(x.doc.json, func(wrapped []byte) ([]byte, error) { return maskBytes(scope, wrapped, x.shape) })
	if err != nil {
		return nil, err
	}
	return maskBytes(scope, out, nil)
}

// restore puts the stored values in the place of the placeholders that the client was given and has sent back. It
// gives the body as JSON.
func (x *exchange) restore(stored []byte) ([]byte, error) {
	if !x.placeholders {
		return x.doc.json, nil
	}
	shape := x.shape
	if shape == nil {
		shape = x.h.shapes[""] // kubectl apply puts a copy of the object, with its placeholders, into an annotation
	}
	out, _, err := x.scope.Restore(x.doc.json, shape, stored)
	return out, err
}

// keepPlaceholders gives masked with the strings that are a placeholder, and nothing else, in original.
func keepPlaceholders(original, masked any) any {
	switch m := masked.(type) {
	case map[string]any:
		if o, ok := original.(map[string]any); ok {
			for k := range m {
				m[k] = keepPlaceholders(o[k], m[k])
			}
		}
	case []any:
		if o, ok := original.([]any); ok && len(o) == len(m) {
			for i := range m {
				m[i] = keepPlaceholders(o[i], m[i])
			}
		}
	case string:
		if o, ok := original.(string); ok {
			return keepPlaceholder(o, m)
		}
	}
	return masked
}

func keepPlaceholder(original, masked string) string {
	plain, err := base64.StdEncoding.DecodeString(original)
	if wholePlaceholder.MatchString(original) || err == nil && wholePlaceholder.Match(plain) {
		return original
	}
	o, err1 := decodeObject([]byte(original)) // as in last-applied-configuration
	m, err2 := decodeObject([]byte(masked))
	if err1 != nil || err2 != nil {
		return masked
	}
	out, err := json.Marshal(keepPlaceholders(o, m))
	if err != nil {
		return masked
	}
	return string(out)
}

// wholePlaceholder is the text that package mask puts in a value's place.
var wholePlaceholder = regexp.MustCompile(`^` + mask.Prefix + `[a-z2-7]{26}$`)

// eachPatchValue rewrites each value of a JSON patch (RFC 6902): fn gets it wrapped into objects as its pointer says,
// so that it stands where it would in the patched object.
func eachPatchValue(patch []byte, fn func(wrapped []byte) ([]byte, error)) ([]byte, error) {
	v, err := decodeJSON(patch)
	if err != nil {
		return nil, err
	}
	ops, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("decoding a JSON patch: not an array")
	}
	for i := range ops {
		op, ok := ops[i].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("decoding a JSON patch: operation %d is not an object", i)
		}
		value, ok := op["value"]
		if !ok {
			continue
		}
		path, _ := op["path"].(string)
		if op["value"], err = rewriteAt(path, value, fn); err != nil {
			return nil, fmt.Errorf("operation %d of the JSON patch, at %s: %w", i, path, err)
		}
	}
	return json.Marshal(ops)
}

// rewriteAt wraps value into objects along pointer, applies fn, and takes it out again.
func rewriteAt(pointer string, value any, fn func([]byte) ([]byte, error)) (any, error) {
	var tokens []string
	if pointer != "" {
		tokens = strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	}
	for i, t := range tokens { // RFC 6901, section 4
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
	}
	for _, t := range slices.Backward(tokens) {
		value = map[string]any{t: value}
	}
	wrapped, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	if wrapped, err = fn(wrapped); err != nil {
		return nil, err
	}
	if value, err = decodeJSON(wrapped); err != nil {
		return nil, err
	}
	for _, t := range tokens {
		o, _ := value.(map[string]any)
		value = o[t]
	}
	return value, nil
}
