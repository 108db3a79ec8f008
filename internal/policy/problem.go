package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a policy file: where, what, and what to do about it.
type Problem struct {
	File string
	// Line and Column count from 1. They are 0 where the file as a whole is meant.
	Line, Column int
	Message      string
}

func (p *Problem) Error() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// problems collects all that is wrong, so that one run names everything.
type problems []*Problem

func (ps *problems) add(file string, line, column int, format string, args ...any) {
	*ps = append(*ps, &Problem{File: file, Line: line, Column: column, Message: fmt.Sprintf(format, args...)})
}

// err is nil where nothing is wrong; else every *Problem joined, in the order of the files.
func (ps problems) err() error {
	slices.SortStableFunc(ps, func(a, b *Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
	out := make([]error, len(ps))
	for i, p := range ps {
		out[i] = p
	}
	return errors.Join(out...)
}

// nearest gives the candidate that a misspelt name probably means, or "" where none is near.
func nearest(name string, candidates []string) string {
	best, bestAt := "", len(name)/3+2
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), strings.ToLower(c)); d < bestAt || d == bestAt && c < best {
			best, bestAt = c, d
		}
	}
	return best
}

// meant is the part of a message that helps with a misspelt name.
func meant(name string, candidates []string) string {
	if n := nearest(name, candidates); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	return "known are " + strings.Join(candidates, ", ")
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := diagonal
			if a[i] != b[j] {
				next++
			}
			diagonal = row[j+1]
			row[j+1] = min(next, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
