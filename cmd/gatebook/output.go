package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

// output is how a verb says what it found: for people, or as JSON for programs.
type output struct{ json bool }

func (o *output) flag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.json, "json", false, "print as JSON")
}

// print writes v as JSON where that was asked for, and else what people writes.
func (o *output) print(w io.Writer, v any, people func(w io.Writer) error) error {
	if !o.json {
		return people(w)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
