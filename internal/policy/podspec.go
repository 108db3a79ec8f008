package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxNodes bounds how many values of one object the functions look at. An object with more is refused, not skimmed.
const maxNodes = 200_000

// maxNesting bounds how deep an object may be. The API server's own limit is lower.
const maxNesting = 200

var (
	errTooMany = errors.New("the object has too many fields to be looked through")
	errTooDeep = errors.New("the object is nested too deeply to be looked through")
)

// walk calls fn for every map in the object, the object itself first, keys in order. It looks at the whole object
// and not at known paths only, so that a workload of a kind that nobody has heard of, or a patch that holds only the
// changed lines, is seen as well. It errs on the side of finding.
func walk(object map[string]any, fn func(m map[string]any)) error {
	left := maxNodes
	var visit func(v any, depth int) error
	visit = func(v any, depth int) error {
		if left--; left < 0 {
			return errTooMany
		}
		if depth > maxNesting {
			return errTooDeep
		}
		switch v := v.(type) {
		case map[string]any:
			fn(v)
			for _, k := range sortedKeys(v) {
				if err := visit(v[k], depth+1); err != nil {
					return err
				}
			}
		case []any:
			for _, e := range v {
				if err := visit(e, depth+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return visit(object, 0)
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// podSpecs finds maps that have containers of any sort.
func podSpecs(object map[string]any) (any, error) {
	out := []any{}
	err := walk(object, func(m map[string]any) {
		for _, key := range []string{"containers", "initContainers", "ephemeralContainers"} {
			if list, ok := m[key].([]any); ok && containsMap(list) {
				out = append(out, m)
				return
			}
		}
	})
	return out, err
}

func containsMap(list []any) bool {
	return slices.ContainsFunc(list, func(v any) bool { _, ok := v.(map[string]any); return ok })
}

// podPrivileges says what the object's pods could reach beyond themselves: what the Pod Security Standards' baseline
// forbids, and a few ways round it.
func podPrivileges(object map[string]any) ([]string, error) {
	var f findings
	err := walk(object, func(m map[string]any) {
		for _, key := range []string{"hostNetwork", "hostPID", "hostIPC", "privileged", "hostProcess"} {
			if m[key] == true {
				f.add(key)
			}
		}
		f.volumes(m)
		f.security(m)
	})
	return f.sorted(), err
}

// findings collects words, each once.
type findings []string

func (f *findings) add(s string) {
	if !slices.Contains(*f, s) {
		*f = append(*f, s)
	}
}

func (f *findings) addf(format string, args ...any) { f.add(fmt.Sprintf(format, args...)) }

func (f *findings) sorted() []string {
	slices.Sort(*f)
	return append([]string{}, *f...)
}

func (f *findings) volumes(m map[string]any) {
	if v, ok := m["hostPath"].(map[string]any); ok {
		f.addf("hostPath %v", v["path"])
	}
	if v, ok := m["local"].(map[string]any); ok && v["path"] != nil { // a local PersistentVolume
		f.addf("local volume %v", v["path"])
	}
	if nonZero(m["hostPort"]) {
		f.addf("hostPort %v", m["hostPort"])
	}
}

func (f *findings) security(m map[string]any) {
	if caps, ok := m["capabilities"].(map[string]any); ok {
		if added, ok := caps["add"].([]any); ok {
			for _, c := range added {
				f.addf("capability %v", c)
			}
		}
	}
	if p, ok := m["procMount"].(string); ok && p != "" && p != "Default" {
		f.addf("procMount %s", p)
	}
	for key, name := range map[string]string{"seccompProfile": "seccomp", "appArmorProfile": "AppArmor"} {
		if p, ok := m[key].(map[string]any); ok && p["type"] == "Unconfined" {
			f.addf("%s Unconfined", name)
		}
	}
	if list, ok := m["sysctls"].([]any); ok {
		for _, v := range list {
			if s, ok := v.(map[string]any); ok {
				f.addf("sysctl %v", s["name"])
			}
		}
	}
	for k, v := range m {
		if strings.HasPrefix(k, "container.apparmor.security.beta.kubernetes.io/") && v == "unconfined" {
			f.add("AppArmor Unconfined")
		}
	}
}

func nonZero(v any) bool {
	switch v := v.(type) {
	case int64:
		return v != 0
	case float64:
		return v != 0
	case int:
		return v != 0
	case fmt.Stringer: // json.Number
		return v.String() != "0"
	}
	return false
}

// podSecrets finds references to Secrets in volumes and environment variables.
func podSecrets(object map[string]any) ([]string, error) {
	var f findings
	err := walk(object, func(m map[string]any) {
		for k, v := range m {
			ref, ok := v.(map[string]any)
			if !ok {
				continue
			}
			switch {
			case k == "secret", k == "azureFile": // a volume, or a source of a projected one
				f.name(ref, "secretName", "name")
			case strings.HasSuffix(strings.ToLower(k), "secretref"), strings.HasSuffix(strings.ToLower(k), "secretkeyref"):
				f.name(ref, "name", "secretName")
			}
		}
	})
	return f.sorted(), err
}

// name adds the first of keys that ref has. A reference without a readable name counts as one to "?".
func (f *findings) name(ref map[string]any, keys ...string) {
	for _, k := range keys {
		if s, ok := ref[k].(string); ok && s != "" {
			f.add(s)
			return
		}
	}
	f.add("?")
}

// podServiceAccounts finds the service accounts that the object's pods would run as.
func podServiceAccounts(object map[string]any) ([]string, error) {
	var f findings
	err := walk(object, func(m map[string]any) {
		for _, key := range []string{"serviceAccountName", "serviceAccount"} {
			if s, ok := m[key].(string); ok && s != "" {
				f.add(s)
			}
		}
	})
	return f.sorted(), err
}
