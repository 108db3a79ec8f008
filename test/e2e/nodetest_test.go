package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatebook/test/lab"
)

// nodeChecks is how many checks nodetest.sh makes: nine over WebSocket and the same over SPDY.
const nodeChecks = 18

// The cluster's own check of exec, exit codes, stdin, terminals, cp, attach, logs and port-forward, over WebSocket and
// over SPDY, passes through the gateway as it does directly.
func TestNodetest(t *testing.T) {
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	name := "node-" + ns[strings.LastIndexByte(ns, '-')+1:] // the script's pod is in the default namespace
	t.Cleanup(func() { admin(t, "", "-n", "default", "delete", "pod", name, "--wait=false") })

	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(lab.Root(), "test", "cluster", "nodetest.sh"), name)
	for _, e := range os.Environ() {
		switch k, _, _ := strings.Cut(e, "="); k {
		case "KUBECONFIG", "RUN", "LAB", "NODE_IP", "SUB":
		default:
			cmd.Env = append(cmd.Env, e)
		}
	}
	// Without containers, the pod's programs are this host's.
	cmd.Env = append(cmd.Env, "RUN="+cluster.Run, "LAB="+filepath.Dir(cluster.Bin), "KUBECONFIG="+g.Kubeconfig(g.Agent(ns, "claude", "")))
	if !cluster.Containers {
		cmd.Env = append(cmd.Env, "WEBPORT="+strconv.Itoa(18080+time.Now().Nanosecond()%1000), "HTTPD=busybox httpd")
	}
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("nodetest.sh: %v", err)
	}
	if n := len(regexp.MustCompile(`(?m)^ *PASS `).FindAll(out, -1)); n != nodeChecks {
		t.Errorf("%d of %d checks passed", n, nodeChecks)
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
