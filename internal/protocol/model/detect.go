package model

import (
	"slices"

	"github.com/go-json-experiment/json"

	"gatebook/internal/mask/detect"
)

// knownValue is the finding of a value that the gateway knows to be secret.
const knownValue = "known-value"

// find gives the credentials in b, and the names of the detectors that found them, sorted.
func (h *Handler) find(b []byte) (names []string, values [][]byte) {
	for _, f := range h.detectors.Find(b) {
		names, values = append(names, f.Rule.ID), append(values, b[f.Start:f.End])
	}
	slices.Sort(names)
	return slices.Compact(names), values
}

// newDetectors makes the detectors of what is of a form that stands for nothing else: what they find is on record as a
// finding, and a rule that finds what is not there would be switched off.
func newDetectors() (*detect.Set, error) { return detect.Select([]string{detect.Credentials}) }

// unescaped gives a value as it is written, and as it is behind one and two layers of JSON's escapes.
func unescaped(v []byte) [][]byte {
	out := [][]byte{v}
	for range 2 {
		var s string
		if json.Unmarshal(slices.Concat([]byte(`"`), v, []byte(`"`)), &s) != nil || s == string(v) {
			break
		}
		v = []byte(s)
		out = append(out, v)
	}
	return out
}
