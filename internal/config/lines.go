package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// named is what a key says beside its index: the name of the issuer or target.
var named = regexp.MustCompile(` \([^)]*\)`)

// withLines joins the problems, each with the line of its key, or of what the key is missing in.
func (p problems) withLines(file []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(file, &doc); err != nil || len(doc.Content) == 0 {
		return errors.Join(p...)
	}
	out := make([]error, len(p))
	for i, problem := range p {
		key, _, _ := strings.Cut(problem.Error(), ": ")
		out[i] = problem
		if n := line(doc.Content[0], named.ReplaceAllString(key, "")); n > 0 {
			out[i] = fmt.Errorf("line %d: %w", n, problem)
		}
	}
	return errors.Join(out...)
}

// line gives the line of a key such as issuers[0].url, or of the nearest above it that is there; 0 where none is.
func line(n *yaml.Node, key string) int {
	last := 0
	for step := range strings.SplitSeq(strings.ReplaceAll(key, "[", ".["), ".") {
		at := 0
		if n, at = child(n, step); n == nil {
			break
		}
		last = at
	}
	return last
}

// child gives what a key of a mapping, or an index such as [0] of a sequence, holds, and its line.
func child(n *yaml.Node, step string) (*yaml.Node, int) {
	index, isIndex := strings.CutPrefix(strings.TrimSuffix(step, "]"), "[")
	switch {
	case isIndex && n.Kind == yaml.SequenceNode:
		if i, err := strconv.Atoi(index); err == nil && i < len(n.Content) {
			return n.Content[i], n.Content[i].Line
		}
	case !isIndex && n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				return n.Content[i+1], n.Content[i].Line
			}
		}
	}
	return nil, 0
}
