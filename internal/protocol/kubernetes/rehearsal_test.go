package kubernetes

import (
	"bytes"
	"strings"
	"testing"

	"gatebook/internal/mask"
)

// What a Secret's data makes known is hidden in what came before it, at every split, and an event leaves when it is whole.
func TestRehearsal(t *testing.T) {
	shapes, err := compileShapes()
	if err != nil {
		t.Fatal(err)
	}
	event := `{"type":"ADDED","object":{"metadata":{"annotations":{"a":"it is correct-horse-battery"}},"data":{"p":"Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5"}}}` + "\n"
	for split := 1; split < len(event); split++ {
		engine, err := mask.New(mask.Options{Key: bytes.Repeat([]byte{7}, 32)})
		if err != nil {
			t.Fatal(err)
		}
		x := &exchange{k: &reading{}, scope: engine.Scope("s")}
		x.k.Resource, x.k.Verb = "secrets", "watch"
		var out bytes.Buffer
		f := x.jsonFilter(&out, masking{shape: shapes["secrets"], known: true})
		for _, part := range []string{event[:split], event[split:]} {
			if out.Len() > 0 && split < len(event)-1 { // only the end of the line is missing
				t.Errorf("%q left before the event was whole", out.String())
			}
			if _, err := f.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
			if err := f.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if s := out.String(); strings.Contains(s, "horse") || !strings.HasSuffix(s, "}}}\n") {
			t.Errorf("split at %d: %s", split, s)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
