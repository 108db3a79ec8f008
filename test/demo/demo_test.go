// Package demo tests that make demo does what it shows.
package demo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatebook/test/lab"
)

func TestDemo(t *testing.T) {
	lab.ClaudeCode(t) // or the test is skipped, loudly
	bin, err := lab.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := exec.CommandContext(t.Context(), "../cluster/build.sh").CombinedOutput(); err != nil {
		t.Fatalf("building the cluster: %v\n%s", err, b)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "./run.sh")
	cmd.Env = append(os.Environ(), "DEMO_ONCE=1", "GATEBOOK_BIN="+bin, "KUBECONFIG=", "ANTHROPIC_API_KEY=")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it stops what it started
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("the demo failed: %v\n%s", err, out.String())
	}
	text := strings.Join(strings.Fields(out.String()), " ") // however its lines are broken
	for _, want := range []string{
		"green tea: 41.90, as gbm-",                        // exec, its output masked
		`{"article":"green tea","recommended price":4.19}`, // curl
		"UPDATE 1",           // psql, held and approved
		"why a push changes", // the push, with its card
		"gatebook: the kubelet behind nodes/proxy", // refused
		"Rosa Luz in Lisbon has paid 41.90",        // the agent's answer
		"The book is whole.", "stopped.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the demo does not show %q", want)
		}
	}
	// From prompt to effect, of the push and of the row.
	for title, want := range map[string][]string{
		"4 Which prompt":  {"prompt ", "Green tea costs 41.90", "tool call ", "git push", "operation ", "agents:claude on code", "caused by bound", "approval ", "yes by ada", "effect 200"},
		"5 Who has seen":  {"prompt ", "Green tea costs 41.90", "Agent", "to agent ", "Who has ordered green tea?", "tool call ", "select customer", "caused by bound", "effect done", "1 rows"},
		"6 The other way": {"prompt: Green tea", "kubectl -n shop get pods", "select customer", "[shop, bound to"},
	} {
		_, part, _ := strings.Cut(text, title)
		for _, w := range want {
			i := strings.Index(part, w)
			if i < 0 {
				t.Errorf("part %s does not go on with %q", title, w)
				break
			}
			part = part[i:]
		}
	}
	if secret := "correct-horse-battery-staple"; strings.Contains(text, secret) {
		t.Errorf("the demo shows the secret")
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
