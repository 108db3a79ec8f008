package git

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"gatebook/internal/access"
	"gatebook/internal/wire/gitpack"
)

// history is what is known of a repository's objects: those of the push, and those that were looked up.
type history struct {
	packs     []*gitpack.Pack
	hashBytes int
}

func (h *history) commit(id gitpack.ID) *gitpack.Commit {
	for _, p := range h.packs {
		if c := p.Commits[id]; c != nil {
			return c
		}
	}
	return nil
}

func (h *history) tree(id gitpack.ID) ([]gitpack.Entry, error) {
	for _, p := range h.packs {
		if raw, ok := p.Trees[id]; ok {
			return gitpack.ParseTree(raw, h.hashBytes)
		}
	}
	return nil, &missing{id}
}

// missing is an object that is not known.
type missing struct{ id gitpack.ID }

func (m *missing) Error() string { return fmt.Sprintf("tree %s is not in the push", m.id) }

// arrivals are what one pack brings for one object that a ref is set to.
type arrivals struct {
	tags    []*gitpack.Tag
	commits []*gitpack.Commit // newest first
	// tip is what tags lead to.
	tip gitpack.ID
	// boundary are the commits that these stand on, and that the pack does not bring.
	boundary map[gitpack.ID]bool
	seen     map[gitpack.ID]bool
}

// reaches reports whether old is an ancestor, as far as the pack tells.
func (a *arrivals) reaches(old string) bool { return a.seen[gitpack.ID(old)] }

// follow walks from an object through one pack.
func follow(p *gitpack.Pack, from gitpack.ID) arrivals {
	a := arrivals{tip: from, boundary: map[gitpack.ID]bool{}, seen: map[gitpack.ID]bool{}}
	for t := p.Tags[a.tip]; t != nil; t = p.Tags[a.tip] { // a tag names what was before it: there is no circle
		a.tags, a.tip = append(a.tags, t), t.Object
	}
	for next := []gitpack.ID{a.tip}; len(next) > 0; {
		id := next[0]
		next = next[1:]
		c := p.Commits[id]
		switch {
		case a.seen[id]:
			continue
		case c == nil:
			a.boundary[id] = true
		default:
			a.commits = append(a.commits, c)
			next = append(next, c.Parents...)
		}
		a.seen[id] = true
	}
	slices.SortStableFunc(a.commits, func(a, b *gitpack.Commit) int { return b.Time.Compare(a.Time) })
	return a
}

// told are arrivals as an operation names them.
func (a *arrivals) told() []access.Commit {
	var out []access.Commit
	for _, t := range a.tags {
		out = append(out, access.Commit{ID: string(t.ID), Parents: []string{string(t.Object)}, Author: t.Tagger, Committer: t.Tagger, Message: t.Message})
	}
	for _, c := range a.commits {
		k := access.Commit{ID: string(c.ID), Author: c.Author, Committer: c.Committer, Message: c.Message}
		for _, p := range c.Parents {
			k.Parents = append(k.Parents, string(p))
		}
		out = append(out, k)
	}
	return out
}

// errTooManyPaths is more than an operation names.
var errTooManyPaths = errors.New("more files change than are listed")

// differ collects the paths in which trees differ.
type differ struct {
	h    *history
	most int
}

// commits gives the files that each commit changes against its parents: in a merge, those that are like in none of them.
func (d *differ) commits(list []*gitpack.Commit, into map[string]bool) error {
	for _, c := range list {
		var common map[string]bool
		parents := c.Parents
		if len(parents) == 0 {
			parents = []gitpack.ID{""}
		}
		for i, p := range parents {
			paths := map[string]bool{}
			if err := d.between(p, c.ID, paths); err != nil {
				return err
			}
			if i == 0 {
				common = paths
			}
			maps.DeleteFunc(common, func(path string, _ bool) bool { return !paths[path] })
		}
		maps.Copy(into, common)
		if len(into) > d.most {
			return errTooManyPaths
		}
	}
	return nil
}

// between gives the files that differ between two commits; an empty one has none.
func (d *differ) between(old, new gitpack.ID, into map[string]bool) error {
	var trees [2]gitpack.ID
	for i, id := range []gitpack.ID{old, new} {
		if id == "" {
			continue
		}
		c := d.h.commit(id)
		if c == nil {
			return &missing{id}
		}
		trees[i] = c.Tree
	}
	return d.trees("", trees[0], trees[1], into)
}

func (d *differ) trees(prefix string, old, new gitpack.ID, into map[string]bool) error {
	if old == new {
		return nil
	}
	if len(prefix) > maxPathBytes {
		return fmt.Errorf("a path is longer than %d bytes", maxPathBytes)
	}
	var sides [2]map[string]gitpack.Entry
	names := map[string]bool{}
	for i, id := range []gitpack.ID{old, new} {
		sides[i] = map[string]gitpack.Entry{}
		if id == "" {
			continue
		}
		entries, err := d.h.tree(id)
		if err != nil {
			return err
		}
		for _, e := range entries {
			sides[i][e.Name], names[e.Name] = e, true
		}
	}
	for name := range names {
		a, b := sides[0][name], sides[1][name]
		if a == b {
			continue
		}
		if err := d.entry(prefix+name, a, b, into); err != nil {
			return err
		}
	}
	return nil
}

// maxPathBytes bounds a path; git's own systems take 4,096.
const maxPathBytes = 4096

// entry compares one name: what is a folder on a side is looked into, and what is a file there is a path.
func (d *differ) entry(path string, a, b gitpack.Entry, into map[string]bool) error {
	if a.Mode != "" && !a.IsTree() || b.Mode != "" && !b.IsTree() {
		if into[path] = true; len(into) > d.most {
			return errTooManyPaths
		}
	}
	var old, new gitpack.ID
	if a.IsTree() {
		old = a.ID
	}
	if b.IsTree() {
		new = b.ID
	}
	return d.trees(path+"/", old, new, into)
}
