// Package lab runs the real things for tests: a Kubernetes cluster from source, the built gateway in front of it, and
// people with tokens of an issuer made for the test. Everything lives in a temporary folder, on free ports, and is
// stopped by its own pid.
package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Cluster is a running Kubernetes: etcd, API server, controllers, scheduler and one node.
type Cluster struct {
	// Run is its folder: logs, keys, state.
	Run string
	// Kubeconfig is the administrator's.
	Kubeconfig string
	// Bin holds kubectl and the rest.
	Bin string
	// Containers says whether pods are containers; otherwise they are plain processes of this host.
	Containers bool
	// NodeIP is the address of the node, which pods reach; 127.0.0.1 where there are no containers.
	NodeIP string
	// ours says that Stop stops it.
	ours bool
}

// Root is the module's folder.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// StartCluster builds, once, what a cluster needs, and starts one. Progress goes to w. Where GATEBOOK_CLUSTER names the
// folder of a cluster that runs (the RUN of test/cluster/up.sh), that one is used, and left running.
func StartCluster(ctx context.Context, w io.Writer, env ...string) (*Cluster, error) {
	run, ours := os.Getenv("GATEBOOK_CLUSTER"), false
	if run == "" {
		d, err := os.MkdirTemp("", "gb") // short: socket paths are bounded
		if err != nil {
			return nil, err
		}
		run, ours = d, true
	}
	c := &Cluster{Run: run, Kubeconfig: filepath.Join(run, "pki", "admin.kubeconfig"), ours: ours}
	cache := os.Getenv("LAB")
	if cache == "" {
		d, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		cache = filepath.Join(d, "gatebook", "cluster")
	}
	c.Bin = filepath.Join(cache, "bin")
	for _, script := range []string{"build.sh", "up.sh"} {
		if !ours {
			break
		}
		if err := c.script(ctx, w, script, env...); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", script, err), c.Stop(w))
		}
	}
	b, err := os.ReadFile(filepath.Join(run, "env"))
	c.Containers = strings.Contains(string(b), "NODE=real")
	if _, rest, ok := strings.Cut(string(b), "NODE_IP="); ok {
		c.NodeIP = strings.Fields(rest)[0]
	}
	return c, err
}

func (c *Cluster) script(ctx context.Context, w io.Writer, name string, env ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 50*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(Root(), "test", "cluster", name))
	cmd.Env = append(cleanEnv(), "RUN="+c.Run)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = w, w
	cmd.WaitDelay = time.Second // what it started keeps its files
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

// cleanEnv is the environment without what would point kubectl or the scripts elsewhere.
func cleanEnv() []string {
	var out []string
	for _, e := range os.Environ() {
		k, _, _ := strings.Cut(e, "=")
		switch k {
		case "KUBECONFIG", "RUN", "NODE_IP", "SUB", "HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "GATEBOOK_URL", "GATEBOOK_CA", "GATEBOOK_TOKEN_FILE":
		default:
			out = append(out, e)
		}
	}
	return out
}

// Stop stops the cluster and removes its folder.
func (c *Cluster) Stop(w io.Writer) error {
	if !c.ours {
		return nil
	}
	return c.script(context.Background(), w, "down.sh")
}

// Result is what a command did.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Out is both streams.
func (r Result) Out() string { return r.Stdout + r.Stderr }

// Kubectl runs kubectl with a kubeconfig; stdin may be empty. It is bounded in time.
func (c *Cluster) Kubectl(ctx context.Context, kubeconfig, stdin string, args ...string) (Result, error) {
	return c.KubectlEnv(ctx, kubeconfig, nil, stdin, args...)
}

// KubectlEnv is Kubectl with more environment.
func (c *Cluster) KubectlEnv(ctx context.Context, kubeconfig string, env []string, stdin string, args ...string) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(c.Bin, "kubectl"), append([]string{"--kubeconfig", kubeconfig}, args...)...)
	cmd.Env = append(append(cleanEnv(), "HOME="+c.Run), env...)
	cmd.Stdin = strings.NewReader(stdin)
	return run(cmd)
}

func run(cmd *exec.Cmd) (Result, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	r := Result{Stdout: out.String(), Stderr: errs.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.Code = exit.ExitCode()
		if r.Code >= 0 {
			return r, nil
		}
	}
	return r, err
}
