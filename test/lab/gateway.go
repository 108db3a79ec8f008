package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatebook/internal/api/client"
)

// Build builds the gateway's binary into dir.
func Build(ctx context.Context, dir string, flags ...string) (string, error) {
	bin := filepath.Join(dir, "gatebook")
	args := append([]string{"build", "-buildvcs=false", "-o", bin}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/gatebook")...)
	cmd.Dir = Root()
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the gateway: %w\n%s", err, b)
	}
	return bin, nil
}

// Options of a gateway for a test. The zero value is good.
type Options struct {
	// Policy are the policy's files by name; none: the embedded default.
	Policy map[string]string
	// Config is further YAML at the top level of the configuration.
	Config string
	// Target is further YAML, indented by four spaces, of the one target.
	Target string
	// Targets is YAML of further targets, as Upstream.Target gives it.
	Targets string
	// Issuers is further YAML, indented by two spaces: items of the list of issuers.
	Issuers string
	// Data is the data folder; empty: one in Dir.
	Data string
	// Env is more environment for the process.
	Env []string
	// Pods makes it listen where the cluster's pods reach it, and with SQL for clients of PostgreSQL, too.
	Pods, SQL bool
}

// Gateway is a running gateway in front of a cluster. Its roles: group approvers approves, group auditors audits, group
// admins revokes, group restorers takes that back, group glass breaks it.
type Gateway struct {
	t       testing.TB
	cluster *Cluster
	bin     string
	env     []string
	people  *people
	data    string
	// Dir holds everything: config.yaml, data, policy, gateway.log.
	Dir string
	// URL of the gateway, Target of the cluster behind it, Admin of health and metrics.
	URL, Target, Admin string
	// SQL is the port for clients of PostgreSQL; 0 where there is none.
	SQL int

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan error
}

// StartGateway starts the binary in front of the cluster; it is stopped with the test.
func (c *Cluster) StartGateway(t testing.TB, bin string, o Options) *Gateway {
	t.Helper()
	dir := t.TempDir()
	listen, admin := FreePort(t), FreePort(t)
	host, address := "localhost", "127.0.0.1"
	if o.Pods {
		host, address = c.NodeIP, c.NodeIP
	}
	g := &Gateway{t: t, cluster: c, bin: bin, env: o.Env, Dir: dir, URL: fmt.Sprintf("https://%s:%d", host, listen), Admin: fmt.Sprintf("http://127.0.0.1:%d", admin)}
	g.Target = g.URL + "/t/lab"
	if g.data = o.Data; g.data == "" {
		g.data = filepath.Join(dir, "data")
	}
	var err error
	if g.people, err = newPeople(filepath.Join(dir, "people.jwks")); err != nil {
		t.Fatal(err)
	}
	policy := ""
	if o.Policy != nil {
		policy = "policy: " + filepath.Join(dir, "policy") + "\n"
		g.WritePolicy(o.Policy)
	}
	sql := ""
	if o.SQL {
		g.SQL = FreePort(t)
		sql = fmt.Sprintf("listenPostgres: %s:%d\n", address, g.SQL)
	}
	config := fmt.Sprintf(`listen: %s:%d
url: %s
%sadmin: 127.0.0.1:%d
data: %s
%sissuers:
  - {name: lab, url: 'https://issuer.gatebook', audiences: [gatebook], kubernetes: true, cluster: lab, tokenReview: true}
  - {name: people, url: '%s', audiences: [gatebook], jwksFile: %s}
%stargets:
  - name: lab
    kubeconfig: %s
%s%sroles:
  approvers: {groups: [approvers]}
  auditors: {groups: [auditors]}
  admins: {groups: [admins]}
  breakGlass: {groups: [glass]}
  restorers: {groups: [restorers]}
drain: 2s
%s`, address, listen, g.URL, sql, admin, g.data, policy, peopleIssuer, filepath.Join(dir, "people.jwks"), o.Issuers, c.Kubeconfig, o.Target, o.Targets, o.Config)
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Start()
	t.Cleanup(func() {
		g.Stop()
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", g.Log())
		}
	})
	return g
}

// WritePolicy writes the policy's files anew.
func (g *Gateway) WritePolicy(files map[string]string) {
	g.t.Helper()
	dir := filepath.Join(g.Dir, "policy")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		g.t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			g.t.Fatal(err)
		}
	}
}

// Start starts the process and waits until it is ready.
func (g *Gateway) Start() {
	g.t.Helper()
	parsers.lend(g)
	log, err := os.OpenFile(filepath.Join(g.Dir, "gateway.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		g.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(g.bin, "serve", "--config", filepath.Join(g.Dir, "config.yaml"), "--log-level", "debug")
	cmd.Env = append(append(cleanEnv(), "HOME="+g.Dir), g.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	g.mu.Lock()
	g.cmd, g.done = cmd, done
	g.mu.Unlock()
	deadline := time.Now().Add(5 * time.Minute) // a busy machine takes long to compile PostgreSQL's grammar
	for !g.ready() {
		select {
		case err := <-done:
			done <- err
			g.t.Fatalf("the gateway ended at once: %v\n%s", err, g.Log())
		case <-time.After(30 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("the gateway does not become ready\n%s", g.Log())
		}
	}
	parsers.keep(g)
}

// Serve runs the process to its end, as where it cannot start; it is killed after within.
func (g *Gateway) Serve(within time.Duration) Result {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, g.bin, "serve", "--config", filepath.Join(g.Dir, "config.yaml"))
	cmd.Env = append(append(cleanEnv(), "HOME="+g.Dir), g.env...)
	r, err := run(cmd)
	if err != nil {
		g.t.Fatalf("gatebook serve: %v\n%s", err, r.Out())
	}
	return r
}

func (g *Gateway) ready() bool {
	resp, err := http.Get(g.Admin + "/readyz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Stacks ends the process with the stacks of all that it does, in its log: for a test that has waited in vain.
func (g *Gateway) Stacks() { g.end(syscall.SIGQUIT) }

// Stop ends the process as an operator does, and waits for it.
func (g *Gateway) Stop() { g.end(syscall.SIGTERM) }

// Kill ends the process as a crash does.
func (g *Gateway) Kill() { g.end(syscall.SIGKILL) }

func (g *Gateway) end(sig syscall.Signal) {
	g.t.Helper()
	g.mu.Lock()
	cmd, done := g.cmd, g.done
	g.cmd = nil
	g.mu.Unlock()
	if cmd == nil {
		return
	}
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		g.t.Error(err)
	}
	select {
	case <-done:
	case <-time.After(Patience):
		g.t.Errorf("the gateway did not end\n%s", g.Log())
		if err := cmd.Process.Kill(); err != nil {
			g.t.Error(err)
		}
		<-done
	}
}

// Ended gives what the process ended with, when it has ended by itself.
func (g *Gateway) Ended(within time.Duration) (error, bool) {
	g.mu.Lock()
	done := g.done
	g.mu.Unlock()
	select {
	case err := <-done:
		done <- err
		return err, true
	case <-time.After(within):
		return nil, false
	}
}

// Pid of the process.
func (g *Gateway) Pid() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cmd.Process.Pid
}

// Log is what the process wrote.
func (g *Gateway) Log() string {
	b, err := os.ReadFile(filepath.Join(g.Dir, "gateway.log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Data is the gateway's data folder, or a path in it.
func (g *Gateway) Data(path ...string) string {
	return filepath.Join(append([]string{g.data}, path...)...)
}

// Person gives a token of a person with groups.
func (g *Gateway) Person(name string, groups ...string) string {
	g.t.Helper()
	s, err := g.people.token(name, groups, time.Hour)
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

// Agent gives a token of a service account for the gateway, bound to a pod where one is named. The service account is
// made where it is not there, and may do everything in the cluster: what limits it is the gateway.
func (g *Gateway) Agent(namespace, account, pod string) string {
	g.t.Helper()
	ctx := context.Background()
	admin := func(stdin string, args ...string) Result {
		r, err := g.cluster.Kubectl(ctx, g.cluster.Kubeconfig, stdin, args...)
		if err != nil {
			g.t.Fatal(err)
		}
		return r
	}
	for _, r := range []Result{
		admin("", "-n", namespace, "create", "sa", account),
		admin("", "create", "clusterrolebinding", "agent-"+namespace+"-"+account, "--clusterrole=cluster-admin", "--serviceaccount="+namespace+":"+account),
	} {
		if r.Code != 0 && !strings.Contains(r.Stderr, "already exists") {
			g.t.Fatal(r.Out())
		}
	}
	args := []string{"-n", namespace, "create", "token", account, "--audience=gatebook", "--duration=1h"}
	if pod != "" {
		args = append(args, "--bound-object-kind=Pod", "--bound-object-name="+pod)
	}
	r := admin("", args...)
	if r.Code != 0 {
		g.t.Fatal(r.Out())
	}
	return strings.TrimSpace(r.Stdout)
}

// Kubeconfig writes a kubeconfig for the gateway with a token, and gives its path.
func (g *Gateway) Kubeconfig(token string) string {
	g.t.Helper()
	f, err := os.CreateTemp(g.Dir, "kubeconfig")
	if err != nil {
		g.t.Fatal(err)
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, `apiVersion: v1
kind: Config
clusters: [{name: g, cluster: {server: '%s', certificate-authority: '%s'}}]
users: [{name: u, user: {token: '%s'}}]
contexts: [{name: c, context: {cluster: g, user: u}}]
current-context: c
`, g.Target, g.Data("ca.crt"), token)
	if err != nil {
		g.t.Fatal(err)
	}
	return f.Name()
}

// Kubectl runs kubectl through the gateway.
func (g *Gateway) Kubectl(token, stdin string, args ...string) Result {
	g.t.Helper()
	r, err := g.cluster.Kubectl(context.Background(), g.Kubeconfig(token), stdin, args...)
	if err != nil {
		g.t.Fatalf("kubectl %q: %v\n%s", args, err, r.Out())
	}
	return r
}

// API gives a client of Gatebook's own API.
func (g *Gateway) API(token string) *client.Client {
	g.t.Helper()
	ca, err := os.ReadFile(g.Data("ca.crt"))
	if err != nil {
		g.t.Fatal(err)
	}
	x, err := client.New(g.URL, ca, func(context.Context) (string, error) { return token, nil })
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(x.Close)
	return x
}

// CLI runs a verb of the gateway's binary as the holder of token.
func (g *Gateway) CLI(token string, args ...string) Result {
	g.t.Helper()
	f := filepath.Join(g.t.TempDir(), "token")
	if err := os.WriteFile(f, []byte(token), 0o600); err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, g.bin, args...)
	cmd.Env = append(cleanEnv(), "HOME="+g.Dir, "GATEBOOK_URL="+g.URL, "GATEBOOK_CA="+g.Data("ca.crt"), "GATEBOOK_TOKEN_FILE="+f)
	r, err := run(cmd)
	if err != nil {
		g.t.Fatalf("gatebook %q: %v\n%s", args, err, r.Out())
	}
	return r
}
