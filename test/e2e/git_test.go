package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// everyGit lets everything through.
const everyGit = `rules:
  - {id: everything, protocol: git, effect: allow, reason: a test allows everything}
`

// gitWorld is an agent behind a gateway in front of a git host.
type gitWorld struct {
	t     *testing.T
	host  *lab.GitHost
	g     *lab.Gateway
	agent string
	book  *client.Client
}

func newGitWorld(t *testing.T, o lab.Options) *gitWorld {
	t.Helper()
	w := &gitWorld{t: t, host: lab.StartGitHost(t)}
	w.host.Repository(t, "team/app.git", "uploadpack.allowFilter=true", "uploadpack.allowAnySHA1InWant=true")
	o.Targets = w.host.Target("code", "") + o.Targets
	w.g = lab.StartBareGateway(t, binary, o)
	w.agent = w.g.Person("claude", "agents")
	w.book = w.g.API(w.g.Person("grace", "auditors", "approvers"))
	return w
}

func everyGitOptions() lab.Options {
	return lab.Options{Policy: map[string]string{"git.yaml": everyGit}}
}

func (w *gitWorld) clone(t *testing.T) *lab.Clone { return w.g.Clone(t, w.agent, "team/app.git") }

// pushes waits until the book has n ref updates, all ended, the newest first.
func (w *gitWorld) pushes(n int) []access.Record {
	w.t.Helper()
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(30 * time.Millisecond) {
		page, err := w.book.Operations(w.t.Context(), client.Query{Limit: 100})
		if err != nil {
			w.t.Fatal(err)
		}
		items := slices.DeleteFunc(page.Items, func(r access.Record) bool { return r.Operation.Verb != "push" })
		if len(items) == n && !slices.ContainsFunc(items, func(r access.Record) bool { return r.Outcome == nil && r.Refused == nil }) {
			return items
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d ref updates, want %d: %+v", len(items), n, items)
		}
	}
}

// Every kind of read and push, in each version of the protocol.
func TestGit(t *testing.T) {
	w := newGitWorld(t, everyGitOptions())
	for _, version := range []string{"0", "1", "2"} {
		t.Run("version "+version, func(t *testing.T) {
			ref := "refs/heads/v" + version
			git := []string{"-c", "protocol.version=" + version}
			c := w.clone(t)
			run := func(c *lab.Clone, args ...string) string { return c.Must(append(slices.Clone(git), args...)...) }
			c.Commit("a.txt", "one", "first")
			first := c.Commit("dir/b.txt", "two", "second")
			run(c, "push", "origin", "main:"+ref)
			if got := w.host.Ref(t, "team/app.git", ref); got != first {
				t.Fatalf("%s is %q, want %s", ref, got, first)
			}
			for name, args := range map[string][]string{"whole": nil, "shallow": {"--depth=1"}, "partial": {"--filter=blob:none"}, "bare": {"--bare"}} {
				dir := filepath.Join(t.TempDir(), name)
				run(c, append([]string{"clone", "-q", "-b", "v" + version, w.g.URL + "/t/code/team/app.git", dir}, args...)...)
				got := c.Must("-C", dir, "rev-list", "--count", "HEAD")
				if want := map[bool]string{true: "1", false: "2"}[name == "shallow"]; got != want {
					t.Errorf("%s: %s commits, want %s", name, got, want)
				}
				if name == "partial" {
					if b, err := os.ReadFile(filepath.Join(dir, "dir/b.txt")); err != nil || string(b) != "two" {
						t.Errorf("%q %v", b, err)
					}
				}
				if name == "shallow" {
					run(c, "-C", dir, "fetch", "-q", "--unshallow")
				}
			}
			c.Commit("a.txt", "three", "third")
			run(c, "push", "origin", "main:"+ref)
			other := w.clone(t)
			run(other, "fetch", "-q", "origin", ref)
			if got := other.Must("show", "FETCH_HEAD:a.txt"); got != "three" {
				t.Errorf("fetched %q", got)
			}
			c.Must("reset", "-q", "--hard", "HEAD~2")
			forced := c.Commit("c.txt", "four", "instead")
			if r := c.Git(append(slices.Clone(git), "push", "origin", "main:"+ref)...); r.Code == 0 {
				t.Errorf("git pushes what drops commits: %s", r.Out())
			}
			run(c, "push", "--force", "origin", "main:"+ref)
			if got := w.host.Ref(t, "team/app.git", ref); got != forced {
				t.Errorf("%s is %q, want %s", ref, got, forced)
			}
			c.Must("tag", "-a", "r"+version, "-m", "release")
			run(c, "push", "origin", "r"+version)
			if got := w.host.Ref(t, "team/app.git", "refs/tags/r"+version); got == "" {
				t.Error("there is no tag")
			}
			run(c, "push", "origin", ":"+ref)
			if got := w.host.Ref(t, "team/app.git", ref); got != "" {
				t.Errorf("%s is still there", ref)
			}
		})
	}
}

// What a push does is told by its objects: commits with authors and messages, the files that change, and what kind of change
// it is; also where the pack alone does not tell, and the host is asked.
func TestGitHistory(t *testing.T) {
	for _, filters := range []string{"true", "false"} {
		w := newGitWorld(t, everyGitOptions())
		w.host.Git(t, "team/app.git", "config", "uploadpack.allowFilter", filters)
		c := w.clone(t)
		c.Commit("a.txt", "a file that is like no other", "first")
		c.Write("sub/deep/x", []byte("1"))
		c.Commit("sub/y", "1", "second")
		c.Must("push", "origin", "main")
		c.Commit("sub/deep/x", "2", "third\n\nwith a body")
		c.Must("rm", "-q", "a.txt")
		tip := c.Commit("b.txt", "1", "fourth")
		c.Must("push", "origin", "main")
		c.Must("push", "origin", "main~2:refs/heads/old")
		c.Must("push", "origin", "main:old") // nothing new: the host is asked whether it goes forward
		c.Must("push", "-f", "origin", "main~2:old")
		c.Must("checkout", "-q", "-b", "side", "main~2")
		c.Must("mv", "sub/y", "sub/moved.txt")
		c.Must("commit", "-q", "-m", "move")
		c.Must("merge", "-q", "--no-ff", "-m", "merge", "main")
		c.Must("push", "origin", "side")
		c.Must("tag", "-a", "v1", "-m", "the release", tip)
		c.Must("push", "origin", "v1")
		c.Must("tag", "-f", "-a", "v1", "-m", "again", "main~1")
		c.Must("push", "-f", "origin", "v1")
		c.Must("push", "origin", ":old")
		want := []struct {
			ref, change, messages, paths string
		}{
			{"refs/heads/old", "delete", "", ""},
			{"refs/tags/v1", "force", "again", ""},
			{"refs/tags/v1", "create", "the release", ""},
			{"refs/heads/side", "create", "merge|move", "sub/moved.txt sub/y"},
			{"refs/heads/old", "force", "", "a.txt b.txt sub/deep/x"},
			{"refs/heads/old", "update", "fourth|third", "a.txt b.txt sub/deep/x"},
			{"refs/heads/old", "create", "", ""},
			{"refs/heads/main", "update", "fourth|third", "a.txt b.txt sub/deep/x"},
			{"refs/heads/main", "create", "second|first", "a.txt sub/deep/x sub/y"},
		}
		for i, r := range w.pushes(len(want)) {
			g := r.Operation.Git
			var messages []string
			for _, c := range g.Commits {
				messages = append(messages, strings.Split(strings.TrimSpace(c.Message), "\n")[0])
				if c.Author != "claude <claude@agents>" {
					t.Errorf("author %q", c.Author)
				}
			}
			slices.Sort(messages)
			wanted := strings.Split(want[i].messages, "|")
			slices.Sort(wanted)
			got := fmt.Sprintf("%s %s %s %s", g.Ref, g.Change, strings.Join(messages, "|"), strings.Join(g.Paths, " "))
			if w := fmt.Sprintf("%s %s %s %s", want[i].ref, want[i].change, strings.Join(wanted, "|"), want[i].paths); got != w {
				t.Errorf("filters %s: got  %s\nwant %s\n%+v", filters, got, w, r.Operation.Uninspectable)
			}
			if r.Outcome == nil || r.Outcome.Message != "" || r.Outcome.Code != 200 || g.Push != r.Operation.ID {
				t.Errorf("%+v %+v", g, r.Outcome)
			}
		}
	}
}

// A large push streams through in bounded memory, chunked and not.
func TestGitLargePush(t *testing.T) {
	w := newGitWorld(t, everyGitOptions())
	c := w.clone(t)
	big := make([]byte, 100<<20)
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	c.Write("big", big)
	c.Must("config", "core.compression", "0")
	c.Must("add", "big")
	c.Must("commit", "-q", "-m", "big")
	c.Must("push", "origin", "main") // beyond http.postBuffer: chunked, behind a probe
	c.Must("commit", "-q", "--amend", "-m", "big, otherwise")
	c.Must("-c", "http.postBuffer=200m", "push", "-f", "origin", "main")
	if got, want := w.host.Ref(t, "team/app.git", "refs/heads/main"), c.Must("rev-parse", "HEAD"); got != want {
		t.Errorf("main is %s, want %s", got, want)
	}
	w.host.Git(t, "team/app.git", "fsck", "--connectivity-only")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.g.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	var peak int
	if _, err := fmt.Sscan(regexp.MustCompile(`VmHWM:\s+(\d+)`).FindStringSubmatch(string(status))[1], &peak); err != nil || peak > 256<<10 {
		t.Errorf("the gateway's memory has been %d KiB, %v", peak, err)
	}
	t.Logf("VmHWM %d KiB", peak)
	if left, err := filepath.Glob(w.g.Data("spool", "*")); err != nil || len(left) > 0 {
		t.Errorf("left in the spool folder: %q %v", left, err)
	}
}

// A held push keeps its client alive, and goes on when somebody says yes; one whose client has left runs when it comes again.
func TestGitHeld(t *testing.T) {
	w := newGitWorld(t, lab.Options{})
	c := w.clone(t)
	c.Commit("a.txt", "1", "first")
	done := make(chan lab.Result, 1)
	go func() { done <- c.Git("push", "--progress", "origin", "main") }()
	a := pending(t, w.book, "refs/heads/main")
	if !strings.Contains(a.Card.Object, "first") || !strings.Contains(a.Card.Object, "a.txt") {
		t.Errorf("the card shows %q", a.Card.Object)
	}
	time.Sleep(8 * time.Second) // to be told again
	answerYes(t, w.book, a)
	r := <-done
	for _, text := range []string{"waiting for approval " + string(a.ID), "still waiting for approval " + string(a.ID), "main -> main"} {
		if r.Code != 0 || !strings.Contains(r.Out(), text) {
			t.Errorf("exit %d, without %q:\n%s", r.Code, text, r.Out())
		}
	}
	c.Commit("b.txt", "1", "second")
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		r, _ := c.GitContext(ctx, "push", "origin", "main")
		done <- r
	}()
	a = pending(t, w.book, "refs/heads/main")
	leave()
	<-done
	before := w.host.Ref(t, "team/app.git", "refs/heads/main")
	abandoned(t, w.book, a.ID)
	answerYes(t, w.book, a)
	time.Sleep(300 * time.Millisecond) // should anything be about to run
	if got := w.host.Ref(t, "team/app.git", "refs/heads/main"); got != before {
		t.Error("it ran for a client that has left")
	}
	c.Must("gc", "-q") // the same objects in another pack
	if out := c.Must("-c", "pack.compression=9", "push", "origin", "main"); strings.Contains(out, "waiting") {
		t.Errorf("the same push asks again:\n%s", out)
	}
	if got, want := w.host.Ref(t, "team/app.git", "refs/heads/main"), c.Must("rev-parse", "HEAD"); got != want {
		t.Errorf("main is %s, want %s", got, want)
	}
}

// answerYes approves.
func answerYes(t *testing.T, x *client.Client, a access.Approval) {
	t.Helper()
	if _, err := x.Answer(t.Context(), a.ID, client.Answer{Yes: true, Reason: "fine"}); err != nil {
		t.Fatal(err)
	}
}
