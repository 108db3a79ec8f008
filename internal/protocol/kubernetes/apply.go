package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
)

// applied gives what a server-side apply by a field manager makes of the stored object, of a built-in kind, with the
// library by which the API server does it: what of the object the manager owned and no longer names goes, and what
// others own stays. Conflicts are taken to be forced: where they are not, the API server refuses, and nothing changes.
// What the library's schema does not know, such as a field of a newer API server, is an error.
func (h *Handler) applied(manager string, config, stored []byte) ([]byte, error) {
	if manager == "" {
		return nil, errors.New("an apply names its fieldManager")
	}
	live, err := decodeObject(stored)
	if err != nil {
		return nil, err
	}
	wanted, err := decodeObject(config)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{Object: live}
	kind := object.GroupVersionKind()
	m, err := managedfields.NewDefaultFieldManager(h.types, sameVersion{}, noDefaults{}, blank{}, kind, kind.GroupVersion(), "", nil)
	if err != nil {
		return nil, err
	}
	out, err := m.Apply(object, &unstructured.Unstructured{Object: wanted}, manager, true)
	if err != nil {
		return nil, err
	}
	result, ok := out.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("the result is a %T", out)
	}
	return json.Marshal(result.Object)
}

// sameVersion knows one version of each kind. An object of which some manager owns fields in another version is an error.
type sameVersion struct{}

var errOtherVersion = errors.New("its fields are owned in another version of the API")

func (sameVersion) Convert(_, _, _ any) error { return errOtherVersion }

func (sameVersion) ConvertToVersion(in runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	have := in.GetObjectKind().GroupVersionKind()
	if want, ok := to.KindForGroupVersionKinds([]schema.GroupVersionKind{have}); !ok || want != have {
		return nil, errOtherVersion
	}
	return in, nil
}

func (sameVersion) ConvertFieldLabel(schema.GroupVersionKind, string, string) (string, string, error) {
	return "", "", errOtherVersion
}

// noDefaults leaves defaults to the API server, as for every other patch.
type noDefaults struct{}

func (noDefaults) Default(runtime.Object) {}

// blank makes objects with nothing in them, to which an object without managed fields is compared.
type blank struct{}

func (blank) New(kind schema.GroupVersionKind) (runtime.Object, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	return u, nil
}
