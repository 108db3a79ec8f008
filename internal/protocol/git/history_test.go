package git

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
)

// Over histories that are made up, each push is what git says of it: whether it drops commits (merge-base), which commits are
// new to the ref (rev-list), and which files they and the update change (diff-tree).
func TestHistoryIsAsGitHasIt(t *testing.T) {
	for seed := range uint64(3) {
		for _, format := range []string{"sha1", "sha256"} {
			t.Run(fmt.Sprint(format, seed), func(t *testing.T) {
				t.Parallel()
				w := newWorldOf(t, format)
				rng := rand.New(rand.NewPCG(seed, 1))
				w.commit("root", map[string]string{"a/b/c.txt": "1", "a/x": "1", "top": "1"})
				for i := range 14 {
					w.grow(rng, i)
					w.checkPush(rng, i)
				}
			})
		}
	}
}

// grow adds one commit somewhere: on a branch, a merge, or a root of its own.
func (w *world) grow(rng *rand.Rand, i int) {
	w.t.Helper()
	all := strings.Fields(w.git(w.dir, "rev-list", "--all", "HEAD"))
	at := all[rng.IntN(len(all))]
	w.git(w.dir, "checkout", "-q", "-f", "-B", fmt.Sprint("b", i), at)
	files := map[string]string{}
	for range 1 + rng.IntN(3) {
		name := []string{"a/b/c.txt", "a/x", "top", "a", "d/e/f", "d/e", ".github/workflows/ci.yml", "a/b/new"}[rng.IntN(8)]
		files[name] = fmt.Sprint(rng.IntN(4))
		if files[name] == "0" {
			files[name] = ""
		}
	}
	switch rng.IntN(4) {
	case 0:
		w.git(w.dir, "checkout", "-q", "-f", "--orphan", fmt.Sprint("o", i))
		files = map[string]string{"alone": fmt.Sprint(i)}
	case 1:
		other := all[rng.IntN(len(all))]
		tree := w.git(w.dir, "rev-parse", all[rng.IntN(len(all))]+"^{tree}") // a merge that may take anything
		if other != at {
			w.git(w.dir, "reset", "-q", "--hard", w.git(w.dir, "commit-tree", "-p", at, "-p", other, "-m", fmt.Sprint("merge ", i), tree))
			return
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w.write(map[string]string{name: files[name]})
	}
	w.git(w.dir, "add", "-A")
	w.git(w.dir, "commit", "-q", "--allow-empty", "-m", fmt.Sprint("commit ", i))
}

// checkPush pushes some commit to some ref, and compares what policy has with what git says.
func (w *world) checkPush(rng *rand.Rand, i int) {
	w.t.Helper()
	t := w.t
	all := strings.Fields(w.git(w.dir, "rev-list", "--all", "HEAD"))
	target := all[rng.IntN(min(4, len(all)))]
	ref := []string{"refs/heads/main", "refs/heads/side", "refs/tags/t", fmt.Sprint("refs/heads/n", i)}[rng.IntN(4)]
	old := w.git(w.repo, "for-each-ref", "--format=%(objectname)", ref)
	hosts := strings.Fields(w.git(w.repo, "for-each-ref", "--format=%(objectname)"))
	not := append([]string{"--not"}, hosts...)
	if old == target {
		return
	}
	isBranch := strings.HasPrefix(ref, "refs/heads/")
	since := not
	if old != "" && isBranch {
		since = []string{"--not", old}
	}
	wantCommits := strings.Fields(w.git(w.dir, append([]string{"rev-list", target}, since...)...))
	brought := strings.Fields(w.git(w.dir, append([]string{"rev-list", target}, not...)...))
	paths := map[string]bool{}
	add := func(out string) {
		for _, p := range strings.FieldsFunc(out, func(c rune) bool { return c == 0 }) {
			paths[p] = true
		}
	}
	for _, c := range brought {
		add(w.git(w.dir, "diff-tree", "-c", "-r", "-z", "--root", "--no-renames", "--name-only", "--no-commit-id", c))
	}
	change := map[bool]string{true: "create", false: "force"}[old == ""]
	if old != "" && isBranch {
		add(w.git(w.dir, "diff-tree", "-r", "-z", "--no-renames", "--name-only", old, target))
		if _, code := run(t, w.dir, "", "merge-base", "--is-ancestor", old, target); code == 0 {
			change = "update"
		}
	}
	from := old
	if from == "" {
		from = strings.Repeat("0", len(target))
	}
	capabilities := report
	if len(target) == 64 {
		capabilities += " object-format=sha256"
	}
	body := commands(capabilities, from+" "+target+" "+ref) + string(w.pack(append([]string{target}, negated(hosts)...)...))
	w.mu.Lock()
	w.ops = nil
	w.mu.Unlock()
	a := w.push(body)
	if a.code != http.StatusOK || !strings.Contains(a.body, "ok "+ref) {
		t.Fatalf("push %d: %d %q", i, a.code, a.body)
	}
	op := w.decided()[ref]
	if op == nil {
		t.Fatalf("push %d was not decided", i)
	}
	var commits []string
	for _, c := range op.ExactGit.Commits {
		commits = append(commits, c.ID)
	}
	slices.Sort(commits)
	slices.Sort(wantCommits)
	got := fmt.Sprintf("%s %q %q %q", op.ExactGit.Change, commits, op.ExactGit.Paths, unknownOf(op))
	if want := fmt.Sprintf("%s %q %q []", change, wantCommits, slices.Sorted(maps.Keys(paths))); got != want {
		t.Errorf("push %d, %s %s..%s:\n got %s\nwant %s", i, ref, old, target, got, want)
	}
}

func negated(revs []string) []string {
	var out []string
	for _, r := range revs {
		out = append(out, "^"+r)
	}
	return out
}

// A folder is looked into however its mode is written, as git does.
func TestAFolderOfAnotherMode(t *testing.T) {
	w := newWorld(t)
	w.commit("root", map[string]string{"top": "1"})
	base := w.seed("main", "refs/heads/main")
	w.commit("pipeline", map[string]string{".github/workflows/ci.yml": "run: evil"})
	inner := w.git(w.dir, "rev-parse", "HEAD:.github")
	top := w.git(w.dir, "rev-parse", "HEAD:top")
	tree := w.rawTree("40755 .github", inner, "100644 top", top)
	if out := w.git(w.dir, "ls-tree", "-r", "--name-only", tree); !strings.Contains(out, ".github/workflows/ci.yml") {
		t.Fatalf("git does not look into it: %q", out)
	}
	tip := w.git(w.dir, "commit-tree", "-p", base, "-m", "x", tree)
	w.push(commands(report, base+" "+tip+" refs/heads/main") + string(w.pack(tip, "^"+base)))
	op := w.decided()["refs/heads/main"]
	if op == nil || !slices.Contains(op.ExactGit.Paths, ".github/workflows/ci.yml") && !slices.Contains(unknownOf(op), access.FieldGitPaths) {
		t.Fatalf("%+v", op)
	}
}

// rawTree writes a tree as it is given: «mode name», object, and so on.
func (w *world) rawTree(entries ...string) string {
	w.t.Helper()
	var b strings.Builder
	for i := 0; i < len(entries); i += 2 {
		b.WriteString(entries[i] + "\x00")
		for j := 0; j < len(entries[i+1]); j += 2 {
			var c byte
			_, err := fmt.Sscanf(entries[i+1][j:j+2], "%02x", &c)
			must(w.t, err)
			b.WriteByte(c)
		}
	}
	out, _ := run(w.t, w.dir, b.String(), "hash-object", "-t", "tree", "-w", "--literally", "--stdin")
	return strings.TrimSpace(out)
}

// Trees that name each other twice, fifty deep, are no trap: what is beyond the bound is unknown.
func TestTreesWithoutEnd(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.Steps = 20_000 })
	tree := w.rawTree()
	for range 50 {
		tree = w.rawTree("40000 a", tree, "40000 b", tree)
	}
	tip := w.git(w.dir, "commit-tree", "-m", "x", tree)
	names := []string{tip}
	for line := range strings.Lines(w.git(w.dir, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")) {
		names = append(names, strings.TrimSpace(line))
	}
	began := time.Now()
	body := commands(report, zeros+" "+tip+" refs/heads/main") + string(w.packOf("", names...))
	a := w.push(body)
	op := w.decided()["refs/heads/main"]
	if op == nil || !slices.Contains(unknownOf(op), access.FieldGitPaths) || a.code != http.StatusOK {
		t.Fatalf("%d %s %+v after %v", a.code, a.body, op, time.Since(began))
	}
}

// What the operations of one push name, and what is asked of the host for it, is bounded over all its refs; what is beyond is
// unknown and never empty.
func TestOnePushIsBoundedAsAWhole(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.ToldBytes, o.Limits.Lookups = 5000, 3 })
	w.commit("root", map[string]string{"a": "1"})
	var updates, revs []string
	for i := range 8 {
		w.git(w.dir, "checkout", "-q", "-f", "-B", fmt.Sprint("b", i), "main")
		base := w.commit("base", map[string]string{"a": fmt.Sprint(i)})
		w.seed("HEAD", fmt.Sprint("refs/heads/b", i))
		tip := w.commit(strings.Repeat("long ", 200), map[string]string{"b": fmt.Sprint(i)})
		updates = append(updates, base+" "+tip+fmt.Sprint(" refs/heads/b", i))
		revs = append(revs, tip, "^"+base)
	}
	a := w.push(commands(report, updates...) + string(w.pack(revs...)))
	if a.code != http.StatusOK {
		t.Fatalf("%d %s", a.code, a.body)
	}
	var commits, paths int
	for ref, op := range w.decided() {
		unknown := unknownOf(op)
		g := op.ExactGit
		if g.Change != "update" {
			t.Errorf("%s: %s", ref, g.Change)
		}
		if known := !slices.Contains(unknown, access.FieldGitCommits); known != (len(g.Commits) == 1) {
			t.Errorf("%s: %d commits, unknown %q", ref, len(g.Commits), unknown)
		} else if known {
			commits++
		}
		if known := !slices.Contains(unknown, access.FieldGitPaths); known != (len(g.Paths) == 1) {
			t.Errorf("%s: paths %q, unknown %q", ref, g.Paths, unknown)
		} else if known {
			paths++
		}
	}
	lookups := 0
	for _, s := range w.asked() {
		if strings.HasSuffix(s, uploadPack) {
			lookups++
		}
	}
	if commits != 4 || paths == 0 || paths == 8 || lookups > 4 { // one of them for symbolic refs
		t.Errorf("%d have commits and %d have paths; %d look-ups", commits, paths, lookups)
	}
}

// Objects that no ref of a push leads to are refused: a host keeps them, and a later push could make something of them.
func TestStrayObjects(t *testing.T) {
	w := newWorld(t)
	good := w.commit("root", map[string]string{"a": "1"})
	w.git(w.dir, "checkout", "-q", "--orphan", "other")
	stray := w.commit("evil", map[string]string{"evil": "1"})
	a := w.push(commands(report, zeros+" "+good+" refs/heads/main") + string(w.pack(good, stray)))
	if a.code != http.StatusBadRequest || !strings.Contains(a.body, stray) {
		t.Errorf("a stray commit: %d %s", a.code, a.body)
	}
	w.git(w.dir, "tag", "-a", "v", "-m", "v", good)
	tag := w.git(w.dir, "rev-parse", "v")
	a = w.push(commands(report, zeros+" "+good+" refs/heads/main") + string(w.pack(good, tag)))
	if a.code != http.StatusBadRequest || !strings.Contains(a.body, tag) {
		t.Errorf("a stray tag: %d %s", a.code, a.body)
	}
	if n := len(w.asked()); n != 0 {
		t.Errorf("%d requests reached the host", n)
	}
}

// A ref that is set to what the host has, and has on no branch and no tag, is told with its commits, and its paths are unknown;
// what a branch has is known to bring nothing.
func TestARefOnAStrayObject(t *testing.T) {
	for name, change := range map[string]string{"branch": "refs/heads/new", "tag": "refs/tags/new"} {
		w := newWorld(t)
		base := w.commit("root", map[string]string{"a": "1"})
		w.seed("main", "refs/heads/main")
		stray := w.commit("evil", map[string]string{"evil": "1"})
		w.seed("HEAD", "refs/heads/gone")
		w.git(w.repo, "update-ref", "-d", "refs/heads/gone")
		empty := string(w.pack(base, "^"+base))
		w.push(commands(report, zeros+" "+stray+" "+change) + empty)
		op := w.decided()[change]
		if op == nil || len(op.ExactGit.Commits) != 1 || op.ExactGit.Commits[0].ID != stray || !slices.Equal(unknownOf(op), []string{access.FieldGitPaths}) {
			t.Fatalf("%s: %+v", name, op)
		}
		known := change + "2"
		w.push(commands(report, zeros+" "+base+" "+known) + empty)
		if op := w.decided()[known]; op == nil || len(op.ExactGit.Commits) != 0 || len(op.Uninspectable) != 0 {
			t.Fatalf("%s: %+v", name, op)
		}
	}
}

// Commits that the host has on another branch are new to the branch that is set to them.
func TestCommitsOfAnotherBranch(t *testing.T) {
	w := newWorld(t)
	base := w.commit("root", map[string]string{"a": "1"})
	w.seed("main", "refs/heads/main")
	tip := w.commit("more", map[string]string{"b": "1"})
	w.seed("main", "refs/heads/agent")
	w.push(commands(report, base+" "+tip+" refs/heads/main") + string(w.pack(base, "^"+base)))
	op := w.decided()["refs/heads/main"]
	if op == nil || op.ExactGit.Change != "update" || len(op.ExactGit.Commits) != 1 || op.ExactGit.Commits[0].ID != tip || !slices.Equal(op.ExactGit.Paths, []string{"b"}) {
		t.Fatalf("%+v", op)
	}
}

// Where the host does not tell, commits and paths are unknown, and an update is a force.
func TestAHostThatDoesNotTell(t *testing.T) {
	w := newWorld(t)
	base := w.commit("root", map[string]string{"a": "1"})
	w.seed("main", "refs/heads/main")
	tip := w.commit("more", map[string]string{"b": "1"})
	w.seed("main", "refs/heads/agent")
	w.before = func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, uploadPack) {
			http.Error(rw, "no", http.StatusForbidden)
			return true
		}
		return false
	}
	for ref, want := range map[string]string{"refs/heads/main": "force", "refs/heads/new": "create"} {
		old := base
		if want == "create" {
			old = zeros
		}
		w.push(commands(report, old+" "+tip+" "+ref) + string(w.pack(base, "^"+base)))
		op := w.decided()[ref]
		if op == nil || op.ExactGit.Change != want || !slices.Equal(unknownOf(op), []string{access.FieldGitCommits, access.FieldGitPaths}) {
			t.Fatalf("%s: %+v", ref, op)
		}
	}
}
