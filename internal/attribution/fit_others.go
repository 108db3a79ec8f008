package attribution

import (
	"net/url"
	"slices"
	"strings"

	"gatebook/internal/access"
)

// gitValued are git's own options, before the command, that take the next word.
var gitValued = []string{"-C", "-c", "--git-dir", "--work-tree", "--namespace", "--exec-path", "--config-env"}

// Commands of git that talk to the other side, by what they use of it.
var (
	gitReads = []string{"fetch", "pull", "clone", "ls-remote", "remote", "submodule", "archive", "lfs"}
	gitAlias = []string{"add", "am", "annotate", "apply", "bisect", "blame", "branch", "bundle", "cat-file", "check-ignore", "checkout", "cherry", "cherry-pick", "clean", "commit",
		"config", "count-objects", "describe", "diff", "diff-tree", "for-each-ref", "format-patch", "fsck", "gc", "grep", "hash-object", "help", "init", "log", "ls-files", "ls-tree",
		"merge", "merge-base", "mv", "notes", "prune", "range-diff", "rebase", "reflog", "reset", "restore", "rev-list", "rev-parse", "revert", "rm", "shortlog", "show", "show-ref",
		"sparse-checkout", "stash", "status", "switch", "symbolic-ref", "tag", "update-index", "update-ref", "version", "whatchanged", "worktree", "write-tree", "--version"}
)

// gitFit holds a git command against an operation.
func gitFit(c command, op *access.Operation) fit {
	g := op.Git
	args := c.words[1:]
	for len(args) > 0 && strings.HasPrefix(args[0].text, "-") && args[0].text != "--version" {
		n := 1
		if slices.Contains(gitValued, args[0].text) {
			n = 2
		}
		args = args[min(n, len(args)):]
	}
	switch {
	case g == nil:
		return cannot
	case len(args) == 0 || !args[0].known:
		return may
	case args[0].text == "push":
		return only(g.Service == "receive-pack" || g.Service == "lfs", pushFit(args[1:], g))
	case slices.Contains(gitReads, args[0].text):
		return only(g.Service != "receive-pack" || args[0].text == "lfs", repositoryFit(args[1:], g))
	case slices.Contains(gitAlias, args[0].text):
		return cannot
	}
	return may // an alias of the user's
}

// pushFit compares the refs that are written with the one that is updated.
func pushFit(args []word, g *access.Git) fit {
	var plain []string
	for i := 0; i < len(args); i++ {
		switch w := args[i]; {
		case !w.known:
			return fits
		case slices.Contains([]string{"-o", "--push-option", "--receive-pack", "--exec", "--repo"}, w.text):
			i++
		case slices.Contains([]string{"--all", "--mirror", "--tags", "--follow-tags"}, w.text):
			return fits
		case !strings.HasPrefix(w.text, "-"):
			plain = append(plain, w.text)
		}
	}
	if len(plain) < 2 || g.Ref == "" {
		return fits // where to is in the configuration, or this is not one ref's update
	}
	for _, spec := range plain[1:] {
		spec = strings.TrimPrefix(spec, "+")
		if _, to, ok := strings.Cut(spec, ":"); ok {
			spec = to
		}
		if spec == "HEAD" || spec == "tag" || spec == g.Ref || strings.HasSuffix(g.Ref, "/"+strings.TrimPrefix(spec, "refs/")) {
			return fits
		}
	}
	return cannot
}

// repositoryFit compares a URL that is written with the repository.
func repositoryFit(args []word, g *access.Git) fit {
	for _, w := range args {
		if u, err := url.Parse(w.text); w.known && err == nil && u.Scheme != "" && u.Host != "" {
			return only(strings.HasSuffix(repository(u.Path), repository(g.Repository)), fits)
		}
	}
	return fits
}

func repository(path string) string { return strings.TrimSuffix(strings.Trim(path, "/"), ".git") }

// psqlFit compares what psql is given with a statement.
func psqlFit(c command, op *access.Operation) fit {
	if op.SQL == nil {
		return cannot
	}
	texts, open := psqlTexts(c)
	if len(texts) == 0 {
		return fits // typed, or piped in: any statement
	}
	statement := squeeze(op.SQL.Text)
	for _, t := range texts {
		switch t := squeeze(t); {
		case statement == "" || strings.Contains(t, statement):
			return fits
		case strings.Contains(t, `\`): // psql's own commands ask the catalogue
			open = true
		}
	}
	return only(open, may)
}

// psqlTexts are the statements that are written in the command, and whether there are others.
func psqlTexts(c command) (texts []string, open bool) {
	for i, w := range c.words {
		next := func() {
			if i+1 < len(c.words) {
				open = open || !c.words[i+1].known
				texts = append(texts, c.words[i+1].text)
			}
		}
		switch {
		case w.text == "-c" || w.text == "--command":
			next()
		case strings.HasPrefix(w.text, "--command="):
			texts, open = append(texts, strings.TrimPrefix(w.text, "--command=")), open || !w.known
		case len(w.text) > 2 && w.text[0] == '-' && w.text[1] != '-' && strings.HasSuffix(w.text, "c"): // -tAc
			next()
		case w.text == "-f" || strings.HasPrefix(w.text, "--file") || w.text == "-l" || w.text == "--list":
			open = true
		}
	}
	if c.stdin != "" {
		texts = append(texts, c.stdin)
	}
	return texts, open
}

// squeeze makes white space and a last semicolon not matter.
func squeeze(sql string) string {
	return strings.TrimRight(strings.Join(strings.Fields(sql), " "), "; ")
}

// curlValued are options of curl that take the next word, in which the token may be, or what is sent.
var curlValued = []string{"-H", "--header", "-d", "--data", "--data-raw", "--data-binary", "--json", "-u", "--user", "-o", "--output", "--oauth2-bearer"}

// curlFit compares the URLs that are written with a request.
func curlFit(c command, op *access.Operation) fit {
	method := ""
	best, seen := cannot, false
	for i, w := range c.words[1:] {
		switch prev := c.words[i].text; {
		case prev == "-X" || prev == "--request":
			method = w.text
		case slices.Contains(curlValued, prev): // no URL
		case !w.known && (strings.Contains(w.text, "://") || !strings.HasPrefix(w.text, "-")):
			best, seen = max(best, may), true
		}
	}
	for _, w := range c.words[1:] {
		if w.known && strings.Contains(w.text, "://") {
			best, seen = max(best, webFit(w.text, method, op)), true
		} else if !w.known && strings.HasPrefix(w.text, "/t/") && webFit(w.text, method, op) == fits { // $GATEBOOK_URL/t/TARGET/…
			return fits
		}
	}
	if !seen { // a URL without its scheme, or from a file
		return only(op.Web != nil || op.Kubernetes != nil || op.Git != nil, may)
	}
	return best
}

// webFit compares one URL with the operation: a request to a service is known by host and path, one to another kind of
// target may be anything below the gateway's own address.
func webFit(raw, method string, op *access.Operation) fit {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return may
	case op.Web == nil:
		return only((op.Kubernetes != nil || op.Git != nil) && strings.HasPrefix(u.Path, "/t/"+op.Target.Name), may)
	case method != "" && op.Web.Method != method && op.Web.Method != "CONNECT":
		return cannot
	}
	path := u.Path
	if rest, ok := strings.CutPrefix(path, "/t/"+op.Target.Name); ok {
		path = rest
	} else if !strings.EqualFold(u.Hostname(), op.Web.Host) {
		return cannot
	}
	if path == "" {
		path = "/"
	}
	if op.Web.Method == "CONNECT" || path == op.Web.Path || op.Web.Path == "" && path == "/" {
		return fits
	}
	return may // a redirect that it follows, say
}
