package lab

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Workplace is where an agent works: an environment that `gatebook env --agent` wrote, and a home that is empty.
type Workplace struct {
	t testing.TB
	// Env is the folder that was written, Home the agent's home and working folder, Token the file with its token.
	Env, Home, Token string
	path             string
}

// Workplace makes one for the holder of token; flags are more of env's.
func (g *Gateway) Workplace(t testing.TB, token string, flags ...string) *Workplace {
	t.Helper()
	w := &Workplace{t: t, Env: filepath.Join(t.TempDir(), "env"), Home: t.TempDir(), path: os.Getenv("PATH")}
	if g.cluster != nil {
		w.path = g.cluster.Bin + ":" + w.path
	}
	w.Token = filepath.Join(w.Home, "token")
	if err := os.WriteFile(w.Token, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), g.bin, append([]string{"env", "--agent", "--gateway", g.URL, "--ca", g.Data("ca.crt"), "--token-file", w.Token, "--dir", w.Env}, flags...)...)
	cmd.Env = []string{"PATH=" + w.path, "HOME=" + w.Home}
	Must(t, w.run(cmd))
	return w
}

func (w *Workplace) run(cmd *exec.Cmd) Result {
	w.t.Helper()
	r, err := run(cmd)
	if err != nil {
		w.t.Fatalf("%q: %v\n%s", cmd.Args, err, r.Out())
	}
	return r
}

func (w *Workplace) command(name string, args ...string) (*exec.Cmd, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Dir = []string{"PATH=" + w.path, "HOME=" + w.Home}, w.Home
	return cmd, cancel
}

// Shell runs a script after env.sh, with nothing else in its environment but env.
func (w *Workplace) Shell(script string, env ...string) Result {
	w.t.Helper()
	cmd, cancel := w.command("sh", "-c", ". "+filepath.Join(w.Env, "env.sh")+"\n"+script)
	defer cancel()
	cmd.Env = append(cmd.Env, env...)
	return w.run(cmd)
}
