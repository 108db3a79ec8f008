package git

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/wire/gitpack"
)

// history is what is known of a repository's objects: those of the push, and those that were looked up. What reading it
// may take is bounded for the push as a whole, over all its refs.
type history struct {
	packs     []*gitpack.Pack // the first is the push's
	hashBytes int
	// left is what may still be taken.
	left bounds
	// tips are the host's branches and tags, once they were asked for.
	tips []gitpack.ID
}

// bounds are of one push.
type bounds struct {
	steps   int           // commits followed, and names in trees compared
	told    int64         // bytes of texts that its operations name
	kept    int64         // memory of what is decoded, of the push and of what was looked up
	read    int64         // bytes that look-ups bring
	asks    int           // look-ups
	waiting time.Duration // for their answers
}

var errTooManySteps = errors.New("the push's history is longer than is looked into")

// step takes n of the steps that are left.
func (h *history) step(n int) error {
	if h.left.steps -= n; h.left.steps < 0 {
		return errTooManySteps
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

var errTooLong = errors.New("the push's commits and paths are longer, over all its refs, than is recorded")

// tells takes n of the bytes that operations may name, where so many are left.
func (h *history) tells(n int) bool {
	if int64(n) > h.left.told {
		return false
	}
	h.left.told -= int64(n)
	return true
}

// arrivals are what one pack brings for one object that a ref is set to.
type arrivals struct {
	tags    []*gitpack.Tag
	commits []*gitpack.Commit // newest first
	// tip is what tags lead to.
	tip gitpack.ID
	// boundary are the commits that these stand on, and that no pack brings.
	boundary map[gitpack.ID]bool
	seen     map[gitpack.ID]bool
}

// news are those of the boundary beside the ref's old state: they may be new to the ref, although the push does not bring them.
func (a *arrivals) news(old string) []gitpack.ID {
	var out []gitpack.ID
	for id := range a.boundary {
		if id != gitpack.ID(old) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// follow walks from an object through packs, as far as the ref's old state.
func (h *history) follow(from gitpack.ID, old string, packs ...*gitpack.Pack) (arrivals, error) {
	a := arrivals{tip: from, boundary: map[gitpack.ID]bool{}, seen: map[gitpack.ID]bool{}}
	for t := tagIn(packs, a.tip); t != nil; t = tagIn(packs, a.tip) { // a tag names what was before it: there is no circle
		if err := h.step(1); err != nil {
			return a, err
		}
		a.tags, a.tip = append(a.tags, t), t.Object
	}
	for next := []gitpack.ID{a.tip}; len(next) > 0; {
		id := next[0]
		next = next[1:]
		if err := h.step(1); err != nil {
			return a, err
		}
		c := commitIn(packs, id)
		switch {
		case a.seen[id]:
			continue
		case c == nil || id == gitpack.ID(old):
			a.boundary[id] = true
		default:
			a.commits = append(a.commits, c)
			next = append(next, c.Parents...)
		}
		a.seen[id] = true
	}
	slices.SortStableFunc(a.commits, func(a, b *gitpack.Commit) int { return b.Time.Compare(a.Time) })
	return a, nil
}

func tagIn(packs []*gitpack.Pack, id gitpack.ID) *gitpack.Tag {
	for _, p := range packs {
		if t := p.Tags[id]; t != nil {
			return t
		}
	}
	return nil
}

func commitIn(packs []*gitpack.Pack, id gitpack.ID) *gitpack.Commit {
	for _, p := range packs {
		if c := p.Commits[id]; c != nil {
			return c
		}
	}
	return nil
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
			if err := d.h.step(1 + len(common)); err != nil {
				return err
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
		c := commitIn(d.h.packs, id)
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
		if err := d.h.step(1 + len(entries)); err != nil {
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
