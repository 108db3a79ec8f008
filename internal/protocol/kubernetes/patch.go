package kubernetes

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"gatebook/internal/access"
)

// Bounds of a JSON patch that is computed here. The API server allows as many operations; each copy can double the
// object, so that more than a few are left uninspectable.
const (
	maxPatchOperations = 10000
	maxPatchCopies     = 4
)

// patched gives what a patch would make of the stored object, with the libraries that the API server itself uses;
// defaults and admission come after it there. stored is nil where there is nothing.
func (h *Handler) patched(k *access.Kubernetes, patch, stored []byte) ([]byte, error) {
	if stored == nil {
		if k.PatchType == "apply" {
			return patch, nil
		}
		return nil, errors.New("there is nothing stored to patch")
	}
	var out []byte
	var err error
	switch k.PatchType {
	case "json":
		out, err = applyJSONPatch(patch, stored)
	case "merge":
		out, err = jsonpatch.MergePatch(stored, patch)
	case "strategic":
		out, err = h.applyStrategic(patch, stored)
	case "apply":
		if k.Subresource != "" {
			return nil, errors.New("what an apply makes of a part of an object depends on which fields the part may touch")
		}
		out, err = h.applied(k.FieldManager, patch, stored)
	default:
		return nil, fmt.Errorf("patch type %q is not known", k.PatchType)
	}
	if err != nil {
		return nil, fmt.Errorf("computing what the patch makes of the stored object: %w", err)
	}
	return out, nil
}

func applyJSONPatch(patch, stored []byte) ([]byte, error) {
	p, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, err
	}
	copies := 0
	for _, op := range p {
		if op.Kind() == "copy" {
			copies++
		}
	}
	if len(p) > maxPatchOperations || copies > maxPatchCopies {
		return nil, fmt.Errorf("it has %d operations, %d of them copies", len(p), copies)
	}
	return p.Apply(stored)
}

func (h *Handler) applyStrategic(patch, stored []byte) ([]byte, error) {
	o, err := decodeObject(stored)
	if err != nil {
		return nil, err
	}
	apiVersion, _ := o["apiVersion"].(string)
	kind, _ := o["kind"].(string)
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, err
	}
	typed, err := h.scheme.New(gv.WithKind(kind))
	if err != nil {
		return nil, err
	}
	return strategicpatch.StrategicMergePatch(stored, patch, typed)
}
