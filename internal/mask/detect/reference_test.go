package detect

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/reference/detectors.md anew")

const reference = "../../../docs/reference/detectors.md"

// The page that lists the rules is made of them.
func TestReference(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(`# Detectors

A policy's mask names detectors, or groups of them (` + "`detectors: [credentials, email]`" + `); see [policy.md](policy.md) and
[docs/design/detect.md](../design/detect.md).

Made of the rules in ` + "`internal/mask/detect`" + `; do not edit.
`)
	about := map[string]string{
		Credentials: "Of a form that stands for nothing else. The built-in mask `credentials`, which every policy applies that does not say otherwise.",
		Assigned:    "A value beside the name of whom it is for, as in `adafruit_io_key = …`.",
		Generic:     "A value beside any name that sounds secret. It finds much that is none.",
		Personal:    "Data of persons.",
	}
	for _, g := range Groups() {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", g, about[g])
		for _, r := range Rules() {
			if r.Group != g {
				continue
			}
			line := "- `" + r.ID + "`"
			switch {
			case r.About != "":
				line += ": " + r.About
			case r.upstream:
				line += " (gitleaks)"
			}
			if len(r.Replaces) > 0 {
				line += "; in the group instead of " + strings.Join(r.Replaces, ", ")
			}
			b.WriteString(line + "\n")
		}
	}
	if *update {
		if err := os.WriteFile(reference, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(reference)
	if err != nil || !bytes.Equal(have, b.Bytes()) {
		t.Errorf("%s is not what the rules say (%v): go test ./internal/mask/detect -update", reference, err)
	}
}
