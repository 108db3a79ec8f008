package mask

import (
	"net/url"
	"strings"
	"testing"
)

// A form writes spaces as plus signs, and a plus sign as what it is percent-encoded.
func TestFormEncodedValues(t *testing.T) {
	e, err := New(Options{Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	const value = "pass phrase + of/four words"
	e.Learn([]byte(value))
	for _, written := range []string{url.QueryEscape(value), "a=" + url.Values{"p": {value}}.Encode() + "&b=c", strings.ReplaceAll(value, " ", "+")} {
		var out strings.Builder
		w := e.Scope("s").Text(&out)
		if _, err := w.Write([]byte("before " + written + " after")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "phrase") || !strings.Contains(out.String(), Prefix) {
			t.Errorf("%s became %s", written, out.String())
		}
	}
}
