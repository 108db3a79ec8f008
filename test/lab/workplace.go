package lab

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Workplace is where an agent works: an environment that `gatebook env --agent` wrote, and a home that is empty.
type Workplace struct {
	t testing.TB
	// Env is the folder that was written, Home the agent's home and working folder, Token the file with its token: paths of
	// the agent's own.
	Env, Home, Token string
	// sh gives a shell there that runs a script, with env as more environment.
	sh func(ctx context.Context, script string, env []string) *exec.Cmd
}

// Workplace makes one on this machine for the holder of token; flags are more of env's.
func (g *Gateway) Workplace(t testing.TB, token string, flags ...string) *Workplace {
	t.Helper()
	w := &Workplace{t: t, Env: filepath.Join(t.TempDir(), "env"), Home: t.TempDir()}
	path := filepath.Dir(g.bin) + ":" + os.Getenv("PATH")
	if g.cluster != nil {
		path = g.cluster.Bin + ":" + path
	}
	w.sh = func(ctx context.Context, script string, env []string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "sh", "-c", script)
		cmd.Env, cmd.Dir = append([]string{"PATH=" + path, "HOME=" + w.Home, "IS_SANDBOX=1", "DISABLE_AUTOUPDATER=1",
			"GIT_AUTHOR_NAME=claude", "GIT_AUTHOR_EMAIL=claude", "GIT_COMMITTER_NAME=claude", "GIT_COMMITTER_EMAIL=claude"}, env...), w.Home
		return cmd
	}
	w.Token = filepath.Join(w.Home, "token")
	if err := os.WriteFile(w.Token, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	w.env(g.bin, append([]string{"--gateway", g.URL, "--ca", g.Data("ca.crt"), "--token-file", w.Token, "--dir", w.Env}, flags...)...)
	return w
}

// env has the environment written.
func (w *Workplace) env(bin string, flags ...string) {
	w.t.Helper()
	script := quoted(bin) + " env --agent"
	for _, f := range flags {
		script += " " + quoted(f)
	}
	Must(w.t, w.run(script, "", nil))
}

// quoted makes s one word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (w *Workplace) run(script, stdin string, env []string) Result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := w.sh(ctx, script, env)
	cmd.Stdin = strings.NewReader(stdin)
	r, err := run(cmd)
	if err != nil {
		w.t.Fatalf("%s: %v\n%s", script, err, r.Out())
	}
	return r
}

// Shell runs a script after env.sh, with nothing else in its environment but env.
func (w *Workplace) Shell(script string, env ...string) Result {
	w.t.Helper()
	return w.run(". "+quoted(w.Env+"/env.sh")+"\n"+script, "", env)
}

// Write puts a text into a file of the agent's home.
func (w *Workplace) Write(name, text string) {
	w.t.Helper()
	Must(w.t, w.run("cat > "+quoted(w.Home+"/"+name), text, nil))
}
