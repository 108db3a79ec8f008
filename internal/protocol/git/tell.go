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
	if u.new == "" {
		x.say(u.op, u.exact)
		return
	}
	if p.incomplete != "" {
		for _, f := range []string{"git.commits", access.FieldGitPaths} {
			u.uninspectable(f, p.incomplete)
		}
		x.say(u.op, u.exact) // an update of what is not known is a force
		return
	}
	a := follow(p.pack, gitpack.ID(u.new))
	if l := x.h.o.Limits.Commits; len(a.commits) > l {
		u.uninspectable("git.commits", fmt.Sprintf("the push brings %d commits, and more than %d are not listed", len(a.commits), l))
	} else {
		u.exact.Commits = a.told()
	}
	if u.exact.Change == "force" && !isTag(u.ref) {
		switch {
		case a.reaches(u.old):
			u.exact.Change = "update" // nothing of what is there is dropped
		case len(a.boundary) > 0:
			u.op.Unfetched = append(u.op.Unfetched, access.FieldGitChange)
		}
	}
	if err := x.paths(p, u, &a); err != nil {
		u.op.Unfetched = append(u.op.Unfetched, access.FieldGitPaths)
	}
	x.say(u.op, u.exact)
}

func (u *update) uninspectable(field, why string) {
	u.op.Uninspectable = append(u.op.Uninspectable, access.Uninspectable{Field: field, Why: why})
}

// paths gives an update the files that its commits change, and those in which the ref's old and new state differ.
func (x *exchange) paths(p *push, u *update, a *arrivals) error {
	d := &differ{&p.history, x.h.o.Limits.Paths}
	into := map[string]bool{}
	if err := d.commits(a.commits, into); err != nil {
		return err
	}
	if u.old != "" && !isTag(u.ref) {
		if err := d.between(gitpack.ID(u.old), a.tip, into); err != nil {
			return err
		}
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
	a := follow(p.pack, gitpack.ID(u.new))
	for _, f := range late {
		if slices.Contains(u.asked, f) { // what objects say does not change
			u.op.Fetched = append(u.op.Fetched, f)
			continue
		}
		var err error
		switch f {
		case access.FieldGitChange:
			var forward bool
			if forward, err = x.isForward(ctx, p, u, &a); forward {
				u.exact.Change = "update"
			}
			if err != nil {
				x.h.o.Log.Info("an update counts as a force, since its history cannot be read", "operation", u.op.ID, "error", err)
				err = nil
			}
		case access.FieldGitPaths:
			err = x.lookupPaths(ctx, p, u, &a)
		}
		if ended := context.Cause(ctx); ended != nil {
			return ended
		}
		if err != nil {
			u.uninspectable(f, err.Error())
		}
		u.op.Fetched, u.asked = append(u.op.Fetched, f), append(u.asked, f)
	}
	x.say(u.op, u.exact)
	return nil
}

// isForward asks whether the old commit is an ancestor of the new one: of all that the pack stands on, the commits that the
// old one does not have are asked for. If it is an ancestor, one of these has it as a parent, and if it is not, none has.
func (x *exchange) isForward(ctx context.Context, p *push, u *update, a *arrivals) (bool, error) {
	pack, err := x.fetch(ctx, u.op, p, fetchOf{want: slices.Sorted(maps.Keys(a.boundary)), have: u.old, filter: "tree:0"})
	if err != nil {
		return false, err
	}
	for id := range a.boundary {
		if b := follow(pack, id); b.reaches(u.old) {
			return true, nil
		}
	}
	return false, nil
}

// lookupPaths has the trees fetched on which the push's commits stand, and compares again.
func (x *exchange) lookupPaths(ctx context.Context, p *push, u *update, a *arrivals) error {
	err := x.paths(p, u, a)
	var m *missing
	if !errors.As(err, &m) {
		return err // another ref's look-up has brought it, or it would not help
	}
	stands := maps.Clone(a.boundary)
	if u.old != "" && !isTag(u.ref) {
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
