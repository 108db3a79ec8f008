package kubernetes

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// What a request holds where secrets are is masked in its record, but is not known to be secret until the API server has
// stored it: a request that is refused, or a dry run, must not be able to have any word it likes masked for everybody.

// learnAccepted makes the secrets of a request known once the API server has taken them. Of a request that stores
// nothing, the answer is masked without learning from it, but for a deletion: its answer is what is stored.
func (x *exchange) learnAccepted(status int) error {
	if x.k.DryRun && x.k.Verb != "delete" && x.k.Verb != "deletecollection" {
		x.scope = x.scope.Quiet()
	}
	if status >= 300 || x.k.DryRun || x.doc == nil || x.shape == nil {
		return nil
	}
	_, err := x.maskValues(x.scope)
	return err
}

// minRepeated is the length, in bytes, from which on a secret is looked for in the rest of its request.
const minRepeated = 8

const repeated = "(masked)"

// hideRepeated hides in the rest of a masked request what its secret places hold: an annotation may repeat it, and the
// record must not hold it in clear.
func (x *exchange) hideRepeated(masked []byte) ([]byte, error) {
	if x.shape == nil {
		return masked, nil
	}
	v, err := decodeJSON(masked)
	if err != nil {
		return nil, err
	}
	v, changed := x.withoutRepeated(x.doc.value, v)
	if !changed {
		return masked, nil
	}
	return json.Marshal(v)
}

// withoutRepeated hides in masked, which it changes, whatever the secret places of the request or of original hold.
// masked is original with what is secret by structure, or known, masked.
func (x *exchange) withoutRepeated(original, masked any) (any, bool) {
	values := map[string]bool{}
	add := func(s string) {
		for _, f := range forms(s) {
			if len(f) >= minRepeated {
				values[f] = true
			}
		}
	}
	if x.k.Resource == "secrets" {
		for _, name := range misplaced(x.doc.object()) {
			for _, s := range stringsIn(nil, x.doc.object()[name]) {
				add(s)
			}
		}
	}
	eachHidden(original, masked, add)
	if len(values) == 0 {
		return masked, false
	}
	var pairs []string
	for _, s := range slices.SortedFunc(maps.Keys(values), func(a, b string) int { return len(b) - len(a) }) {
		pairs = append(pairs, s, repeated)
	}
	changed := false
	return replaceStrings(masked, strings.NewReplacer(pairs...), &changed), changed
}

// eachHidden gives the strings of original in whose place masked has a placeholder.
func eachHidden(original, masked any, fn func(string)) {
	switch m := masked.(type) {
	case map[string]any:
		if o, ok := original.(map[string]any); ok {
			for k := range m {
				eachHidden(o[k], m[k], fn)
			}
		}
	case []any:
		if o, ok := original.([]any); ok && len(o) == len(m) {
			for i := range m {
				eachHidden(o[i], m[i], fn)
			}
		}
	case string:
		plain, err := base64.StdEncoding.DecodeString(m)
		if o, ok := original.(string); ok && o != m && (wholePlaceholder.MatchString(m) || err == nil && wholePlaceholder.Match(plain)) {
			fn(o)
		}
	}
}

// forms are s, what it is the base64 of, and what is the base64 of it.
func forms(s string) []string {
	out := []string{s, base64.StdEncoding.EncodeToString([]byte(s))}
	if plain, err := base64.StdEncoding.DecodeString(s); err == nil {
		out = append(out, string(plain))
	}
	return out
}

func replaceStrings(v any, r *strings.Replacer, changed *bool) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = replaceStrings(e, r, changed)
		}
	case []any:
		for i, e := range v {
			v[i] = replaceStrings(e, r, changed)
		}
	case string:
		s := r.Replace(v)
		*changed = *changed || s != v
		return s
	}
	return v
}
