package git

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/credential"
	"gatebook/internal/protocol/protocoltest"
)

// world is a handler with the real gate and recorder, in front of git's own http-backend.
type world struct {
	*protocoltest.World
	t     testing.TB
	front *httptest.Server
	h     *Handler
	dir   string // of the agent's work tree
	repo  string // of the host's repository, which is team/app.git
	// before may answer a request in the host's place.
	before func(w http.ResponseWriter, r *http.Request) bool

	live sync.WaitGroup
	mu   sync.Mutex
	ops  []access.Operation // as they were decided, with all that can be known
	seen []string           // requests that reached the host
}

func newWorld(t testing.TB, change ...func(*Options)) *world { return newWorldOf(t, "sha1", change...) }

func newWorldOf(t testing.TB, format string, change ...func(*Options)) *world {
	t.Helper()
	w := &world{World: protocoltest.New(t), t: t, dir: t.TempDir(), repo: filepath.Join(t.TempDir(), "team", "app.git")}
	w.git("", "init", "-q", "--bare", "-b", "main", "--object-format="+format, w.repo)
	w.git("", "init", "-q", "-b", "main", "--object-format="+format, w.dir)
	w.git(w.repo, "config", "http.receivepack", "true")
	w.git(w.repo, "config", "uploadpack.allowFilter", "true")
	path, err := exec.Command("git", "--exec-path").Output()
	must(t, err)
	backend := &cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"), Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(filepath.Dir(w.repo)), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + w.dir}}
	back := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.seen = append(w.seen, r.Method+" "+r.RequestURI)
		w.mu.Unlock()
		if w.before == nil || !w.before(rw, r) {
			backend.ServeHTTP(rw, r)
		}
	}))
	back.StartTLS()
	t.Cleanup(back.Close)
	up, err := credential.New(credential.Options{URL: back.URL, CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: back.Certificate().Raw}), Shared: true,
		Impersonate: func(access.Principal) bool { return false }, Secret: credential.Token(func() (string, error) { return "upstream-token", nil })})
	must(t, err)
	t.Cleanup(up.Close)
	decide := w.Decide
	w.Decide = func(op *access.Operation) (access.Decision, []string) {
		late := op.Late()
		if len(late) == 0 {
			w.mu.Lock()
			w.ops = append(w.ops, *op)
			w.mu.Unlock()
		}
		d, _ := decide(op)
		return d, late
	}
	o := Options{Target: access.Target{Name: "code"}, Gate: w.Gate, Upstream: up, Masks: w.Masks, SpoolDir: t.TempDir(), Base: back.URL}
	for _, c := range change {
		c(&o)
	}
	w.h, err = New(o)
	must(t, err)
	w.front = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.live.Add(1)
		defer w.live.Done()
		w.h.Serve(rw, r, protocoltest.Caller)
	}))
	t.Cleanup(w.front.Close)
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs git, with input, and gives what it says and its exit code.
func run(t testing.TB, dir, input string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(input)
	cmd.Env = append(os.Environ(), "HOME="+os.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=ada", "GIT_AUTHOR_EMAIL=ada@x", "GIT_COMMITTER_NAME=bob", "GIT_COMMITTER_EMAIL=bob@x")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	if err != nil && cmd.ProcessState.ExitCode() > 1 {
		t.Fatalf("git %q: %v\n%s", args, err, errs.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func (w *world) git(dir string, args ...string) string {
	w.t.Helper()
	out, _ := run(w.t, dir, "", args...)
	return strings.TrimSpace(out)
}

// write makes files, in the place of files and folders that are in their way; an empty one goes.
func (w *world) write(files map[string]string) {
	w.t.Helper()
	for name, text := range files {
		path := filepath.Join(w.dir, name)
		for at, c := range name {
			if fi, err := os.Stat(filepath.Join(w.dir, name[:at])); c == '/' && err == nil && !fi.IsDir() {
				must(w.t, os.Remove(filepath.Join(w.dir, name[:at])))
			}
		}
		must(w.t, os.RemoveAll(path))
		if text == "" {
			continue
		}
		must(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(w.t, os.WriteFile(path, []byte(text), 0o644))
	}
}

// commit makes files and commits them.
func (w *world) commit(message string, files map[string]string) string {
	w.t.Helper()
	w.write(files)
	w.git(w.dir, "add", "-A")
	w.git(w.dir, "commit", "-q", "--allow-empty", "-m", message)
	return w.git(w.dir, "rev-parse", "HEAD")
}

// seed gives the host what a revision of the agent's has.
func (w *world) seed(revision, ref string) string {
	w.t.Helper()
	w.git(w.repo, "fetch", "-q", w.dir, "+"+revision+":"+ref)
	return w.git(w.repo, "rev-parse", ref)
}

// pack is what git packs of revisions, "^x" among them.
func (w *world) pack(revs ...string) []byte {
	w.t.Helper()
	return w.packOf("--revs", revs...)
}

func (w *world) packOf(arg string, names ...string) []byte {
	w.t.Helper()
	args := []string{"pack-objects", "--stdout", "-q", "--delta-base-offset"}
	if arg != "" {
		args = append(args, arg)
	}
	out, _ := run(w.t, w.dir, strings.Join(names, "\n")+"\n", args...)
	return []byte(out)
}

// packet is a pkt-line.
func packet(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }

// commands writes the beginning of a push: «old new ref» each, and capabilities.
func commands(capabilities string, updates ...string) string {
	var b strings.Builder
	for i, u := range updates {
		if i == 0 {
			u += "\x00" + capabilities
		}
		b.WriteString(packet(u))
	}
	return b.String() + "0000"
}

type answer struct {
	code   int
	header http.Header
	body   string
}

func (w *world) do(method, path, body string, header ...string) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.front.URL+path, strings.NewReader(body))
	must(w.t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := (&http.Client{Timeout: time.Minute}).Do(r)
	must(w.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(w.t, err)
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// push sends one as it is written.
func (w *world) push(body string, header ...string) answer {
	w.t.Helper()
	return w.do(http.MethodPost, "/team/app.git/git-receive-pack", body, append([]string{"Content-Type", "application/x-git-receive-pack-request"}, header...)...)
}

// decided are the operations of the last push, as policy had them, by ref.
func (w *world) decided() map[string]*access.Operation {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]*access.Operation{}
	for i, op := range w.ops {
		if op.Git != nil && op.Verb == "push" {
			out[op.Git.Ref] = &w.ops[i]
		}
	}
	return out
}

// unknown are the fields of an operation that are not known.
func unknownOf(op *access.Operation) []string {
	var out []string
	for _, u := range op.Uninspectable {
		out = append(out, u.Field)
	}
	slices.Sort(out)
	return out
}

func (w *world) asked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

const (
	zeros  = "0000000000000000000000000000000000000000"
	report = " report-status"
)
