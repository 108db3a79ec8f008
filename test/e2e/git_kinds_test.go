package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// A whole mirror, a push that is all or nothing, options, notes, and one that is sent in small pieces: each is what git makes
// of it without the gateway.
func TestGitKindsOfPushes(t *testing.T) {
	w := newGitWorld(t, everyGitOptions())
	w.host.Git(t, "team/app.git", "config", "receive.advertisePushOptions", "true")
	hook := "#!/bin/sh\necho \"options: $GIT_PUSH_OPTION_COUNT $GIT_PUSH_OPTION_0\"\n"
	noError(t, os.WriteFile(filepath.Join(w.host.Path("team/app.git"), "hooks", "post-receive"), []byte(hook), 0o755))
	update := "#!/bin/sh\ntest \"$1\" != refs/heads/no\n"
	noError(t, os.WriteFile(filepath.Join(w.host.Path("team/app.git"), "hooks", "update"), []byte(update), 0o755))
	c := w.clone(t)
	c.Commit("a.txt", "1", "first")
	second := c.Commit("b.txt", "1", "second")
	c.Must("branch", "side", "main~1")
	c.Must("tag", "-a", "v1", "-m", "release", "main~1")
	c.Must("notes", "add", "-m", "a note", "main")
	c.Must("push", "--mirror", "origin")
	refs := func(dir string) string {
		return c.Must("-C", dir, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags", "refs/notes")
	}
	if got, want := refs(w.host.Path("team/app.git")), refs(c.Dir); got != want {
		t.Errorf("the mirror has\n%s\nwant\n%s", got, want)
	}
	changes := map[string]string{}
	for _, r := range w.pushes(4) {
		changes[r.Operation.Git.Ref] = fmt.Sprint(r.Operation.Git.Change, len(r.Operation.Git.Commits), len(r.Operation.Uninspectable))
	}
	if want := map[string]string{"refs/heads/main": "create2 0", "refs/heads/side": "create1 0", "refs/tags/v1": "create2 0", "refs/notes/commits": "create1 0"}; fmt.Sprint(changes) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", changes, want)
	}

	c.Commit("c.txt", "1", "third")
	if r := c.Git("push", "--atomic", "origin", "main", "main:no"); r.Code == 0 || w.host.Ref(t, "team/app.git", "refs/heads/main") != second {
		t.Errorf("half of an atomic push: exit %d\n%s", r.Code, r.Out())
	}
	for _, r := range w.pushes(6)[:2] {
		if r.Outcome == nil || r.Outcome.Message == "" || !strings.Contains(r.Operation.Command, "--atomic") {
			t.Errorf("%s: %+v", r.Operation.Command, r.Outcome)
		}
	}
	if r := c.Git("push", "origin", "main", "main:no"); r.Code == 0 || w.host.Ref(t, "team/app.git", "refs/heads/main") == second {
		t.Errorf("exit %d\n%s", r.Code, r.Out())
	}
	for _, r := range w.pushes(8)[:2] {
		if declined := r.Operation.Git.Ref == "refs/heads/no"; r.Outcome == nil || declined != strings.Contains(r.Outcome.Message, "declined") {
			t.Errorf("%s: %+v", r.Operation.Git.Ref, r.Outcome)
		}
	}

	c.Commit("d.txt", strings.Repeat("all different? ", 100_000), "fourth")
	out := c.Must("-c", "http.postBuffer=70000", "-c", "core.compression=0", "push", "-o", "ci.skip", "origin", "main")
	if !strings.Contains(out, "options: 1 ci.skip") {
		t.Errorf("%s", out)
	}
	if r := w.pushes(9)[0]; !slices.Equal(r.Operation.Git.Options, []string{"ci.skip"}) || !strings.Contains(r.Operation.Command, "-o ci.skip") {
		t.Errorf("%+v", r.Operation)
	}
	probes := 0
	for _, q := range w.host.Seen() {
		if strings.HasSuffix(q.URI, "/git-receive-pack") && q.Header.Get("Content-Length") == "4" {
			probes++
		}
	}
	if probes != 1 {
		t.Errorf("%d probes", probes)
	}
}

// Clones that leave out what they can fetch later do fetch it later, through the gateway; a shallow one can be pushed from.
func TestGitKindsOfClones(t *testing.T) {
	w := newGitWorld(t, everyGitOptions())
	w.host.Repository(t, "team/lib.git")
	c := w.clone(t)
	c.Commit("lib.txt", "the library", "lib")
	c.Must("push", w.g.URL+"/t/code/team/lib.git", "main")
	c.Commit("a.txt", "one", "first")
	c.Must("submodule", "add", "-q", w.g.URL+"/t/code/team/lib.git", "lib")
	c.Must("config", "-f", ".gitmodules", "submodule.lib.url", "../lib.git")
	c.Commit("a.txt", "two", "second")
	c.Must("push", "origin", "main", "main:other")
	for name, args := range map[string][]string{"blob:none": {"--filter=blob:none", "--no-checkout"}, "tree:0": {"--filter=tree:0", "--no-checkout"}, "single": {"--single-branch", "-b", "other"}, "submodules": {"--recurse-submodules"},
		"shallow": {"--depth=1", "--no-single-branch"}, "mirror": {"--mirror"}} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "clone")
			c.Must(append([]string{"clone", "-q", w.g.URL + "/t/code/team/app.git", dir}, args...)...)
			if got := c.Must("-C", dir, "show", "HEAD:a.txt"); got != "two" { // a partial one asks for it now
				t.Errorf("a.txt is %q", got)
			}
			switch name {
			case "blob:none", "tree:0":
				if got := c.Must("-C", dir, "show", "HEAD~1:a.txt"); got != "one" {
					t.Errorf("a.txt was %q", got)
				}
				c.Must("-C", dir, "checkout", "-q", "HEAD")
			case "single":
				if got := c.Must("-C", dir, "branch", "-r"); strings.Contains(got, "main") || !strings.Contains(got, "other") {
					t.Errorf("branches %q", got)
				}
			case "submodules":
				if b, err := os.ReadFile(filepath.Join(dir, "lib", "lib.txt")); err != nil || string(b) != "the library" {
					t.Errorf("%q %v", b, err)
				}
			case "shallow":
				noError(t, os.WriteFile(filepath.Join(dir, "new.txt"), []byte("1"), 0o644))
				c.Must("-C", dir, "add", "new.txt")
				c.Must("-C", dir, "commit", "-q", "-m", "from a shallow clone")
				c.Must("-C", dir, "push", "origin", "HEAD:from-shallow")
			}
		})
	}
	for _, r := range w.pushes(4) {
		if g := r.Operation.Git; g.Ref == "refs/heads/from-shallow" && (len(g.Commits) != 1 || !slices.Equal(g.Paths, []string{"new.txt"})) {
			t.Errorf("%+v %+v", g, r.Operation.Uninspectable)
		}
	}
}

// Every commit of a push leads to it, by its whole name and by the beginning of it, and so does what moved a branch to commits
// that were there.
func TestGitWhy(t *testing.T) {
	w := newGitWorld(t, everyGitOptions())
	c := w.clone(t)
	var commits []string
	for i := range 5 {
		commits = append(commits, c.Commit("a.txt", fmt.Sprint(i), fmt.Sprint("commit ", i)))
	}
	c.Must("push", "origin", "main~4:refs/heads/main")
	c.Must("push", "origin", "main:refs/heads/agent")
	c.Must("push", "origin", "main")
	byRef := map[string]access.OperationID{}
	for _, r := range w.pushes(3) {
		byRef[r.Operation.Git.Ref+" "+r.Operation.Git.Change] = r.Operation.ID
	}
	for i, id := range commits {
		want := []access.OperationID{byRef["refs/heads/agent create"], byRef["refs/heads/main update"]}
		if i == 0 {
			want = []access.OperationID{byRef["refs/heads/main create"]}
		}
		for _, query := range []string{id, id[:12], id[:7], strings.ToUpper(id[:9])} {
			why, err := w.book.Why(t.Context(), query)
			noError(t, err)
			var got []access.OperationID
			for _, c := range why.Chains {
				got = append(got, c.Record.Operation.ID)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("commit %d by %s: %q, want %q", i, query, got, want)
			}
		}
	}
	out := w.g.CLI(w.g.Person("grace", "auditors"), "why", commits[2][:8])
	if out.Code != 0 || !strings.Contains(out.Out(), "refs/heads/agent") {
		t.Errorf("exit %d\n%s", out.Code, out.Out())
	}
}

// The real git-lfs puts objects and has them back through the gateway; what they are is in the record. The server is written
// here, after git-lfs's docs/api, since Debian has none.
func TestGitLFS(t *testing.T) {
	w := newGitWorld(t, lab.Options{Policy: map[string]string{"git.yaml": everyGit}})
	store := &lfsStore{host: w.host, objects: map[string][]byte{}}
	w.host.Before = store.serve
	c := w.clone(t)
	c.Env = append(c.Env, "GIT_SSL_CAINFO="+w.g.Data("ca.crt"))
	c.Must("lfs", "install", "--local")
	c.Must("lfs", "track", "*.bin")
	data := strings.Repeat("some large object; ", 20_000)
	c.Commit("big.bin", data, "an object of LFS")
	c.Must("push", "origin", "main")
	name := fmt.Sprintf("%x", sha256.Sum256([]byte(data)))
	if got := store.get(name); string(got) != data {
		t.Fatalf("the host has %d bytes of %s", len(got), name)
	}
	dir := filepath.Join(t.TempDir(), "clone")
	c.Must("-c", "filter.lfs.smudge=git-lfs smudge -- %f", "-c", "filter.lfs.process=git-lfs filter-process", "-c", "filter.lfs.required=true", "clone", "-q", w.g.URL+"/t/code/team/app.git", dir)
	if b, err := os.ReadFile(filepath.Join(dir, "big.bin")); err != nil || string(b) != data {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	page, err := w.book.Operations(t.Context(), client.Query{Limit: 100})
	noError(t, err)
	verbs := map[string]int{}
	for _, r := range page.Items {
		if r.Operation.Git != nil && slices.Contains(r.Operation.Git.Objects, name) {
			verbs[r.Operation.Verb]++
		}
	}
	if verbs["upload"] < 2 || verbs["download"] < 2 {
		t.Errorf("in the record: %v", verbs)
	}
}

// lfsStore keeps objects of LFS.
type lfsStore struct {
	host    *lab.GitHost
	mu      sync.Mutex
	objects map[string][]byte
}

func (s *lfsStore) get(name string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[name]
}

func (s *lfsStore) serve(w http.ResponseWriter, r *http.Request) bool {
	_, rest, ok := strings.Cut(r.URL.Path, "/info/lfs/objects/")
	if !ok {
		if strings.Contains(r.URL.Path, "/info/lfs/") {
			http.NotFound(w, r)
			return true
		}
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case rest == "batch":
		var ask struct {
			Operation string
			Objects   []struct {
				OID  string
				Size int64
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return true
		}
		var objects []map[string]any
		for _, o := range ask.Objects {
			answer := map[string]any{"oid": o.OID, "size": o.Size}
			if _, there := s.objects[o.OID]; there == (ask.Operation == "download") {
				answer["actions"] = map[string]any{ask.Operation: map[string]any{"href": s.host.URL("team/app.git") + "/info/lfs/objects/" + o.OID, "header": map[string]string{"Authorization": "Basic hostsecret"}}}
			}
			objects = append(objects, answer)
		}
		w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
		_ = json.NewEncoder(w).Encode(map[string]any{"transfer": "basic", "objects": objects})
	case r.Method == http.MethodPut:
		b, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return true
		}
		s.objects[rest] = b
	default:
		_, _ = w.Write(s.objects[rest])
	}
	return true
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
