package git

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"gatebook/internal/access"
)

// kind is what a request is by its path.
type kind uint8

const (
	unknown   kind = iota
	advertise      // GET info/refs?service=…
	upload         // POST git-upload-pack
	receive        // POST git-receive-pack
	dumb           // GET of a file of the repository
	lfsBatch       // POST info/lfs/objects/batch
	lfsObject      // GET, PUT info/lfs/objects/NAME, where a batch's answer leads to
)

// Services as git names them.
const (
	uploadPack  = "upload-pack"
	receivePack = "receive-pack"
)

// route is a request's path, read.
type route struct {
	kind       kind
	repository string // without .git
	service    string // access.Git.Service
	file       string // below the repository, of dumb and lfsObject
}

// endings are what git's own http-backend serves (http-backend.c, services), and LFS. What is read of a repository by the
// dumb protocol is its refs and objects: an alternate would lead elsewhere.
var endings = []struct {
	pattern *regexp.Regexp
	kind    kind
	service string
	method  string
}{
	{regexp.MustCompile(`/git-upload-pack$`), upload, uploadPack, http.MethodPost},
	{regexp.MustCompile(`/git-receive-pack$`), receive, receivePack, http.MethodPost},
	{regexp.MustCompile(`/info/lfs/objects/batch$`), lfsBatch, "lfs", http.MethodPost},
	{regexp.MustCompile(`/info/lfs/objects/[0-9a-f]{64}(/[0-9]+)?$`), lfsObject, "lfs", ""},
	{regexp.MustCompile(`/info/refs$`), dumb, "dumb", http.MethodGet},
	{regexp.MustCompile(`/HEAD$`), dumb, "dumb", http.MethodGet},
	{regexp.MustCompile(`/objects/info/packs$`), dumb, "dumb", http.MethodGet},
	{regexp.MustCompile(`/objects/[0-9a-f]{2}/([0-9a-f]{38}|[0-9a-f]{62})$`), dumb, "dumb", http.MethodGet},
	{regexp.MustCompile(`/objects/pack/pack-([0-9a-f]{40}|[0-9a-f]{64})\.(pack|idx)$`), dumb, "dumb", http.MethodGet},
}

// readRoute reads method, path and query. What it gives beside a refusal is as much as could be read.
func readRoute(r *http.Request) (route, *access.Refusal) {
	out := route{}
	if why := checkPath(r.URL); why != nil {
		return out, why
	}
	for _, e := range endings {
		at := e.pattern.FindStringIndex(r.URL.Path)
		if at == nil {
			continue
		}
		out.kind, out.service, out.file = e.kind, e.service, r.URL.Path[at[0]+1:]
		why := out.name(r.URL.Path[:at[0]])
		if why == nil && r.Method != e.method && !(e.kind == lfsObject && (r.Method == http.MethodGet || r.Method == http.MethodPut)) {
			why = malformed("method %s means nothing there", r.Method)
		}
		if why == nil && r.URL.RawQuery != "" {
			why = out.query(r.URL.RawQuery)
		}
		return out, why
	}
	why := malformed("%q is nothing that git asks for", r.URL.Path)
	why.Advice = "This target serves git over HTTP: clone, fetch and push, and batches of LFS. Anything else of the host, such as its API, is a target of its own."
	return out, why
}

// name takes the ".git" off a repository's name: hosts find the same with and without it (path.c, enter_repo), and nobody
// is to escape a rule by that.
func (rt *route) name(path string) *access.Refusal {
	rt.repository = strings.TrimSuffix(strings.TrimPrefix(path, "/"), ".git")
	if rt.repository == "" || strings.HasSuffix(strings.ToLower(rt.repository), ".git") || strings.HasSuffix(rt.repository, "/") {
		return malformed("%q names no repository, or one in two ways", path)
	}
	return nil
}

func (rt *route) query(raw string) *access.Refusal {
	service, ok := strings.CutPrefix(raw, "service=git-")
	if rt.file != "info/refs" || !ok || service != uploadPack && service != receivePack {
		return malformed("the query %q means nothing there", raw)
	}
	rt.kind, rt.service = advertise, service
	return nil
}

// checkPath refuses a path that two readers could read differently (RFC 3986, section 6.2.2.2). What passes is forwarded as
// it came.
func checkPath(u *url.URL) *access.Refusal {
	raw := u.EscapedPath()
	switch {
	case u.Opaque != "" || !strings.HasPrefix(raw, "/") || u.RawPath != "" && u.RawPath != raw || !utf8.ValidString(u.Path):
		return malformed("the path is not properly written")
	case strings.ContainsAny(u.Path, "%;\\?#\x7f") || strings.IndexFunc(u.Path, func(c rune) bool { return c < ' ' }) >= 0:
		return malformed("the path holds a character that can be read in two ways")
	case strings.Count(raw, "/") != strings.Count(u.Path, "/"):
		return malformed("the path holds an escaped slash")
	}
	for i := 0; i+2 < len(raw); i++ {
		if c, err := url.PathUnescape(raw[i : i+3]); raw[i] == '%' && err == nil && unreserved.MatchString(c) {
			return malformed("the path holds the escape %q, which needs none", raw[i:i+3])
		}
	}
	for s := range strings.SplitSeq(u.Path[1:], "/") {
		if s == "" || s == "." || s == ".." {
			return malformed("the path holds an empty, \".\" or \"..\" segment")
		}
	}
	return nil
}

var unreserved = regexp.MustCompile(`^[A-Za-z0-9._~-]$`)

func malformed(format string, args ...any) *access.Refusal {
	return access.Refuse(access.CodeMalformed, nil, format, args...)
}
