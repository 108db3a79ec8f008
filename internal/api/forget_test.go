package api

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// A value is forgotten on record or not at all, and the record does not have it.
func TestForget(t *testing.T) {
	w := open(t)
	got, err := w.client("admin").Forget(t.Context(), " kept-in-the-dark\n", "it is a namespace")
	if err != nil || got.Patterns != 3 || got.By != people["admin"].Key() || got.Digest != "digest of 16" || got.Time.IsZero() {
		t.Errorf("%+v %v", got, err)
	}
	if notes := w.take(); len(notes) != 1 || !strings.Contains(notes[0], "mask.forgotten") || !strings.Contains(notes[0], "digest of 16") || strings.Contains(notes[0], "dark") {
		t.Errorf("noted as %q", notes)
	}
	for _, in := range [][2]string{{" ", "x"}, {"kept-in-the-dark", " "}} {
		if _, err := w.client("admin").Forget(t.Context(), in[0], in[1]); err == nil {
			t.Errorf("%q: no error", in)
		}
	}
	w.deaf = errors.New("the disk is full")
	if _, err := w.client("admin").Forget(t.Context(), "another one", "x"); err == nil || !slices.Equal(w.forgotten, []string{"kept-in-the-dark"}) {
		t.Errorf("%v; forgotten %q", err, w.forgotten)
	}
}
