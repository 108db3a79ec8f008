package lab

import (
	"bytes"
	"context"
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

//go:embed agent.yaml
var agentPod string

// Pod is a workplace in a pod of the cluster, whose only credential is the token that is projected into it; flags are more of
// env's. The gateway has to listen where pods reach it (Options.Pods).
func (g *Gateway) Pod(t testing.TB, namespace, name string, flags ...string) *Workplace {
	t.Helper()
	c := g.cluster
	if !c.Containers {
		t.Skip("SKIPPED, AND NOTHING IS KNOWN: there are no containers here; they need root")
	}
	g.Agent(namespace, name, "") // the account, and its rights
	ca, err := os.ReadFile(g.Data("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Admin(t, "", "-n", namespace, "create", "configmap", "gatebook", "--from-literal=ca.crt="+string(ca)); r.Code != 0 && !strings.Contains(r.Stderr, "already exists") {
		t.Fatal(r.Out())
	}
	Must(t, c.Admin(t, g.agentPod(t, namespace, name), "apply", "-f", "-"))
	Must(t, c.Admin(t, "", "-n", namespace, "wait", "--for=condition=Ready", "pod/"+name, "--timeout=180s"))
	w := &Workplace{t: t, Home: "/home/agent", Env: "/home/agent/.gatebook/agent", Token: "/var/run/secrets/gatebook/token"}
	w.sh = func(ctx context.Context, script string, env []string) *exec.Cmd {
		args := append([]string{"--kubeconfig", c.Kubeconfig, "-n", namespace, "exec", "-i", name, "--", "env"}, env...)
		cmd := exec.CommandContext(ctx, filepath.Join(c.Bin, "kubectl"), append(args, "sh", "-c", script)...)
		cmd.Env = append(cleanEnv(), "HOME="+c.Run)
		return cmd
	}
	w.env("gatebook", flags...)
	return w
}

// agentPod is the pod's manifest.
func (g *Gateway) agentPod(t testing.TB, namespace, name string) string {
	t.Helper()
	claude := ClaudeCode(t)
	node, err := exec.LookPath("node")
	if err == nil {
		node, err = filepath.EvalSymlinks(node)
	}
	if err != nil {
		t.Fatal(err)
	}
	up := func(path string, n int) string {
		for range n {
			path = filepath.Dir(path)
		}
		return path
	}
	text := []byte(agentPod)
	for k, v := range map[string]string{"POD": name, "NAMESPACE": namespace, "ACCOUNT": name, "GATEWAY": g.URL,
		"GATEBOOK": filepath.Dir(g.bin), "KUBERNETES": g.cluster.Bin, "CLAUDE": up(claude, 3), "NODE": up(node, 2)} {
		text = bytes.ReplaceAll(text, []byte("@"+k+"@"), []byte(v))
	}
	return string(text)
}
