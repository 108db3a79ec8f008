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
	bin, err := lab.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := exec.CommandContext(t.Context(), "../cluster/build.sh").CombinedOutput(); err != nil {
		t.Fatalf("building the cluster: %v\n%s", err, b)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "./run.sh")
	cmd.Env = append(os.Environ(), "DEMO_ONCE=1", "GATEBOOK_BIN="+bin, "KUBECONFIG=")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it stops what it started
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("the demo failed: %v\n%s", err, out.String())
	}
	for _, want := range []string{
		"configmap/flags created",
		"denied by ada: agents get no cluster-wide rights",
		`namespace "team-old" deleted`,
		"DB_PASSWORD is gbm-",
		"The book is whole.",
		"stopped.",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not show %q", want)
		}
	}
	if secret := "correct-horse-battery-staple"; strings.Contains(out.String(), secret) {
		t.Errorf("the demo shows the secret")
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
