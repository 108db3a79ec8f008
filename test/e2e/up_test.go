package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatebook/test/lab"
)

// screen is what a process prints, for somebody who waits for a line.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// find waits until re matches, and gives its first group.
func (s *screen) find(t *testing.T, re string) string {
	t.Helper()
	r := regexp.MustCompile(re)
	for deadline := time.Now().Add(lab.Patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if m := r.FindStringSubmatch(s.String()); m != nil {
			return m[1]
		}
	}
	t.Fatalf("nothing like %q on the screen:\n%s", re, s)
	return ""
}

// user is somebody with a terminal, a home folder, and a kubeconfig of the cluster.
type user struct {
	t    *testing.T
	home string
}

func (u user) command(ctx context.Context, args ...string) *exec.Cmd {
	program := map[string]string{"gatebook": binary, "kubectl": filepath.Join(cluster.Bin, "kubectl")}[args[0]]
	cmd := exec.CommandContext(ctx, program, args[1:]...)
	cmd.Dir = u.home
	cmd.Env = []string{"HOME=" + u.home, "KUBECONFIG=" + cluster.Kubeconfig, "PATH=" + filepath.Dir(binary) + ":" + cluster.Bin + ":/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// A new user's way: gatebook up, log in by the code that it shows, and kubectl.
func TestUp(t *testing.T) {
	u := user{t, t.TempDir()}
	ctx, cancel := context.WithTimeout(context.Background(), 4*lab.Patience)
	t.Cleanup(cancel)
	port := lab.FreePort(t)
	up := u.command(ctx, "gatebook", "up", "--data", filepath.Join(u.home, "data"), "--listen", fmt.Sprintf("127.0.0.1:%d", port), "--admin", "127.0.0.1:0")
	terminal := &screen{}
	up.Stdout, up.Stderr = terminal, terminal
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := up.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := up.Wait(); err != nil {
			t.Errorf("up ended with %v\n%s", err, terminal)
		}
	})
	gateway := terminal.find(t, `gatebook login --gateway (\S+)`)
	ca := filepath.Join(u.home, "data", "ca.crt")

	login := u.command(ctx, "gatebook", "login", "--gateway", gateway, "--ca", ca)
	other := &screen{}
	login.Stdout, login.Stderr = other, other
	if err := login.Start(); err != nil {
		t.Fatal(err)
	}
	u.browse(ca, other.find(t, `(https://localhost:\d+/\S+)`), func() string { return terminal.find(t, `the code is: (\S+)`) })
	if err := login.Wait(); err != nil {
		t.Fatalf("login: %v\n%s", err, other)
	}
	run := func(args ...string) string {
		t.Helper()
		b, err := u.command(ctx, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, b)
		}
		return string(b)
	}
	if out := run("gatebook", "whoami"); !strings.Contains(out, "local:operator") || !strings.Contains(out, "auditor") {
		t.Errorf("whoami:\n%s", out)
	}
	kubeconfig := filepath.Join(u.home, "gatebook.kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(run("gatebook", "kubeconfig")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := run("kubectl", "--kubeconfig", kubeconfig, "get", "namespaces"); !strings.Contains(out, "kube-system") {
		t.Errorf("kubectl through up:\n%s", out)
	}
	for deadline := time.Now().Add(lab.Patience); !strings.Contains(run("gatebook", "search", "namespaces"), "kubectl get namespaces"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what was done through up is not found")
		}
	}
}

var formAction = regexp.MustCompile(`action="([^"]*)"`)
var formID = regexp.MustCompile(`name="id" value="([^"]*)"`)

// browse logs in as a browser with cookies does.
func (u user) browse(ca, address string, code func() string) {
	u.t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		u.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	jar, err := cookiejar.New(nil)
	if err != nil {
		u.t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer tr.CloseIdleConnections()
	browser := &http.Client{Transport: tr, Jar: jar}
	resp, err := browser.Get(address)
	page := u.body(resp, err)
	action, id := formAction.FindStringSubmatch(page), formID.FindStringSubmatch(page)
	if action == nil || id == nil {
		u.t.Fatalf("no login form:\n%s", page)
	}
	to, err := url.Parse(address)
	if err != nil {
		u.t.Fatal(err)
	}
	to.Path, to.RawQuery = html.UnescapeString(action[1]), ""
	resp, err = browser.PostForm(to.String(), url.Values{"id": {id[1]}, "secret": {"WRONG-CODE"}})
	if page := u.body(resp, err); strings.Contains(page, "You are logged in") {
		u.t.Fatal("any code will do")
	}
	resp, err = browser.PostForm(to.String(), url.Values{"id": {id[1]}, "secret": {code()}})
	if page := u.body(resp, err); !strings.Contains(page, "You are logged in") {
		u.t.Fatalf("the login failed:\n%s", page)
	}
}

func (u user) body(resp *http.Response, err error) string {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		u.t.Fatal(err)
	}
	return string(b)
}
