package lab

import (
	"context"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// GitHost serves repositories over HTTP by git's own http-backend, to who shows the gateway's credential. It keeps the head
// of every request.
type GitHost struct {
	dir, url string
	server   *httptest.Server
	// Before is asked about every request; where it answers itself it returns true.
	Before func(w http.ResponseWriter, r *http.Request) bool

	mu   sync.Mutex
	seen []Seen
}

// StartGitHost starts one. It ends with the test.
func StartGitHost(t testing.TB) *GitHost {
	t.Helper()
	h, err := NewGitHost(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// NewGitHost is the same with its files in dir, until Close.
func NewGitHost(dir string) (*GitHost, error) {
	exec, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return nil, err
	}
	h := &GitHost{dir: dir}
	backend := &cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(exec)), "git-http-backend"),
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Join(h.dir, "repos"), "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=gate", "HOME=" + h.dir, "GIT_CONFIG_NOSYSTEM=1"}}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.seen = append(h.seen, Seen{Method: r.Method, URI: r.RequestURI, Header: r.Header.Clone()})
		h.mu.Unlock()
		if user, password, _ := r.BasicAuth(); user != "gate" || password != UpstreamToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if h.Before == nil || !h.Before(w, r) {
			backend.ServeHTTP(w, r)
		}
	}))
	s.StartTLS()
	h.url, h.server = s.URL, s
	return h, upstreamFiles(dir, s)
}

// Close ends it.
func (h *GitHost) Close() { h.server.Close() }

// Repository makes a bare one with these settings, such as "uploadpack.allowFilter=true".
func (h *GitHost) Repository(t testing.TB, name string, settings ...string) {
	t.Helper()
	dir := h.Path(name)
	h.Git(t, "", "init", "-q", "--bare", "-b", "main", dir)
	for _, s := range settings {
		k, v, _ := strings.Cut(s, "=")
		h.Git(t, name, "config", k, v)
	}
}

// Path of a repository's folder.
func (h *GitHost) Path(name string) string { return filepath.Join(h.dir, "repos", name) }

// URL of a repository, round the gateway.
func (h *GitHost) URL(name string) string { return h.url + "/" + name }

// Git runs git in a repository, directly.
func (h *GitHost) Git(t testing.TB, name string, args ...string) string {
	t.Helper()
	if name != "" {
		args = append([]string{"-C", h.Path(name)}, args...)
	}
	out, err := h.git(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (h *GitHost) git(args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Env = append(cleanEnv(), "HOME="+h.dir, "GIT_CONFIG_NOSYSTEM=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %q: %w\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// Seed makes a repository with one commit of these files on its branch main.
func (h *GitHost) Seed(name string, files map[string]string) error {
	tree := filepath.Join(h.dir, "seed", name)
	in := []string{"-C", tree, "-c", "user.name=ada", "-c", "user.email=ada@example.com"}
	for _, args := range [][]string{{"init", "-q", "--bare", "-b", "main", h.Path(name)}, {"init", "-q", "-b", "main", tree}} {
		if _, err := h.git(args...); err != nil {
			return err
		}
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(tree, file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "-m", "as it was"}, {"push", "-q", h.Path(name), "main"}} {
		if _, err := h.git(append(slices.Clip(in), args...)...); err != nil {
			return err
		}
	}
	return nil
}

// Ref gives the object that a ref names; empty: there is none.
func (h *GitHost) Ref(t testing.TB, name, ref string) string {
	t.Helper()
	return h.Git(t, name, "for-each-ref", "--format=%(objectname)", ref)
}

// Seen gives the requests that have reached it.
func (h *GitHost) Seen() []Seen {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.seen)
}

// Target is the configuration of a gateway's target that is this host; more is further YAML, indented by four spaces.
func (h *GitHost) Target(name, more string) string {
	return fmt.Sprintf("  - name: %s\n    protocol: git\n    url: '%s'\n    caFile: %s\n    user: gate\n    token: {file: %s}\n%s",
		name, h.url, filepath.Join(h.dir, "ca.crt"), filepath.Join(h.dir, "token"), more)
}

// Clone is a person's or an agent's work tree.
type Clone struct {
	t     testing.TB
	g     *Gateway
	token string
	// Dir is the work tree; Env is more environment for git.
	Dir string
	Env []string
}

// Clone gives an empty work tree, whose remote origin is a repository of target code behind the gateway.
func (g *Gateway) Clone(t testing.TB, token, repository string) *Clone {
	t.Helper()
	c := &Clone{t: t, g: g, token: token, Dir: t.TempDir()}
	c.Must("init", "-q", "-b", "main")
	c.Must("remote", "add", "origin", g.URL+"/t/code/"+repository)
	return c
}

// Git runs git as a client of the gateway: the token comes from a credential helper, and only after a 401.
func (c *Clone) Git(args ...string) Result {
	c.t.Helper()
	r, err := c.GitContext(context.Background(), args...)
	if err != nil {
		c.t.Fatalf("git %q: %v\n%s", args, err, r.Out())
	}
	return r
}

// GitContext is Git that ends with ctx.
func (c *Clone) GitContext(ctx context.Context, args ...string) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	cmd := c.Command(ctx, args...)
	r, err := run(cmd)
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	return r, err
}

// Command is the same, not started yet.
func (c *Clone) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = c.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // git speaks HTTP by a helper, which goes with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(cleanEnv(), "HOME="+c.g.Dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_SSL_CAINFO="+c.g.Data("ca.crt"),
		"GIT_AUTHOR_NAME=claude", "GIT_AUTHOR_EMAIL=claude@agents", "GIT_COMMITTER_NAME=claude", "GIT_COMMITTER_EMAIL=claude@agents",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=credential.helper", "GIT_CONFIG_VALUE_0=!f() { test \"$1\" = get && echo username=agent && echo password="+c.token+"; }; f")
	cmd.Env = append(cmd.Env, c.Env...)
	return cmd
}

// Must runs git, which has to succeed, and gives what it printed.
func (c *Clone) Must(args ...string) string {
	c.t.Helper()
	r := c.Git(args...)
	if r.Code != 0 {
		c.t.Fatalf("git %q: exit %d\n%s", args, r.Code, r.Out())
	}
	return strings.TrimSpace(r.Out())
}

// Write puts a file into the work tree.
func (c *Clone) Write(name string, content []byte) {
	c.t.Helper()
	path := filepath.Join(c.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// Commit writes a file and commits it, and gives the commit.
func (c *Clone) Commit(name, content, message string) string {
	c.t.Helper()
	c.Write(name, []byte(content))
	c.Must("add", "-A")
	c.Must("commit", "-q", "-m", message)
	return c.Must("rev-parse", "HEAD")
}
