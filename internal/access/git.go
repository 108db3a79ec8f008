package access

// Git describes one thing done to a git repository over HTTP: a fetch, one ref's update by a push, or an object of LFS.
type Git struct {
	// Repository is the path below the target, such as "team/app": without the ".git" at its end, with or without which
	// hosts find the same.
	Repository string `json:"repository"`
	// Service is upload-pack (read), receive-pack (push), lfs or dumb.
	Service string `json:"service"`
	// Change is, for a ref's update, create, update, force or delete. A force is an update that drops commits, or of
	// which that cannot be excluded, and any update of a tag. Empty for everything else.
	Change string `json:"change,omitempty"`
	// Push is the operation, of the ref updates of one push, whose record holds the bytes of all: the first one's.
	Push OperationID `json:"push,omitempty"`
	// Ref is the ref's full name, such as refs/heads/main; Old and New its object names, in hexadecimal. Old is empty for
	// create and New for delete.
	Ref string `json:"ref,omitempty"`
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
	// Commits are those that are new to the ref, newest first: for an update of a branch, those that its old state does not
	// have, whether the push brings them or the repository has them elsewhere; for a new ref and for a tag, those that no
	// branch and no tag has. An annotated tag is one, before the commit that it names.
	Commits []Commit `json:"commits,omitempty"`
	// Paths are the files that the push's commits change, and those that the update changes on the ref, sorted.
	Paths []string `json:"paths,omitempty"`
	// Options are the push options that the client sent.
	Options []string `json:"options,omitempty"`
	// Refs are the refs that a fetch asks for, by name where the protocol names them, else by object name.
	Refs []string `json:"refs,omitempty"`
	// Depth and Filter limit a fetch; 0 and empty: everything.
	Depth  int64  `json:"depth,omitempty"`
	Filter string `json:"filter,omitempty"`
	// Objects are the object names of an LFS batch.
	Objects []string `json:"objects,omitempty"`
}

// Commit is one commit of a push.
type Commit struct {
	ID        string   `json:"id"`
	Parents   []string `json:"parents,omitempty"`
	Author    string   `json:"author"`
	Committer string   `json:"committer"`
	Message   string   `json:"message"`
}

func (g *Git) summary() summary {
	names := []string{g.Repository, g.Ref, g.Old, g.New}
	for _, c := range g.Commits {
		names = append(names, c.ID, c.Author, c.Message)
	}
	return summary{Resource: g.Service, Names: append(names, g.Paths...)}
}

func (g *Git) texts() []string {
	out := append([]string{g.Repository, g.Ref, g.Filter}, g.Paths...)
	for _, c := range g.Commits {
		out = append(out, c.Author, c.Committer, c.Message)
	}
	return append(out, g.Options...)
}
