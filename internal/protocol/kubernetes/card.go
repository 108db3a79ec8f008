package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	"sigs.k8s.io/yaml"

	"gatebook/internal/access"
)

// maxDiffLines bounds a diff's sides: beyond it comparing them takes too long.
const maxDiffLines = 20_000

// card makes what an approver sees: the decoded request, and what it would change of what is stored. All of it is
// masked. What cannot be shown is named.
func (x *exchange) card(ctx context.Context) (access.Card, error) {
	if late := x.op.Late(); len(late) > 0 && x.shows() {
		if err := x.complete(ctx, late); err != nil {
			return access.Card{}, err
		}
	}
	c := access.Card{Uninspectable: slices.Clone(x.op.Uninspectable)}
	if x.masked != nil {
		v, err := decodeJSON(x.masked)
		if err != nil {
			return access.Card{}, fmt.Errorf("showing the request: %w", err)
		}
		if c.Object, err = asYAML(v); err != nil {
			return access.Card{}, fmt.Errorf("showing the request: %w", err)
		}
	}
	if why := x.diff(&c); why != "" {
		c.Uninspectable = append(c.Uninspectable, access.Uninspectable{Field: "diff", Why: why})
	}
	return c, nil
}

// shows reports whether what is stored is part of the question.
func (x *exchange) shows() bool {
	return slices.Contains([]string{"update", "patch", "delete"}, x.k.Verb) && !x.k.isProxy
}

// diff compares what is stored with what would be.
func (x *exchange) diff(c *access.Card) (why string) {
	if !x.shows() || len(x.op.Kubernetes.Stored) == 0 {
		return ""
	}
	after := x.op.Kubernetes.Object
	if x.k.Verb == "delete" {
		after = nil
	} else if slices.ContainsFunc(x.op.Uninspectable, func(u access.Uninspectable) bool { return u.Field == access.FieldKubernetesObject }) {
		return "what would be stored is not known"
	}
	before, err := diffLines(x.op.Kubernetes.Stored)
	if err != nil {
		return err.Error()
	}
	wanted, err := diffLines(after)
	if err != nil {
		return err.Error()
	}
	if len(before) > maxDiffLines || len(wanted) > maxDiffLines {
		return fmt.Sprintf("the objects have %d and %d lines; more than %d are not compared", len(before), len(wanted), maxDiffLines)
	}
	c.Diff, err = difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: before, B: wanted, FromFile: "stored", ToFile: "after", Context: 3})
	if err != nil {
		return err.Error()
	}
	return ""
}

// diffLines writes an object as lines, without the API server's book-keeping of who set which field.
func diffLines(o map[string]any) ([]string, error) {
	if o == nil {
		return nil, nil
	}
	if meta, ok := o["metadata"].(map[string]any); ok {
		o, meta = maps.Clone(o), maps.Clone(meta)
		delete(meta, "managedFields")
		o["metadata"] = meta
	}
	s, err := asYAML(o)
	if err != nil {
		return nil, err
	}
	return slices.Collect(strings.Lines(s)), nil
}

func asYAML(v any) (string, error) {
	out, err := yaml.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("writing YAML: %w", err)
	}
	return string(out), nil
}
