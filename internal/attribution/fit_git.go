package attribution

import (
	"net/url"
	"slices"
	"strings"

	"gatebook/internal/access"
)

// gitValued are git's own options, before the command, that take the next word.
var gitValued = []string{"-C", "-c", "--git-dir", "--work-tree", "--namespace", "--exec-path", "--config-env"}

// Commands of git, by what they do: talk to the other side, touch the repository alone, or run hooks that may do anything.
var (
	gitReads = []string{"fetch", "pull", "clone", "ls-remote", "remote", "submodule", "archive"}
	gitLocal = []string{"add", "annotate", "apply", "blame", "branch", "bundle", "cat-file", "check-ignore", "cherry", "clean", "config", "count-objects", "describe", "diff",
		"diff-tree", "for-each-ref", "format-patch", "fsck", "grep", "hash-object", "help", "init", "log", "ls-files", "ls-tree", "merge-base", "mv", "notes", "prune", "range-diff",
		"reflog", "reset", "restore", "rev-list", "rev-parse", "rm", "shortlog", "show", "show-ref", "sparse-checkout", "stash", "status", "symbolic-ref", "tag", "update-index",
		"update-ref", "var", "version", "whatchanged", "write-tree", "commit-tree", "--version", "--help"}
)

// git is a git command line that talks to the other side, read.
type git struct {
	push bool
	lfs  bool
	// repository is written in the command; empty: it is in the configuration.
	repository string
	// refs are the names that a push is to update, whole or short; any says that it may be others.
	refs []string
	any  bool
}

// newGit reads a git command line. An alias that it brings itself is looked through.
func (st *shell) newGit(c *command) matcher {
	args := c.words[1:]
	aliases := map[string]string{}
	for len(args) > 0 && strings.HasPrefix(args[0].text, "-") && args[0].text != "--version" && args[0].text != "--help" {
		n := 1
		if slices.Contains(gitValued, args[0].text) {
			n = 2
		}
		if args[0].text == "-c" && len(args) > 1 {
			if !args[1].known || runsInConfig(args[1].text) {
				return anything
			}
			if key, value, ok := strings.Cut(args[1].text, "="); ok && strings.HasPrefix(strings.ToLower(key), "alias.") {
				aliases[key[len("alias."):]] = value
			}
		}
		args = args[min(n, len(args)):]
	}
	if len(args) == 0 || !args[0].known {
		return anything
	}
	name, rest := args[0].text, args[1:]
	if text, ok := aliases[name]; ok {
		return st.gitAlias(c, text, rest)
	}
	switch {
	case name == "push":
		return newPush(rest)
	case name == "lfs":
		return when2(len(rest) > 0 && slices.Contains([]string{"fetch", "pull", "push", "clone", "checkout", "smudge"}, rest[0].text), &git{lfs: true})
	case name == "remote":
		return when2(len(rest) > 0 && slices.Contains([]string{"update", "show", "prune"}, rest[0].text) || hasWord(rest, "-f", "--fetch"), &git{})
	case name == "submodule" && len(rest) > 0 && rest[0].text == "foreach":
		text, known := joined(rest[1:])
		st.textOf(word{text, known})
		return nil
	case name == "submodule":
		return when2(len(rest) > 0 && slices.Contains([]string{"update", "add", "sync"}, rest[0].text), &git{any: true})
	case name == "archive":
		return when2(slices.ContainsFunc(rest, func(w word) bool { return strings.HasPrefix(w.text, "--remote") }), &git{})
	case slices.Contains(gitReads, name):
		return &git{repository: repositoryIn(rest)}
	case slices.Contains(gitLocal, name):
		return nil
	}
	return anything // commits and checkouts run hooks; an alias of the user's does anything
}

// runsInConfig reports whether a setting may make git run a program.
func runsInConfig(setting string) bool {
	key, value, _ := strings.Cut(strings.ToLower(setting), "=")
	return !strings.HasPrefix(key, "alias.") && strings.HasPrefix(value, "!") ||
		slices.ContainsFunc([]string{"core.sshcommand", "core.hookspath", "core.pager", "core.editor", "core.fsmonitor", "diff.external", "sequence.editor", "filter.", "include", "credential.helper"}, func(p string) bool { return strings.HasPrefix(key, p) && value != "" })
}

// gitAlias is what an alias of the command line runs: a shell's text behind !, else words of git's.
func (st *shell) gitAlias(c *command, text string, rest []word) matcher {
	inner := *c
	if shell, ok := strings.CutPrefix(text, "!"); ok {
		st.inner(shell+` "$@"`, append([]word{}, rest...))
		return nil
	}
	inner.words = []word{{"git", true}}
	for _, f := range strings.Fields(text) {
		inner.words = append(inner.words, word{strings.Trim(f, `"'`), true})
	}
	inner.words = append(inner.words, rest...)
	if st.over() {
		return anything
	}
	return st.newGit(&inner)
}

func hasWord(ws []word, texts ...string) bool {
	return slices.ContainsFunc(ws, func(w word) bool { return slices.Contains(texts, w.text) })
}

// when2 is m where that is so, and reaches nothing otherwise.
func when2(so bool, m matcher) matcher {
	if so {
		return m
	}
	return nil
}

func newPush(args []word) *git {
	g := &git{push: true}
	var plain []string
	for i := 0; i < len(args); i++ {
		switch w := args[i]; {
		case !w.known:
			g.any = true
		case w.text == "--repo" && i+1 < len(args):
			i++
			g.repository = repositoryIn(args[i : i+1])
		case slices.Contains([]string{"-o", "--push-option", "--receive-pack", "--exec", "--repo"}, w.text):
			i++
		case slices.Contains([]string{"--all", "--branches", "--mirror", "--tags", "--follow-tags", "--prune"}, w.text):
			g.any = true
		case !strings.HasPrefix(w.text, "-"):
			plain = append(plain, w.text)
		}
	}
	if len(plain) > 0 {
		g.repository = repositoryIn([]word{{plain[0], true}})
	}
	if len(plain) < 2 {
		g.any = true // where to is in the configuration
		return g
	}
	tag := false
	for _, spec := range plain[1:] {
		if spec == "tag" {
			tag = true
			continue
		}
		spec = strings.TrimPrefix(spec, "+")
		if _, to, ok := strings.Cut(spec, ":"); ok && to != "" {
			spec = to
		} else if ok {
			g.any = true // ":", all that both have
		}
		switch {
		case tag:
			spec, tag = "refs/tags/"+spec, false
		case spec == "HEAD" || spec == "@":
			g.any = true
		}
		g.refs = append(g.refs, spec)
	}
	return g
}

// fit holds a git command against an operation.
func (c *git) fit(s *subject) fit {
	g := s.op.Git
	switch {
	case g == nil:
		return cannot
	case c.repository != "" && !strings.HasSuffix("/"+repository(g.Repository), "/"+repository(c.repository)) && !strings.HasSuffix("/"+repository(c.repository), "/"+repository(g.Repository)):
		return cannot
	case c.lfs:
		return fits
	case !c.push:
		return when(g.Service != "receive-pack", fits)
	case g.Service == "lfs":
		return fits
	case g.Service != "receive-pack":
		return cannot
	}
	return c.updates(g)
}

func (c *git) updates(g *access.Git) fit {
	if c.any || g.Ref == "" { // or this is not one ref's update
		return fits
	}
	return when(slices.ContainsFunc(c.refs, func(spec string) bool {
		if stem, _, ok := strings.Cut(spec, "*"); ok {
			return strings.HasPrefix(g.Ref, stem)
		}
		return slices.Contains([]string{spec, "refs/" + spec, "refs/heads/" + spec, "refs/tags/" + spec}, g.Ref)
	}), fits)
}

// repositoryIn is the repository of a URL that is written; empty where none is.
func repositoryIn(args []word) string {
	for _, w := range args {
		if !w.known || strings.HasPrefix(w.text, "-") {
			continue
		}
		if u, err := url.Parse(w.text); err == nil && u.Scheme != "" && u.Host != "" {
			return u.Path
		}
		if _, path, ok := strings.Cut(w.text, ":"); ok && strings.Contains(w.text, "@") && path != "" { // git@host:path
			return path
		}
	}
	return ""
}

func repository(path string) string { return strings.TrimSuffix(strings.Trim(path, "/"), ".git") }
