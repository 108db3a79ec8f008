package kubernetes

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/applyconfigurations"

	"gatebook/internal/access"
)

// deployment is one as it is stored: of its containers, a is owned by who applied it as "agent", b by "operator".
func deployment(containers, version string) string {
	own := func(manager, name string) string {
		return fmt.Sprintf(`{"manager":%q,"operation":"Apply","apiVersion":%q,"fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"%s\"}":{".":{},"f:name":{},"f:image":{}}}}}}}}`, manager, version, name)
	}
	return `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","managedFields":[` + own("agent", "a") + `,` + own("operator", "b") + `]},` +
		`"spec":{"template":{"spec":{"containers":[` + containers + `]}}}}`
}

// What an apply makes of what is stored: containers are told apart by name, what the manager named before and does not
// name now goes, and what another owns stays.
func TestApplied(t *testing.T) {
	h := &Handler{types: applyconfigurations.NewTypeConverter(testScheme(t))}
	const a, b, risky = `{"name":"a","image":"x"}`, `{"name":"b","image":"y"}`, `{"name":"b","image":"y","securityContext":{"privileged":true}}`
	spec := func(containers string) string {
		return `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"template":{"spec":{"containers":[` + containers + `]}}}}`
	}
	for name, c := range map[string]struct {
		manager, config, stored string
		want                    []string // the containers; nil: it cannot be told
	}{
		"changes its own":                  {"agent", spec(`{"name":"a","image":"z"}`), deployment(a+","+b, "apps/v1"), []string{"a z false", "b y false"}},
		"lets go of its own":               {"agent", spec(``), deployment(a+","+b, "apps/v1"), []string{"b y false"}},
		"keeps what another owns":          {"agent", spec(a), deployment(a+","+risky, "apps/v1"), []string{"a x false", "b y true"}},
		"takes what another owns":          {"agent", spec(risky), deployment(a+","+b, "apps/v1"), []string{"b y true"}},
		"adds one":                         {"agent", spec(a + `,{"name":"c","image":"x","securityContext":{"privileged":true}}`), deployment(a+","+b, "apps/v1"), []string{"a x false", "b y false", "c x true"}},
		"nobody owned anything":            {"agent", spec(`{"name":"c"}`), spec(a), []string{"a x false", "c  false"}},
		"no manager":                       {"", spec(a), deployment(a, "apps/v1"), nil},
		"owned in another version":         {"agent", spec(a), deployment(a+","+b, "apps/v1beta1"), nil},
		"a field that is not known":        {"agent", spec(`{"name":"a","new":1}`), deployment(a, "apps/v1"), nil},
		"a stored field that is not known": {"agent", spec(a), deployment(`{"name":"a","new":1}`, "apps/v1"), nil},
		"another kind":                     {"agent", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"d"}}`, deployment(a, "apps/v1"), nil},
		"one container twice":              {"agent", spec(a + "," + a), deployment(a, "apps/v1"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := h.patched(&access.Kubernetes{PatchType: "apply", FieldManager: c.manager}, []byte(c.config), []byte(c.stored))
			if c.want == nil {
				if err == nil {
					t.Errorf("became %s", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, containersOf(t, got)); diff != "" {
				t.Errorf("(-want +got):\n%s\n%s", diff, got)
			}
		})
	}
	if got, err := h.patched(&access.Kubernetes{PatchType: "apply", FieldManager: "agent", Subresource: "status"}, []byte(spec(a)), []byte(deployment(a, "apps/v1"))); err == nil {
		t.Errorf("an apply to a status became %s", got)
	}
}

// containersOf gives name, image and privileged of each container.
func containersOf(t *testing.T, deployment []byte) []string {
	t.Helper()
	o, err := decodeObject(deployment)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	at := any(o)
	for _, k := range []string{"spec", "template", "spec", "containers"} {
		m, _ := at.(map[string]any)
		at = m[k]
	}
	list, _ := at.([]any)
	for _, e := range list {
		c, _ := e.(map[string]any)
		image, _ := c["image"].(string)
		security, _ := c["securityContext"].(map[string]any)
		privileged, _ := security["privileged"].(bool)
		out = append(out, fmt.Sprintf("%s %s %v", c["name"], image, privileged))
	}
	slices.Sort(out)
	return out
}
