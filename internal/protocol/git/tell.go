package git

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"gatebook/internal/access"
	"gatebook/internal/wire/gitpack"
)

// tell puts into an update's operation what the pack tells of it. What it does not tell is late: it can be asked of the
// upstream, if policy or an approver needs it, and at the latest before the push is let through.
func (x *exchange) tell(p *push, u *update) {
	defer func() { x.say(u.op, u.exact) }()
	if u.new == "" {
		return
	}
	if p.incomplete != "" { // an update of what is not known is a force
		u.unknown(p.incomplete)
		return
	}
	a, err := p.history.follow(gitpack.ID(u.new), u.since(), p.pack)
	if err != nil {
		u.unknown(err.Error())
		return
	}
	if _, isTree := p.pack.Trees[a.tip]; isTree {
		u.unknown("the ref is set to files without a commit")
		return
	}
	x.list(p, u, &a)
	u.news = a.news(u.since())
	if u.since() != "" && a.seen[gitpack.ID(u.old)] {
		u.exact.Change = "update" // nothing of what is there is dropped
	}
	if len(u.news) > 0 {
		if u.since() != "" && u.exact.Change == "force" {
			u.late(access.FieldGitChange)
		}
		u.late(access.FieldGitCommits)
	}
	err = x.paths(p, u, &a)
	var m *missing
	switch {
	case err != nil && !errors.As(err, &m):
		u.uninspectable(access.FieldGitPaths, err.Error())
	case err != nil, len(u.news) > 0 && u.since() == "":
		u.late(access.FieldGitPaths)
	}
}

// since is the old state of a branch, which new commits are told from. A new ref has none, and what a tag was set to says
// nothing of what it is set to.
func (u *update) since() string {
	if isTag(u.ref) {
		return ""
	}
	return u.old
}

func (u *update) unknown(why string) {
	u.uninspectable(access.FieldGitCommits, why)
	u.uninspectable(access.FieldGitPaths, why)
}

// uninspectable names a field that is not known. What is known of it stays, and is not all of it.
func (u *update) uninspectable(field, why string) {
	if !slices.ContainsFunc(u.op.Uninspectable, func(has access.Uninspectable) bool { return has.Field == field }) {
		u.op.Uninspectable = append(u.op.Uninspectable, access.Uninspectable{Field: field, Why: why})
	}
}

// late says that the upstream can be asked for a field.
func (u *update) late(field string) {
	if !slices.ContainsFunc(u.op.Uninspectable, func(has access.Uninspectable) bool { return has.Field == field }) {
		u.op.Unfetched = append(u.op.Unfetched, field)
	}
}

// list names the commits, or says why not.
func (x *exchange) list(p *push, u *update, a *arrivals) {
	told := a.told()
	size := 0
	for _, c := range told {
		size += len(c.ID) + len(c.Author) + len(c.Committer) + len(c.Message) + 64*len(c.Parents)
	}
	most := x.h.o.Limits.Commits
	switch {
	case len(a.commits) > most:
		u.exact.Commits = nil
		u.uninspectable(access.FieldGitCommits, fmt.Sprintf("%d commits are new to the ref, and more than %d are not listed", len(a.commits), most))
	case !p.history.tells(size):
		u.exact.Commits = nil
		u.uninspectable(access.FieldGitCommits, errTooLong.Error())
	default:
		u.exact.Commits = told
	}
}

// paths gives an update the files that the push's commits change, and those in which the branch's old and new state differ.
func (x *exchange) paths(p *push, u *update, a *arrivals) error {
	d := &differ{&p.history, x.h.o.Limits.Paths}
	into := map[string]bool{}
	if err := d.commits(slices.DeleteFunc(slices.Clone(a.commits), func(c *gitpack.Commit) bool { return p.pack.Commits[c.ID] == nil }), into); err != nil {
		return err
	}
	if u.since() != "" {
		if err := d.between(gitpack.ID(u.old), a.tip, into); err != nil {
			return err
		}
	}
	size := 0
	for path := range into {
		size += len(path)
	}
	if !p.history.tells(size) {
		return errTooLong
	}
	u.exact.Paths = slices.Sorted(maps.Keys(into))
	return nil
}

// complete asks the upstream for what the pack does not tell. What cannot be had is uninspectable from then on; a force it
// stays.
func (x *exchange) complete(ctx context.Context, p *push, u *update, fields []string) error {
	p.mu.Lock() // what one ref's look-up brings serves the others
	defer p.mu.Unlock()
	late := slices.DeleteFunc(u.op.Late(), func(f string) bool { return !slices.Contains(fields, f) })
	for _, f := range late {
		if !slices.Contains(u.asked, f) { // what objects say does not change
			err := x.lookUp(ctx, p, u, f)
			if ended := context.Cause(ctx); ended != nil {
				return ended
			}
			switch {
			case err != nil && f == access.FieldGitChange:
				x.h.o.Log.Info("an update counts as a force, since its history cannot be read", "operation", u.op.ID, "error", err)
			case err != nil:
				u.uninspectable(f, err.Error())
			}
			u.asked = append(u.asked, f)
		}
		u.op.Fetched = append(u.op.Fetched, f)
	}
	x.say(u.op, u.exact)
	return nil
}

// lookUp asks for what one field needs.
func (x *exchange) lookUp(ctx context.Context, p *push, u *update, field string) error {
	if u.extra == nil && len(u.news) > 0 {
		var err error
		if u.since() != "" {
			u.extra, err = x.fetch(ctx, u.op, p, fetchOf{want: u.news, have: []gitpack.ID{gitpack.ID(u.old)}, filter: "tree:0"})
		} else {
			u.extra, err = x.strays(ctx, u.op, p)
		}
		if err != nil && (field != access.FieldGitPaths || u.since() == "") {
			return err
		}
	}
	packs := []*gitpack.Pack{p.pack}
	if u.extra != nil {
		packs = append(packs, u.extra)
	}
	a, err := p.history.follow(gitpack.ID(u.new), u.since(), packs...)
	if err != nil {
		return err
	}
	switch field {
	case access.FieldGitChange:
		// Of the commits that the old one does not have, one has it as a parent if it is an ancestor, and none if it is not.
		if a.seen[gitpack.ID(u.old)] {
			u.exact.Change = "update"
		}
		return nil
	case access.FieldGitCommits:
		x.list(p, u, &a)
		return nil
	}
	if n := len(a.commits) - p.brought(&a); u.since() == "" && n > 0 {
		return fmt.Errorf("the ref stands on %d commits that neither the push brings nor a branch or a tag of the host has", n)
	}
	return x.lookupPaths(ctx, p, u, &a)
}

// brought counts those that are in the push.
func (p *push) brought(a *arrivals) int {
	n := 0
	for _, c := range a.commits {
		if p.pack.Commits[c.ID] != nil {
			n++
		}
	}
	return n
}

// strays are the commits that new refs and tags of the push stand on, and that no branch and no tag of the host has: an
// object can be there that nobody has judged, left by another push or shared with another repository.
func (x *exchange) strays(ctx context.Context, parent *access.Operation, p *push) (*gitpack.Pack, error) {
	if p.strays != nil {
		return p.strays, nil
	}
	if p.history.tips == nil {
		tips, err := x.listTips(ctx, parent, p)
		if err != nil {
			return nil, err
		}
		p.history.tips = tips
	}
	want := map[gitpack.ID]bool{}
	for _, u := range p.updates {
		if u.new != "" && u.since() == "" {
			for _, id := range u.news {
				want[id] = true
			}
		}
	}
	for _, id := range p.history.tips {
		delete(want, id)
	}
	if len(want) == 0 {
		p.strays = &gitpack.Pack{}
		return p.strays, nil
	}
	var err error
	p.strays, err = x.fetch(ctx, parent, p, fetchOf{want: slices.Sorted(maps.Keys(want)), have: p.history.tips, filter: "tree:0"})
	return p.strays, err
}

// lookupPaths has the trees fetched on which the push's commits stand, and compares again.
func (x *exchange) lookupPaths(ctx context.Context, p *push, u *update, a *arrivals) error {
	err := x.paths(p, u, a)
	var m *missing
	if !errors.As(err, &m) {
		return err // another ref's look-up has brought it, or it would not help
	}
	stands := map[gitpack.ID]bool{}
	own, err2 := p.history.follow(gitpack.ID(u.new), u.since(), p.pack)
	if err2 != nil {
		return err2
	}
	for id := range own.boundary {
		stands[id] = true
	}
	if u.since() != "" {
		stands[gitpack.ID(u.old)] = true
	}
	if len(stands) == 0 {
		return err
	}
	pack, err := x.fetch(ctx, u.op, p, fetchOf{want: slices.Sorted(maps.Keys(stands)), shallow: true, filter: "blob:none"})
	if err != nil {
		return err
	}
	p.history.packs = append(p.history.packs, pack)
	return x.paths(p, u, a)
}

func isTag(ref string) bool { return len(ref) > 10 && ref[:10] == "refs/tags/" }
